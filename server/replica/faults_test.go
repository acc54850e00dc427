package replica

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// rounds repeats a fault's reproduction: without the guard until it shows,
// with it for a fixed number of rounds in which it must not.
func rounds(t *testing.T, guarded bool, round func(t *testing.T) (fault bool)) {
	t.Helper()
	n := 60
	if guarded {
		n = 12
	}
	for i := range n {
		fault := false
		synctest.Test(t, func(t *testing.T) { fault = round(t) })
		switch {
		case fault && guarded:
			t.Fatalf("the fault shows in round %d although it is guarded against", i)
		case fault:
			return
		}
	}
	if !guarded {
		t.Fatalf("the fault did not show in %d rounds: is the guard still needed?", n)
	}
}

// cases runs a reproduction without and with the guard.
func cases(t *testing.T, round func(guarded bool) func(t *testing.T) bool) {
	t.Run("library", func(t *testing.T) { rounds(t, false, round(false)) })
	t.Run("guarded", func(t *testing.T) { rounds(t, true, round(true)) })
}

// Fault A (hashicorp/raft#695): a heartbeat of the next leader changes the
// term beside the main loop of a leader, which then stores its next entry
// under that term. The next leader's own entry of that index and term would be
// taken for a duplicate.
func TestFaultALeaderStoresUnderTheNextTerm(t *testing.T) {
	cases(t, func(guarded bool) func(t *testing.T) bool {
		return func(t *testing.T) bool {
			c := startNet(t, 1, nodeOptions{raw: !guarded})
			leader := c.leader()
			term := leader.raft.CurrentTerm()
			next := c.stranger("n9")
			beat := &raft.AppendEntriesRequest{RPCHeader: headerOf("9"), Term: term + 1}
			if err := next.AppendEntries("1", "n1", beat, new(raft.AppendEntriesResponse)); err != nil {
				t.Fatal(err)
			}
			leader.raft.Apply([]byte("mine"), 0).Error()
			last, _ := leader.logs.LastIndex()
			for i := uint64(1); i <= last; i++ {
				var l raft.Log
				if leader.logs.GetLog(i, &l) == nil && string(l.Data) == "mine" && l.Term != term {
					return true
				}
			}
			return false
		}
	})
}

// Fault B: VerifyLeader counts answers to messages sent before the call. A
// deposed leader that still gets late answers is confirmed after its successor
// has committed. No guard makes VerifyLeader right, so nothing may rely on it:
// sync rides in the log, which the deposed leader cannot commit.
func TestFaultBVerifyLeaderConfirmsADeposedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{inFlight: 130})
		old := c.leader()
		if err := old.raft.Apply([]byte("first"), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		// Answers to the leader come later and later; requests do not.
		for late := 10 * time.Millisecond; late <= 2500*time.Millisecond; late += 20 * time.Millisecond {
			for _, f := range c.others(old) {
				c.net.set(f.addr, old.addr, func(l *memLink) { l.delay = late })
			}
			time.Sleep(50 * time.Millisecond)
		}
		if old.raft.State() != raft.Leader {
			t.Fatal("the leader gave up before the cut: the test shows nothing")
		}
		for _, f := range c.others(old) {
			c.net.cut(old.addr, f.addr, true)
		}
		successor := c.leader(c.others(old)...)
		if err := successor.raft.Apply([]byte("second"), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		if err := old.raft.VerifyLeader().Error(); err != nil {
			t.Errorf("VerifyLeader on the deposed leader: %v; it is known to answer wrongly here: has the library changed?", err)
		}
		if old.fsm.has("second") {
			t.Error("the deposed leader knows the successor's write: the test shows nothing")
		}
		if err := old.raft.Barrier(time.Second).Error(); err == nil {
			t.Error("a barrier passed through the deposed leader's log")
		}
		if err := old.raft.Apply([]byte("sync"), time.Second).Error(); err == nil {
			t.Error("an entry was committed by the deposed leader")
		}
	})
}

// refusingStable fails writes of byte values, as a full disk does, while on.
type refusingStable struct {
	*raft.InmemStore
	on bool
}

func (s *refusingStable) Set(key, val []byte) error {
	if s.on {
		return errors.New("no space left on device")
	}
	return s.InmemStore.Set(key, val)
}

