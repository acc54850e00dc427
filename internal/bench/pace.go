package bench

import "time"

// schedule spreads the requests of a rate evenly over the sessions: the i-th
// request of session n is due one interval of all sessions after its last one.
type schedule struct {
	from     time.Duration // the first moment of the load
	rate     float64       // of all sessions, a second
	n, of    int           // session n of so many
	requests int64         // that were due and have been sent or given up
}

// next is when the next request is due.
func (p *schedule) next() time.Duration {
	return p.from + time.Duration(float64(p.requests*int64(p.of)+int64(p.n))/p.rate*float64(time.Second))
}

// pace sends requests at their time, or as soon as there is room for them. What
// was due and found no room until the load stopped counts as a latency
// all the same: as long as it had waited by then.
func (s *session) pace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	load := s.run.load
	p := schedule{from: s.run.from, rate: load.Rate, n: s.n, of: load.Sessions}
	timed := load.Requests == 0
	end := s.run.from + load.Duration
	for !s.stopped && !(timed && p.next() >= end) {
		if s.conn == nil || s.under >= s.window {
			s.flushLocked()
			s.room.Wait()
			continue
		}
		if wait := p.next() - s.run.now(); wait > 0 {
			s.flushLocked()
			s.mu.Unlock()
			s.run.sleep(wait)
			s.mu.Lock()
			continue
		}
		if !s.run.take() {
			break
		}
		s.requestLocked(p.next())
		p.requests++
	}
	s.flushLocked()
	if timed {
		end = min(s.run.now(), end) // the load may have been stopped before its time
		for ; p.next() < end; p.requests++ {
			s.tally.unsent++
			s.tally.late.add(end - p.next())
		}
	}
	s.pacing = false
	s.settleLocked()
}

// timersLate is by how much Go's timers may be late.
const timersLate = 2 * time.Millisecond

// sleep returns after d, or before: with the end of the load at the latest, and
// a little before for a long d, so that the rest can be had more exactly.
func (r *Running) sleep(d time.Duration) {
	if d < timersLate {
		r.load.nap(d)
		return
	}
	select {
	case <-r.stopping.Done():
	case <-time.After(d - timersLate/2):
	}
}
