package server

import (
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/server/admin"
	"github.com/coordd/coordd/server/peer"
)

// observing is an observer's stream to this leader, as the command observers
// shows it.
type observing struct {
	member uint8
	remote string
	since  time.Time

	received, sent, batches atomic.Int64 // messages; set to zero by a command
}

// observe keeps the books of a member's stream; they are shown if it is an
// observer.
func (s *Server) observe(member uint8, conn *peer.Conn) *observing {
	o := &observing{member: member, remote: javaAddr(conn.RemoteAddr()), since: time.Now()}
	if m, _ := s.cfg.Member(member); m.Observer {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.observers[o] = struct{}{}
	}
	return o
}

func (s *Server) forgetObserver(o *observing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.observers, o)
}

// heard counts a message and its answer, which a report of life alone has.
func (o *observing) heard(typ byte) {
	o.received.Add(1)
	switch typ {
	case peer.MsgBatch:
		o.batches.Add(1)
	case peer.MsgTouch:
		o.sent.Add(1)
	}
}

// Observers implements admin.Source.
func (s *Server) Observers() (all []admin.ObserverStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.observers {
		all = append(all, admin.ObserverStream{
			ID: o.member, Remote: o.remote, Established: o.since,
			Received: o.received.Load(), Sent: o.sent.Load(), Requests: o.batches.Load(),
		})
	}
	return all
}

// ResetObserverStats implements admin.Source.
func (s *Server) ResetObserverStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.observers {
		o.received.Store(0)
		o.sent.Store(0)
		o.batches.Store(0)
	}
}
