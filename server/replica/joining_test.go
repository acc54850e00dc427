package replica

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// slowToElect are settings with which nobody stands for election unasked, nor
// a leader without followers steps down.
func slowToElect(c *raft.Config) {
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Hour, time.Hour, time.Hour
	c.CommitTimeout = 5 * time.Millisecond
}

// part cuts or heals all ways between n and others.
func (c *testNet) part(on bool, n *node, others ...*node) {
	for _, o := range others {
		c.net.cut(n.addr, o.addr, on)
		c.net.cut(o.addr, n.addr, on)
	}
}

// restartWiped ends n and starts it again without its data, joining under
// number; 0 leaves its transport as if it had never lost anything.
func (c *testNet) restartWiped(n *node, number uint64) *node {
	c.t.Helper()
	n.wire.Close()
	c.net.drop(n.addr)
	n.raft.Shutdown().Error()
	n.trans.Close()
	o := nodeOptions{conf: slowToElect, stable: func(n *node) raft.StableStore {
		v, err := NewVoteStore(n.stable)
		if err != nil {
			c.t.Fatal(err)
		}
		v.SetJoining(number)
		return v
	}}
	again := c.start(n.id, raft.Configuration{}, o)
	for i := range c.nodes {
		if c.nodes[i] == n {
			c.nodes[i] = again
		}
	}
	return again
}

