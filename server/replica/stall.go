package replica

import (
	"sync"
	"time"
)

// stallWatch knows how long the oldest of the writes under way has been
// running. The zero value is ready; safe for concurrent use.
type stallWatch struct {
	mu    sync.Mutex
	count int       // writes under way; guarded by mu
	since time.Time // when count last rose from 0; guarded by mu
}

// begin notes the start of a write; call the result when it ends.
func (s *stallWatch) begin() (end func()) {
	s.mu.Lock()
	if s.count == 0 {
		s.since = time.Now()
	}
	s.count++
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.count--
		s.mu.Unlock()
	}
}

// stalled returns for how long writes have been under way without a pause, 0
// if there are none.
func (s *stallWatch) stalled() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		return 0
	}
	return time.Since(s.since)
}
