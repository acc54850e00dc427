package server

import "time"

// report is a list of live sessions sent to the leader.
type report struct {
	seq      uint64
	at       time.Duration // by Server.ran
	sessions []*conn
}

// keepAlive reports which sessions showed life, and again until the leader
// has acknowledged it; and it closes connections that have been without a
// leader for too long.
func (s *Server) keepAlive() {
	interval := min(s.cfg.TickTime/4, s.cfg.MinSessionTimeout/8)
	interval = max(interval, 5*time.Millisecond)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	woke := time.Now()
	for {
		select {
		case <-tick.C:
			now := time.Now()
			s.ran.Add(int64(min(now.Sub(woke), 2*interval)))
			woke = now
			s.reportLife()
			s.holdOn(s.connections)
			s.leaveReadOnly()
		case <-s.stop:
			return
		}
	}
}

func (s *Server) reportLife() {
	s.touchMu.Lock()
	live := s.touched
	s.touched = nil
	// Without a leader's word for a while a report is repeated.
	for _, r := range s.reports {
		if s.running()-r.at > time.Second || !s.forwarder.connected() {
			live = append(live, r.sessions...)
			r.sessions = nil
		}
	}
	keep := s.reports[:0]
	for _, r := range s.reports {
		if r.sessions != nil {
			keep = append(keep, r)
		}
	}
	s.reports = keep
	waiting := len(keep) > 0
	s.touchMu.Unlock()

	ids := make([]int64, 0, len(live))
	var local []int64
	open := live[:0]
	for _, c := range live {
		c.touched.Store(false)
		switch id := c.sessionID.Load(); {
		case c.dead.Load():
		case s.locals.get(id) != nil:
			local = append(local, id)
		default:
			ids = append(ids, id)
			open = append(open, c)
		}
	}
	s.locals.tracker.Touch(local)
	if len(ids) == 0 && s.forwarder.connected() && waiting {
		return
	}
	r := &report{at: s.running(), sessions: open}
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	if r.seq = s.forwarder.touch(ids); r.seq == 0 {
		s.touched = append(s.touched, open...)
		for _, c := range open {
			c.touched.Store(true)
		}
		return
	}
	if r.sessions == nil {
		r.sessions = []*conn{}
	}
	s.reports = append(s.reports, r)
}

// touch notes that c's client is alive.
func (s *Server) touch(c *conn) {
	if c.touched.Swap(true) {
		return
	}
	s.touchMu.Lock()
	s.touched = append(s.touched, c)
	s.touchMu.Unlock()
}

// touchAcked notes that the leader has taken a report.
func (s *Server) touchAcked(seq uint64) {
	s.touchMu.Lock()
	defer s.touchMu.Unlock()
	for i, r := range s.reports {
		if r.seq == seq {
			s.contact.Store(int64(r.at))
			for _, c := range r.sessions {
				c.acked.Store(int64(r.at))
			}
			s.reports = append(s.reports[:i], s.reports[i+1:]...)
			return
		}
	}
}

// running is how long this server has been up and not stopped or starved: a
// wake-up that comes late does not count, so that no client is dropped because
// its server could not hear the leader.
func (s *Server) running() time.Duration { return time.Duration(s.ran.Load()) }

// inContact reports whether a leader has answered lately.
func (s *Server) inContact() bool {
	at := s.contact.Load()
	return at != 0 && s.running()-time.Duration(at) < s.holdTime()
}

// holdTime is how long clients are held without a leader.
func (s *Server) holdTime() time.Duration {
	if d := s.cfg.SyncTimeout(); d > 0 {
		return d
	}
	return 5 * s.cfg.TickTime
}

// holdOn closes the connections of a server that has been without a leader for
// syncLimit ticks, handshakes without an answer among them, and those whose
// session may have expired meanwhile. conns lists all; there is no need to while
// a leader is in contact.
func (s *Server) holdOn(conns func() []*conn) {
	if !s.forwarder.ready() {
		return
	}
	lost := func() bool { return !s.inContact() }
	if !lost() && s.forwarder.connected() {
		return
	}
	for _, c := range conns() {
		id := c.sessionID.Load()
		if c.readOnly.Load() || id == 0 && c.timeoutMs.Load() == 0 {
			continue // no handshake yet
		}
		silent := s.running() - time.Duration(c.acked.Load())
		if lost() || id != 0 && s.locals.get(id) == nil && silent > c.timeout() {
			c.close()
		}
	}
}
