package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// link is a network connection that tells Self whether the process at its
// other end is alive.
type link struct {
	net.Conn
	self   *Self
	member uint8
	nonce  uint64
	heard  atomic.Uint64 // reads that brought bytes
}

// Read notes life, and forgets the process once the connection is broken, so
// that its successor gets in at once.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Add(1)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		l.self.forget(l)
	}
	return n, err
}

// Close closes the connection and forgets the process.
func (l *link) Close() error {
	l.self.forget(l)
	return l.Conn.Close()
}

func (s *Self) forget(l *link) {
	s.mu.Lock()
	delete(s.links[l.member], l)
	s.mu.Unlock()
}

// admitPoll is how often admit looks whether the older process is gone.
const admitPoll = 10 * time.Millisecond

// admit registers l unless another process of the same member is connected
// and shows life. A connection that breaks meanwhile settles it at once; one
// that stays open but silent for DoubleWait belongs to a process that died
// without a word, and is closed.
func (s *Self) admit(l *link) *Refused {
	if l.member == s.Member { // we called ourselves
		return nil
	}
	start := make(map[*link]uint64)
	// Looks are counted, not time: if this process itself is stopped
	// meanwhile, the older one must not pay for it.
	looks := int(s.Options.filled().DoubleWait / admitPoll)
	for look := 0; ; look++ {
		over := look >= looks
		older, alive := s.tryAdmit(l, start, over)
		if alive {
			return &Refused{
				Reason: DoubledID,
				Text:   fmt.Sprintf("another process is connected as server %d and answers: two servers have the same myid", l.member),
			}
		}
		if over || older == nil {
			for _, o := range older {
				o.Conn.Close()
			}
			return nil
		}
		time.Sleep(admitPoll)
	}
}

// tryAdmit registers l if no other process of its member is connected. When
// the wait is over it decides either way: alive reports that an older process
// has been heard since start; otherwise older is unregistered, for the caller
// to close.
func (s *Self) tryAdmit(l *link, start map[*link]uint64, over bool) (older []*link, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.links[l.member] {
		if o.nonce == l.nonce {
			continue
		}
		older = append(older, o)
		heard := o.heard.Load()
		if before, seen := start[o]; !seen {
			start[o] = heard
		} else if over && heard > before {
			return older, true
		}
	}
	if older != nil && !over {
		return older, false
	}
	for _, o := range older {
		delete(s.links[l.member], o)
	}
	if s.links == nil {
		s.links = make(map[uint8]map[*link]struct{})
	}
	if s.links[l.member] == nil {
		s.links[l.member] = make(map[*link]struct{})
	}
	s.links[l.member][l] = struct{}{}
	return older, false
}
