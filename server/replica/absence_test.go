package replica

import (
	"testing"
	"testing/synctest"
	"time"
)

// away makes a server unreachable, as if it were not running: dials are
// refused, connections gone.
func (c *testNet) away(n *node) (back func()) {
	c.net.mu.Lock()
	l := c.net.listeners[n.addr]
	delete(c.net.listeners, n.addr)
	c.net.mu.Unlock()
	cut := func(on bool) {
		for _, o := range c.others(n) {
			c.net.cut(n.addr, o.addr, on)
		}
	}
	cut(true)
	c.net.drop(n.addr)
	return func() {
		cut(false)
		c.net.drop(n.addr)
		c.net.mu.Lock()
		c.net.listeners[n.addr] = l
		c.net.mu.Unlock()
	}
}

// TestReplicationGoesOnWhenAServerIsBack: however long a server was away, the
// leader does not let it wait.
func TestReplicationGoesOnWhenAServerIsBack(t *testing.T) {
	for _, absence := range []time.Duration{time.Second, 9 * time.Second, 14 * time.Second, time.Minute} {
		t.Run(absence.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startNet(t, 3, nodeOptions{})
				leader := c.elect()
				gone := c.others(leader)[0]
				write := func() uint64 {
					if err := leader.raft.Apply([]byte("x"), 0).Error(); err != nil {
						t.Fatal(err)
					}
					return leader.raft.LastIndex()
				}
				has := func(last uint64) func() bool {
					return func() bool { return gone.raft.LastIndex() >= last }
				}
				if !eventually(time.Second, has(write())) {
					t.Fatal("a follower does not follow")
				}
				back := c.away(gone)
				last := write()
				time.Sleep(absence)
				back()
				if began := time.Now(); !eventually(time.Minute, has(last)) || time.Since(began) > 500*time.Millisecond {
					t.Errorf("caught up after %v", time.Since(began))
				}
				if c.leader(c.nodes...) != leader {
					t.Error("another server leads")
				}
			})
		})
	}
}