// Fault C (hashicorp/raft#661): a vote's term is stored, its candidate is not;
// the candidate of an earlier term then has the vote, without a look at his
// log, and the one who should have it does not.
func TestFaultCHalfAVoteIsStored(t *testing.T) {
	for _, restart := range []bool{false, true} {
		name := "disk full for a while"
		if restart {
			name = "crash"
		}
		t.Run(name, func(t *testing.T) {
			cases(t, func(guarded bool) func(t *testing.T) bool {
				return func(t *testing.T) bool { return halfAVote(t, guarded, restart) }
			})
		})
	}
}

func halfAVote(t *testing.T, guarded, restart bool) (fault bool) {
	disk := &refusingStable{InmemStore: raft.NewInmemStore()}
	o := nodeOptions{
		raw:  !guarded,
		conf: func(c *raft.Config) { c.HeartbeatTimeout, c.ElectionTimeout = time.Hour, time.Hour },
		stable: func(*node) raft.StableStore {
			if !guarded {
				return disk
			}
			v, err := NewVoteStore(disk)
			if err != nil {
				t.Fatal(err)
			}
			return v
		},
	}
	c := &testNet{t: t, net: newMemnet()}
	t.Cleanup(c.stop)
	three := raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "n1"}, {ID: "2", Address: "n2"}, {ID: "3", Address: "n3"}}}
	voter := c.start("1", three, o)
	c.nodes = append(c.nodes, voter)
	peer := c.stranger("n9")
	ask := func(candidate string, term, lastIndex uint64) bool {
		var resp raft.RequestVoteResponse
		req := &raft.RequestVoteRequest{RPCHeader: headerOf(candidate), Term: term, LastLogIndex: lastIndex, LastLogTerm: 1}
		if err := peer.RequestVote("1", "n1", req, &resp); err != nil {
			t.Fatal(err)
		}
		return resp.Granted
	}
	if !ask("2", 5, 1) {
		t.Fatal("the first vote is refused")
	}
	disk.on = true
	if ask("3", 6, 1) {
		t.Fatal("a vote was given that could not be stored")
	}
	disk.on = false
	if restart {
		logs := voter.logs
		c.stop()
		peer.CloseStreams()
		o.logs = func(*node) raft.LogStore { return logs }
		c.nodes = []*node{c.start("1", raft.Configuration{}, o)}
	}
	const stale = 0 // an empty log, which nobody may vote for
	if ask("2", 6, stale) {
		return true
	}
	if !ask("3", 6, 1) {
		return true
	}
	return ask("2", 6, 1) // and nobody else after that
}

// flakyLogs fails StoreLogs while fail is positive, and counts it down.
type flakyLogs struct {
	raft.LogStore
	fail atomic.Int32
}

func (l *flakyLogs) StoreLogs(logs []*raft.Log) error {
	if l.fail.Load() > 0 && l.fail.Add(-1) >= 0 {
		return errors.New("disk error")
	}
	return l.LogStore.StoreLogs(logs)
}

// Fault D (hashicorp/raft#611, #612): one refused append under load, and the
// leader never sends that follower an entry again, while its heartbeats keep
// the follower from complaining.
func TestFaultDReplicationWedges(t *testing.T) {
	cases(t, func(guarded bool) func(t *testing.T) bool {
		return func(t *testing.T) bool {
			disks := make(map[raft.ServerID]*flakyLogs)
			c := startNet(t, 3, nodeOptions{raw: !guarded, logs: func(n *node) raft.LogStore {
				disks[n.id] = &flakyLogs{LogStore: n.logs}
				return disks[n.id]
			}})
			leader := c.leader()
			sick := c.others(leader)[0]
			for _, f := range c.others(leader) {
				c.net.set(leader.addr, f.addr, func(l *memLink) { l.delay = time.Millisecond })
			}
			for range 6 {
				for i := range 150 {
					leader.raft.Apply([]byte("load"), 0)
					time.Sleep(200 * time.Microsecond)
					if i == 50 {
						disks[sick.id].fail.Store(1)
					}
				}
				time.Sleep(300 * time.Millisecond)
			}
			if err := leader.raft.Apply([]byte("last"), 0).Error(); err != nil {
				t.Fatal(err)
			}
			return !eventually(5*time.Second, func() bool { return sick.fsm.has("last") })
		}
	})
}
