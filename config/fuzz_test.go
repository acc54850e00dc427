package config

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// FuzzZooCfg feeds three files. Nothing panics; what is refused is refused by
// one line; what is accepted agrees with itself and reads back the same.
func FuzzZooCfg(f *testing.F) {
	f.Add(base, "", "")
	f.Add(ensemble+three, "", "1\n")
	f.Add(ensemble+"dynamicConfigFile=/d.1f\n", three+"server.4=[::1]:1:2:observer;[::]:2181\n", "4")
	f.Add("dataDir:/data\\\n  /more\n!x\nclientPort 2181\nserver.1=a\\u0062:1:2;2181\n", "", "")
	f.Add(base+"zookeeper.ssl.x=1\nssl.crl=false\nweird\\ key=\\uD83D\\uDE00\n", "version=1", "x")
	f.Fuzz(func(t *testing.T, static, dynamic, myid string) {
		files := disk{}
		read := func(path string) ([]byte, error) {
			if strings.HasSuffix(path, "myid") {
				if myid == "" {
					return files.read(path)
				}
				return []byte(myid), nil
			}
			return []byte(dynamic), nil
		}
		c, err := Parse("zoo.cfg", strings.NewReader(static), read)
		if err != nil {
			var e *Error
			if c != nil || !errors.As(err, &e) || e.File == "" || e.Msg == "" {
				t.Fatalf("%v, %#v", c, err)
			}
			if len(strings.TrimSpace(e.Error())) == 0 {
				t.Fatalf("empty message: %#v", e)
			}
			return
		}
		checkConsistent(t, c)
	})
}

func checkConsistent(t *testing.T, c *Config) {
	t.Helper()
	must := func(ok bool, what string) {
		t.Helper()
		if !ok {
			t.Fatalf("%s: %+v", what, c)
		}
	}
	must(c.DataDir != "" && c.DataLogDir != "", "directories")
	must(c.ClientPort >= 1 && c.ClientPort <= 65535, "client port")
	must(c.TickTime > 0 && c.MinSessionTimeout > 0 && c.MinSessionTimeout <= c.MaxSessionTimeout, "session timeouts")
	must(c.MaxSessionTimeout.Milliseconds() <= math.MaxInt32, "longest session")
	must(c.InitTimeout() >= 0 && c.SyncTimeout() >= 0 && c.InitTimeout() < 1000*time.Hour, "limits")
	must(c.Raft.ElectionTimeout >= c.Raft.HeartbeatTimeout && c.Raft.HeartbeatTimeout >= c.Raft.LeaderLeaseTimeout && c.Raft.CommitTimeout > 0, "Raft timings")
	must(c.Raft.SnapshotThreshold >= 2, "snapshot threshold")
	must(c.MyID != 0 && (!c.ExtendedTypesEnabled || c.MyID < 255), "id")
	must(c.Allows("srvr") && !c.ReconfigEnabled, "words")
	must(c.MaxBuffer > 0 && c.GlobalOutstandingLimit > 0 && c.SnapRetainCount >= 3, "limits")
	if !c.Standalone {
		must(c.InitLimit > 0 && c.SyncLimit > 0 && len(c.Voters()) > 0, "ensemble")
	}
	if m, ok := c.Member(c.MyID); ok {
		must(m.role() == c.PeerType, "role")
	} else {
		must(len(c.Members) == 0, "not a member")
	}
	var last uint8
	for _, m := range c.Members {
		must(m.ID > last && m.QuorumPort != m.ElectionPort && m.Host != "", "members")
		last = m.ID
	}
	if !c.Standalone {
		// What other servers and clients read is one line a member, and reads back.
		lines := strings.Split(c.DynamicText(c.ConfigVersion), "\n")
		must(len(lines) == len(c.Members)+1, "lines of the membership")
		for i, m := range c.Members {
			again, err := ParseMember(lines[i])
			must(err == nil && again == m, "membership reads back: "+lines[i])
		}
	}
	for _, n := range c.Notes() {
		must(n.File != "" && n.Text != "" && (n.Line > 0 || n.Warn), "note")
	}
	must(Explain(io.Discard, c) == nil, "explain")
}
