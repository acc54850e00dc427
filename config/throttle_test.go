package config

import (
	"strings"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	off := Throttle{StallTime: 100 * time.Millisecond, DropStale: true, StaleByConnection: true, LargeThreshold: -1, LargeMaxBytes: 100 << 20,
		Connections: ConnectionThrottle{FillTime: time.Millisecond, FillCount: 1, FreezeTime: -time.Millisecond,
			DropIncrease: 0.02, DropDecrease: 0.002, GlobalWeight: 3, LocalWeight: 1, RenewWeight: 2}}
	if c := mustParse(t, base); c.Throttle != off {
		t.Errorf("by default %+v", c.Throttle)
	}
	// What ZooKeeper cannot use is what it has otherwise.
	for _, line := range []string{"request_throttle_max_requests=-1", "throttled_op_wait_time=-1", "largeRequestThreshold=0", "largeRequestThreshold=-2",
		"largeRequestMaxBytes=0", "connection_throttle_global_session_weight=0", "connection_throttle_local_session_weight=-1", "connection_throttle_renew_session_weight=0"} {
		c := mustParse(t, base+line)
		if c.Throttle != off {
			t.Errorf("%s: %+v", line, c.Throttle)
		}
		if n := noteFor(t, c, 3); !n.Warn {
			t.Errorf("%s: %+v", line, n)
		}
	}
	c := mustParse(t, base+"connection_throttle_local_session_weight=5\nconnection_throttle_renew_session_weight=4")
	if w := c.Throttle.Connections; w.GlobalWeight != 5 || w.LocalWeight != 5 || w.RenewWeight != 5 {
		t.Errorf("weights %+v", w)
	}
}

// Members share the limit, observers do not.
func TestOutstandingLimitOfMembers(t *testing.T) {
	const limit = "globalOutstandingLimit=900\ninitLimit=5\nsyncLimit=2\n"
	for _, tc := range []struct {
		members string
		want    int
	}{
		{"", 900},
		{"server.1=a:2888:3888\n", 900},
		{"server.1=a:2888:3888\nserver.2=b:2888:3888\n", 900},
		{"server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n", 450},
		{"server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nserver.4=d:2888:3888:observer\n", 450},
		{"server.2=a:2888:3888\nserver.3=b:2888:3888\nserver.4=c:2888:3888\nserver.1=d:2888:3888:observer\n", 900},
		{"server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nserver.4=d:2888:3888\nserver.5=e:2888:3888\n", 225},
	} {
		myid := func(string) ([]byte, error) { return []byte("1\n"), nil }
		c, err := Parse("zoo.cfg", strings.NewReader(base+limit+tc.members), myid)
		if err != nil || c.GlobalOutstandingLimit != tc.want {
			t.Errorf("%s%v: %v, want %d", tc.members, err, c, tc.want)
		}
	}
}

// Numbers of system properties are read as Integer.getInteger does.
func TestDecoded(t *testing.T) {
	for s, want := range map[string]string{"10": "10", "010": "8", "0x10": "16", "0X1f": "31", "#ff": "255", "-0x10": "-16", "+010": "+8",
		"0": "0", "": "", "x": "x", "09": "09", "0x": "0x", "#": "#", "--01": "--01", "0.02": "0.02", "0x1_0": "0x1_0", "0b1": "0b1", "/0": "/0"} {
		if got := decoded(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	c := mustParse(t, base+"snapCount=010\nmaxCnxns=0x10\ntickTime=0100")
	if c.Raft.SnapshotThreshold != 8 || c.MaxCnxns != 16 || c.TickTime != 100*time.Millisecond {
		t.Errorf("%d, %d, %v", c.Raft.SnapshotThreshold, c.MaxCnxns, c.TickTime)
	}
}
