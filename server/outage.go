package server

import (
	"sync"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

// outage times how long this server of an ensemble has no leader, and how long
// no way to one. It begins without. Safe for concurrent use.
type outage struct {
	metrics *metrics.Set

	mu       sync.Mutex
	leader   uint8     // 0 without one; guarded by mu
	last     uint8     // the last one there was; guarded by mu
	looking  time.Time // when the last leader was lost; guarded by mu
	stranded time.Time // when the last way to a leader was lost; zero while there is one. Guarded by mu.
}

func newOutage(m *metrics.Set) *outage {
	m.Looking.Inc()
	now := time.Now()
	return &outage{metrics: m, looking: now, stranded: now}
}

// sees takes in which leader this server knows, 0 for none.
func (o *outage) sees(leader uint8) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if leader == o.leader {
		return
	}
	if o.leader != 0 { // also when the next one is known at once
		o.metrics.Looking.Inc()
		o.looking = time.Now()
		o.strandedLocked()
	}
	if leader != 0 {
		o.metrics.ElectionTime.ObserveSince(o.looking)
		if o.last != 0 && o.last != leader {
			o.metrics.LeaderChanges.Inc()
		}
		o.last = leader
	}
	o.leader = leader
}

// lost takes in that the way to the leader is gone.
func (o *outage) lost() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strandedLocked()
}

func (o *outage) strandedLocked() {
	if o.stranded.IsZero() {
		o.stranded = time.Now()
	}
}

// over takes in that there is a way to a leader, or that this server leads.
func (o *outage) over(leading bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stranded.IsZero() {
		return
	}
	o.metrics.Unavailable.ObserveSince(o.stranded)
	if leading {
		o.metrics.LeaderUnavailable.ObserveSince(o.stranded)
	}
	o.stranded = time.Time{}
}

// watchLeader follows which leader this server knows, until the server stops.
func (s *Server) watchLeader() {
	for {
		change := s.replica.LeaderChange()
		leader, _ := s.replica.Leader()
		s.outage.sees(leader)
		select {
		case <-change:
		case <-s.stop:
			return
		}
	}
}
