package config

import (
	"fmt"
	"math"
)

// deriveTiming checks durations against each other.
func (c *Config) deriveTiming() error {
	if c.MinSessionTimeout == unset {
		c.MinSessionTimeout = 2 * c.TickTime
	}
	if c.MaxSessionTimeout == unset {
		c.MaxSessionTimeout = 20 * c.TickTime
	}
	if c.MinSessionTimeout > c.MaxSessionTimeout {
		key := "minSessionTimeout"
		if c.Source(key) == "" {
			key = "maxSessionTimeout"
		}
		return c.failKey(key, fmt.Sprintf("minSessionTimeout (%d ms) must not be larger than maxSessionTimeout (%d ms)",
			c.MinSessionTimeout.Milliseconds(), c.MaxSessionTimeout.Milliseconds()))
	}
	for _, limit := range []struct {
		key   string
		ticks int
	}{{"initLimit", c.InitLimit}, {"syncLimit", c.SyncLimit}} {
		if int64(limit.ticks) > math.MaxInt32/c.TickTime.Milliseconds() {
			return c.failKey(limit.key, fmt.Sprintf("times tickTime (%d ms) is more than %d ms", c.TickTime.Milliseconds(), math.MaxInt32))
		}
	}
	if c.Source("coordd.leaderLeaseTimeout") == "" {
		// Nothing is read by the lease, and no other stands sooner: a leader that
		// was only slow need not step down before.
		c.Raft.LeaderLeaseTimeout = c.Raft.HeartbeatTimeout
	}
	r := c.Raft
	if r.ElectionTimeout < r.HeartbeatTimeout {
		return c.failKey("coordd.electionTimeout", fmt.Sprintf("allowed: at least coordd.heartbeatTimeout (%v)", r.HeartbeatTimeout))
	}
	if r.LeaderLeaseTimeout > r.HeartbeatTimeout {
		return c.failKey("coordd.leaderLeaseTimeout", fmt.Sprintf("allowed: at most coordd.heartbeatTimeout (%v)", r.HeartbeatTimeout))
	}
	return nil
}
