package replica

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// survivors answers Ask from the servers of a testNet.
type survivors struct {
	from  *node
	nodes []*node
	mute  map[*node]bool // does not answer
}

func (s survivors) Ask(ctx context.Context, _ uint8) <-chan Survivor {
	ch := make(chan Survivor)
	var all sync.WaitGroup
	for _, n := range s.nodes {
		if n == s.from {
			continue
		}
		all.Go(func() {
			if s.mute[n] {
				<-ctx.Done()
				return
			}
			time.Sleep(2 * time.Millisecond)
			me, _ := n.trans.Standing()
			select {
			case ch <- me:
			case <-ctx.Done():
			}
		})
	}
	go func() { all.Wait(); close(ch) }()
	return ch
}

// kill ends a server as kill -9 does: its connections close, its port refuses.
func (c *testNet) kill(n *node) {
	n.wire.Close()
	n.raft.Shutdown()
}

// elect makes the first server the leader, without waiting for a timeout.
func (c *testNet) elect() *node {
	c.t.Helper()
	if err := c.nodes[0].trans.InjectTimeoutNow(); err != nil {
		c.t.Fatal(err)
	}
	return c.leader(c.nodes[0])
}

func TestFailover(t *testing.T) {
	for _, tt := range []struct {
		name   string
		voters int
		ahead  bool // one survivor, not the one with the lowest id, has the longest log
		mute   bool // the one to stand first does not answer, nor does it stand
		within time.Duration
	}{
		{name: "equal logs: the lowest id", voters: 3, within: 50 * time.Millisecond},
		{name: "the longest log", voters: 3, ahead: true, within: 50 * time.Millisecond},
		{name: "five servers", voters: 5, within: 50 * time.Millisecond},
		{name: "the first does not answer", voters: 5, mute: true, within: 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startNet(t, tt.voters, nodeOptions{conf: func(c *raft.Config) {
					c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Minute, time.Minute, time.Minute
					c.CommitTimeout = 5 * time.Millisecond
				}})
				leader := c.elect()
				if err := leader.raft.Apply([]byte("x"), 0).Error(); err != nil {
					t.Fatal(err)
				}
				last := leader.raft.LastIndex()
				for _, f := range c.others(leader) {
					if !eventually(time.Second, func() bool { return f.raft.LastIndex() == last }) {
						t.Fatal("a follower does not follow")
					}
				}
				left := c.others(leader)
				want := left[0]
				if tt.ahead {
					want = left[1]
					c.net.cut(leader.addr, left[0].addr, true)
					if err := leader.raft.Apply([]byte("y"), 0).Error(); err != nil {
						t.Fatal(err)
					}
				}
				mute := make(map[*node]bool)
				if tt.mute {
					mute[left[0]] = true
					want = left[1]
				}
				term := want.raft.CurrentTerm()
				lost := memberID(leader.id)
				c.kill(leader)
				start := time.Now()
				var all sync.WaitGroup
				stood := make([]bool, len(left))
				for i, n := range left {
					if mute[n] {
						continue
					}
					all.Go(func() {
						stood[i] = n.trans.Failover(t.Context(), lost, survivors{n, left, mute})
					})
				}
				c.leader(left...)
				took := time.Since(start)
				if want.raft.State() != raft.Leader {
					t.Errorf("server %s does not lead", want.id)
				}
				if took > tt.within {
					t.Errorf("it took %v", took)
				}
				all.Wait()
				count := 0
				for _, s := range stood {
					if s {
						count++
					}
				}
				if got := want.raft.CurrentTerm(); got != term+1 || count != 1 {
					t.Errorf("%d servers stood, term %d became %d", count, term, got)
				}
			})
		})
	}
}

// The next in line stands when the first one fails to.
func TestFailoverInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{conf: func(c *raft.Config) {
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Minute, time.Minute, time.Minute
		}})
		leader := c.elect()
		left := c.others(leader)
		last := leader.raft.LastIndex()
		for _, f := range left {
			if !eventually(time.Second, func() bool { return f.raft.LastIndex() == last }) {
				t.Fatal("a follower does not follow")
			}
		}
		c.kill(leader)
		start := time.Now()
		if !left[1].trans.Failover(t.Context(), memberID(leader.id), survivors{left[1], left, nil}) {
			t.Error("the second did not stand")
		}
		if took := time.Since(start); took < nextInTurn {
			t.Errorf("the second stood after %v", took)
		}
		c.leader(left[1])
	})
}

// One that waits for its turn hears that the leader lives after all.
func TestWhoHearsFromTheLeaderStaysPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{})
		leader := c.elect()
		left := c.others(leader)
		last, lost := leader.raft.LastIndex(), memberID(leader.id)
		for _, f := range left {
			if !eventually(time.Second, func() bool { return f.raft.LastIndex() == last }) {
				t.Fatal("a follower does not follow")
			}
		}
		if left[1].trans.Failover(t.Context(), lost, survivors{left[1], left, nil}) {
			t.Error("stood although it heard from the leader")
		}
		time.Sleep(time.Second)
		if leader.raft.State() != raft.Leader {
			t.Error("the leader is deposed")
		}
	})
}

func TestNobodyStandsWithoutReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{conf: func(c *raft.Config) {
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Minute, time.Minute, time.Minute
		}})
		leader := c.elect()
		left := c.others(leader)
		lost := memberID(leader.id)
		for _, f := range left {
			if !eventually(time.Second, func() bool { s, _ := f.trans.Standing(); return s.Leader == lost }) {
				t.Fatal("a follower does not know the leader")
			}
		}
		ask := func(n *node) survivors { return survivors{n, left, nil} }
		if leader.trans.Failover(t.Context(), memberID(left[0].id), ask(leader)) {
			t.Error("the leader stood")
		}
		if left[0].trans.Failover(t.Context(), memberID(left[1].id), ask(left[0])) {
			t.Error("stood although the leader lives: another server is lost")
		}
		left[0].trans.SetJoining(1)
		if left[0].trans.Failover(t.Context(), lost, ask(left[0])) {
			t.Error("a joining server stood")
		}
		left[0].trans.SetJoining(0)
		if left[0].trans.Failover(t.Context(), lost, survivors{left[0], left, map[*node]bool{left[1]: true}}) {
			t.Error("stood without a quorum")
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if left[1].trans.Failover(cancelled, lost, ask(left[1])) {
			t.Error("stood after the context's end")
		}
		var none Transport
		if none.id = "1"; none.Failover(t.Context(), 2, survivors{}) {
			t.Error("stood without a Raft")
		}
	})
}

// Whatever the logs: each of the survivors has a turn of its own, and the
// first is one that all others would vote for.
func TestRankProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(rt, "n")
		var all []Survivor
		for i := range n {
			all = append(all, Survivor{
				ID:        uint8(i + 1),
				LastTerm:  rapid.Uint64Range(1, 3).Draw(rt, "term"),
				LastIndex: rapid.Uint64Range(1, 3).Draw(rt, "index"),
			})
		}
		turns := make(map[int]Survivor)
		for i, s := range all {
			others := append(append([]Survivor(nil), all[:i]...), all[i+1:]...)
			r := rank(s, others)
			if other, taken := turns[r]; taken {
				rt.Fatalf("servers %d and %d both have turn %d", other.ID, s.ID, r)
			}
			turns[r] = s
		}
		first := turns[0]
		for _, s := range all {
			if s.LastTerm > first.LastTerm || s.LastTerm == first.LastTerm && s.LastIndex > first.LastIndex {
				rt.Fatalf("server %d would refuse server %d", s.ID, first.ID)
			}
		}
	})
}