// A server that helped to vote a leader out and then loses its data must not
// acknowledge that leader's entries: they would be committed in an old term,
// beside those of the next one.
func TestWipedServerDoesNotFollowALeaderItVotedOut(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := startNet(t, 3, nodeOptions{conf: slowToElect})
			old := c.elect()
			next, wiped := c.others(old)[0], c.others(old)[1]
			last := old.raft.LastIndex()
			for _, f := range c.others(old) {
				if !eventually(time.Second, func() bool { return f.raft.LastIndex() == last }) {
					t.Fatal("a follower does not follow")
				}
			}
			c.part(true, old, next, wiped)
			if err := next.trans.InjectTimeoutNow(); err != nil {
				t.Fatal(err)
			}
			c.leader(next)
			if err := next.raft.Apply([]byte("acknowledged"), 0).Error(); err != nil {
				t.Fatal(err)
			}
			c.part(true, next, wiped)
			var number uint64
			if guarded {
				number = 7
			}
			wiped = c.restartWiped(wiped, number)
			c.part(false, old, wiped)
			committed := make(chan error, 1)
			go func() { committed <- old.raft.Apply([]byte("by the deposed"), 0).Error() }()
			time.Sleep(time.Minute)
			select {
			case err := <-committed:
				if guarded || err != nil {
					t.Fatalf("guarded %v: the deposed leader's entry: %v", guarded, err)
				}
				return // the fault that the guard is for
			default:
				if !guarded {
					t.Fatal("the deposed leader commits nothing without the guard: what is it for?")
				}
			}
			if n := wiped.raft.LastIndex(); n != 0 {
				t.Fatalf("the joining server stored %d entries of a leader that it voted out", n)
			}

			// Everything heals; the leader brings the server back.
			c.part(false, old, next)
			c.part(false, next, wiped)
			if err := next.raft.DemoteVoter(wiped.id, 0, 0).Error(); err != nil {
				t.Fatal(err)
			}
			next.trans.Vouch(wiped.id, 8)
			if eventually(20*time.Second, func() bool { return wiped.raft.LastIndex() > 0 }) {
				t.Fatal("followed a leader that vouched for an earlier loss")
			}
			next.trans.Vouch(wiped.id, number)
			if !eventually(20*time.Second, func() bool { return wiped.fsm.has("acknowledged") && old.fsm.has("acknowledged") }) {
				t.Fatal("the leader that vouched is not followed")
			}
			if err := next.raft.AddVoter(wiped.id, raft.ServerAddress(wiped.addr), 0, 0).Error(); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.nodes {
				if n.fsm.has("by the deposed") {
					t.Errorf("server %s applied the deposed leader's entry", n.id)
				}
			}
			// It acknowledges as a voter again before it votes.
			c.part(true, next, old)
			if err := next.raft.Apply([]byte("with it"), 0).Error(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The rule whom a joining server follows, case by case.
func TestWhomAJoiningServerFollows(t *testing.T) {
	say := func(number uint64) []byte {
		var leader Transport
		leader.vouched = map[raft.ServerID]uint64{"1": number}
		return leader.vouch("1")
	}
	type message struct {
		term   uint64
		said   []byte
		follow bool
	}
	for _, tt := range []struct {
		name     string
		number   uint64
		messages []message
	}{
		{"not joining", 0, []message{{3, nil, true}, {3, say(7), true}, {1, []byte("n2"), true}}},
		{"nobody vouches", 7, []message{{3, nil, false}, {9, []byte("n2"), false}, {3, vouchPrefix, false}, {3, []byte{}, false}}},
		{"for another loss", 7, []message{{3, say(8), false}, {3, nil, false}}},
		{"number 0 is none", 7, []message{{3, say(0), false}}},
		{"cut short", 7, []message{{3, say(7)[:len(say(7))-1], false}}},
		{"vouched once, for all later terms", 7, []message{{3, say(7), true}, {3, nil, true}, {4, nil, true}, {2, nil, false}, {2, say(7), false}, {3, nil, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tr Transport
			tr.SetJoining(tt.number)
			for i, m := range tt.messages {
				for _, rpc := range []raft.RPC{
					//lint:ignore SA1019 Raft's own use of the field is over
					{Command: &raft.AppendEntriesRequest{Term: m.term, Leader: m.said}},
					{Command: &raft.InstallSnapshotRequest{Term: m.term, Leader: m.said}},
				} {
					if got := tr.fromLeader(rpc); got != m.follow {
						t.Errorf("message %d, %T: %v", i, rpc.Command, got)
					}
				}
			}
			tr.SetJoining(tt.number + 1) // lost its data again
			if tr.follows(9, nil) {
				t.Error("a leader that vouched for the mark before is still followed")
			}
		})
	}
}

// What comes before the leader vouches waits for a moment, rather than to have
// the library wait longer each time.
func TestMessagesWaitForTheVouching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &testNet{t: t, net: newMemnet()}
		t.Cleanup(c.stop)
		n := c.start("1", raft.Configuration{}, nodeOptions{conf: slowToElect})
		c.nodes = append(c.nodes, n)
		n.trans.SetJoining(7)
		leader := c.stranger("n9")
		entries := &raft.AppendEntriesRequest{RPCHeader: headerOf("9"), Term: 3, Entries: []*raft.Log{{Index: 1, Term: 3, Data: []byte("x")}}}
		send := func() error {
			var resp raft.AppendEntriesResponse
			return leader.AppendEntries("1", "n1", entries, &resp)
		}
		start := time.Now()
		if err := send(); err == nil || !strings.Contains(err.Error(), ErrNotVouched.Error()) || time.Since(start) != holdFor {
			t.Errorf("without a word: %v after %v", err, time.Since(start))
		}
		var heartbeat raft.AppendEntriesResponse
		start = time.Now()
		err := leader.AppendEntries("1", "n1", &raft.AppendEntriesRequest{RPCHeader: headerOf("9"), Term: 3}, &heartbeat)
		if err == nil || time.Since(start) != 0 || n.raft.CurrentTerm() != 0 {
			t.Errorf("heartbeat without a word: %v after %v, term %d", err, time.Since(start), n.raft.CurrentTerm())
		}
		snapshot := &raft.InstallSnapshotRequest{RPCHeader: headerOf("9"), SnapshotVersion: 1, Term: 3, LastLogIndex: 5, LastLogTerm: 3, Size: 1 << 20}
		var installed raft.InstallSnapshotResponse
		err = leader.InstallSnapshot("1", "n1", snapshot, &installed, io.LimitReader(bytes.NewReader(make([]byte, 1<<20)), 1<<20))
		if err == nil || !strings.Contains(err.Error(), ErrNotVouched.Error()) {
			t.Errorf("snapshot without a word: %v", err)
		}
		sent := make(chan error, 1)
		go func() { sent <- send() }()
		time.Sleep(holdFor / 2)
		vouching := NewTransport(c.stranger("n8"), "9", 3, nil)
		defer vouching.Close()
		vouching.Vouch("1", 7)
		if err := vouching.AppendEntries("1", "n1", &raft.AppendEntriesRequest{RPCHeader: headerOf("9"), Term: 3}, &heartbeat); err != nil || !heartbeat.Success {
			t.Errorf("heartbeat that vouches: %v, %+v", err, heartbeat)
		}
		if err := <-sent; err != nil || n.raft.LastIndex() != 1 {
			t.Errorf("the message that waited: %v; last index %d", err, n.raft.LastIndex())
		}
	})
}
