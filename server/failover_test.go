package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/peer"
)

// A leader is dead when both its ports refuse; anything else may be a firewall,
// a slow server or a slow network.
func TestDeadLeader(t *testing.T) {
	zero := func() [16]byte { return [16]byte{} }
	all := func(uint8) bool { return true }
	for _, tt := range []struct {
		name             string
		quorum, election string // what is at the ports
		dead             bool
	}{
		{"gone", "", "", true},
		{"lives", "coordd", "coordd", false},
		{"first port refused by a firewall", "", "coordd", false},
		{"second port refused by a firewall", "coordd", "", false},
		{"hangs", "mute", "", false},
		{"dies: still accepts for a moment", "dying", "", true},
		{"first port gone, second hangs", "", "mute", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ports := make([]int, 2)
			for i, what := range []string{tt.quorum, tt.election} {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				ports[i] = ln.Addr().(*net.TCPAddr).Port
				switch what {
				case "":
					ln.Close()
				case "mute": // the kernel accepts, nobody answers
					defer ln.Close()
				case "dying":
					go func() {
						for range 3 {
							if nc, err := ln.Accept(); err == nil {
								nc.Close()
							}
						}
						ln.Close()
					}()
				case "coordd":
					self := &peer.Self{Member: 2, Nonce: 2, ClusterID: zero, Known: all, State: func() (st peer.State) { return st }}
					l := peer.Listen(ln, self, nil)
					go l.Serve()
					defer l.Close()
				}
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "myid"), []byte("1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("dataDir=%s\nclientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:%d:%d\nserver.3=127.0.0.3:1:2\n", dir, ports[0], ports[1])
			cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{id: 1, cfg: cfg, host: Host{}.filled(), log: hclog.NewNullLogger()}
			s.self = &peer.Self{Member: 1, Nonce: 1, ClusterID: zero, Known: all, State: func() (st peer.State) { return st }}
			m, _ := cfg.Member(2)
			ctx, cancel := context.WithTimeout(t.Context(), confirmPatience)
			defer cancel()
			start := time.Now()
			if got := s.isDead(ctx, m); got != tt.dead {
				t.Errorf("dead: %t", got)
			}
			if took := time.Since(start); took > 10*confirmPatience {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A server that finds the leader alive does not let itself be counted among its
// survivors.
func TestSurvivorsFindTheLeaderDead(t *testing.T) {
	e := startAll(t, 3)
	leader := e.leads()
	i := e.follower(leader)
	other := uint8(6 - int(leader.id) - (i + 1)) // neither of the two
	if p := e.running[i].position(leader.id, other); p.Voter || p.Lost != leader.id {
		t.Errorf("the leader lives: %+v", p)
	}
	if p := e.running[i].position(99, other); p.Voter {
		t.Errorf("no such server: %+v", p)
	}
	// A leader that asks about itself has no disk, and gives its place up.
	heard := 0
	for survivor := range (survivors{leader}).Ask(t.Context(), leader.id) {
		if survivor.Voter {
			heard++
		}
	}
	if heard != 2 {
		t.Errorf("%d voters let themselves be counted for a leader that gives its place up", heard)
	}
	e.stop(int(leader.id) - 1)
	eventually(t, "the leader is found dead", func() bool { return e.running[i].position(leader.id, other).Voter })
}

// A server that has been without a leader for syncLimit ticks keeps nobody
// waiting, not even clients that come or came without a session: they are to try
// another.
func TestServerWithoutALeaderTurnsClientsAway(t *testing.T) {
	e := newEnsemble(t, 3, "syncLimit=5")
	_, s := e.startAll()
	for i, o := range e.running {
		if o != s {
			e.stop(i)
		}
	}
	for _, when := range []string{"while the server waits for a leader", "once it has given up"} {
		start := time.Now()
		if dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) {
			t.Fatalf("%s: a session without a leader", when)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: the client was turned away after %v", when, took)
		}
	}
	e.start(e.free())
	eventually(t, "clients are taken again", func() bool {
		w := dialRaw(t, s)
		return w.connect(protocol.ConnectRequest{TimeoutMs: 10_000}) && w.id != 0
	})
}
