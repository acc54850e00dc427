package server

import (
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/server/admin"
	"github.com/coordd/coordd/server/peer"
)

// learner is another server's stream to this leader. Of an old and a new one of
// the same server, both may be open for a moment.
type learner struct {
	member uint8
	remote string
	since  time.Time

	received, sent, batches atomic.Int64 // messages; set to zero by a command
}

func (s *Server) addLearner(member uint8, conn *peer.Conn) *learner {
	l := &learner{member: member, remote: javaAddr(conn.RemoteAddr()), since: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learners[l] = struct{}{}
	return l
}

func (s *Server) removeLearner(l *learner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.learners, l)
}

// heard counts a message and its answer, which a report of life alone has.
func (l *learner) heard(typ byte) {
	l.received.Add(1)
	switch typ {
	case peer.MsgBatch:
		l.batches.Add(1)
	case peer.MsgTouch:
		l.sent.Add(1)
	}
}

// Observers implements admin.Source.
func (s *Server) Observers() (all []admin.ObserverStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.learners {
		if m, _ := s.cfg.Member(l.member); !m.Observer {
			continue
		}
		all = append(all, admin.ObserverStream{
			ID: l.member, Remote: l.remote, Established: l.since,
			Received: l.received.Load(), Sent: l.sent.Load(), Requests: l.batches.Load(),
		})
	}
	return all
}

// ResetObserverStats implements admin.Source. The counts of other learners are
// not shown anywhere.
func (s *Server) ResetObserverStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.learners {
		l.received.Store(0)
		l.sent.Store(0)
		l.batches.Store(0)
	}
}
