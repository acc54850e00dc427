package server

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/session"
)

// redial is how long a server waits before it asks again for a stream to a
// leader that refused one or could not be reached.
const redial = 5 * time.Millisecond

// stream is a 2888 stream to another server, which leads in its term.
type stream struct {
	conn *peer.Conn
}

func (st *stream) send(typ byte, p []byte) {
	if err := st.conn.Send(typ, p); err != nil {
		st.conn.Close() // follow notices, and dials again
	}
}

func (st *stream) sendBatch(p []byte) { st.send(peer.MsgBatch, p) }

func (st *stream) sendBegin(incarnation, nonce uint64) {
	st.send(peer.MsgBegin, peer.Begin{Incarnation: incarnation, Nonce: nonce}.AppendTo(nil))
}

func (st *stream) sendTouch(seq uint64, sessions []int64) {
	st.send(peer.MsgTouch, peer.Touch{Seq: seq, Sessions: sessions}.AppendTo(nil))
}

// follow keeps a stream to whoever leads, until the server stops.
func (s *Server) follow() {
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		leader, term := s.replica.Leader()
		if leader != 0 && leader != s.id {
			s.followLeader(leader, term)
		}
		time.Sleep(redial)
	}
}

// followLeader opens a stream to leader and serves it until it breaks or
// another leads.
func (s *Server) followLeader(leader uint8, term uint64) {
	m, ok := s.cfg.Member(leader)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, _, err := peer.Dial(ctx, s.self, m.QuorumAddr(), leader, peer.PurposeStream)
	if err != nil {
		return
	}
	defer conn.Close()
	gone := make(chan struct{})
	defer close(gone)
	go s.closeWhenDeposed(conn, leader, term, gone)
	if conn.Send(peer.MsgOpen, peer.Open{Term: term}.AppendTo(nil)) != nil {
		return
	}
	st := &stream{conn: conn}
	defer s.forwarder.closed(st)
	for {
		typ, p, err := conn.Recv()
		if err != nil {
			s.forwarder.closed(st)
			if peer.Lost(err) {
				s.leaderLost(m)
			}
			return
		}
		switch typ {
		case peer.MsgOpened:
			opened, err := peer.DecodeOpened(p)
			if err != nil {
				return
			}
			s.log.Info("following", "leader", leader, "term", opened.Term)
			s.forwarder.open(st, opened.Incarnation)
		case peer.MsgTouchAck:
			if ack, err := peer.DecodeTouchAck(p); err == nil {
				s.touchAcked(ack.Seq)
			}
		case peer.MsgRefused:
			return
		}
	}
}

// closeWhenDeposed ends a stream when Raft here knows another leader.
func (s *Server) closeWhenDeposed(conn *peer.Conn, leader uint8, term uint64, gone chan struct{}) {
	tick := time.NewTicker(redial)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if l, t := s.replica.Leader(); l != 0 && l != leader || t > term && l == leader {
				conn.Close()
				return
			}
		case <-gone:
			return
		case <-s.stop:
			conn.Close()
			return
		}
	}
}

// acceptStream serves another server's stream while this one leads.
func (s *Server) acceptStream(conn *peer.Conn, hello peer.Hello) {
	defer conn.Close()
	select {
	case <-s.opened:
	case <-conn.Done():
		return
	case <-s.stop:
		return
	}
	typ, p, err := conn.Recv()
	if err == nil && typ == peer.MsgFailover {
		if asked, err := peer.DecodePosition(p); err == nil {
			conn.Send(peer.MsgFailoverAnswer, s.position(asked.Lost).AppendTo(nil))
			partWith(conn)
		}
		return
	}
	if err != nil || typ != peer.MsgOpen {
		return
	}
	open, err := peer.DecodeOpen(p)
	l := s.currentReign()
	if err != nil || l == nil || l.term < open.Term {
		leader, _ := s.replica.Leader()
		conn.Send(peer.MsgRefused, peer.Refusal{Leader: leader, Reason: "does not lead"}.AppendTo(nil))
		partWith(conn)
		return
	}
	s.learners.Add(1)
	defer s.learners.Add(-1)
	go func() {
		select {
		case <-l.done:
			conn.Close()
		case <-conn.Done():
		}
	}()
	var stored uint64
	s.replica.View(func(m *fsm.Machine) { stored, _, _ = m.Stream(hello.Member) })
	if conn.Send(peer.MsgOpened, peer.Opened{Term: l.term, Incarnation: stored}.AppendTo(nil)) != nil {
		return
	}
	for {
		typ, p, err := conn.Recv()
		if err != nil || l.over() {
			return
		}
		if err := s.serveStream(l, conn, hello.Member, typ, p); err != nil {
			s.log.Warn("stream closed", "peer", hello.Member, "reason", err)
			return
		}
	}
}

func (s *Server) serveStream(l *reign, conn *peer.Conn, member uint8, typ byte, p []byte) error {
	switch typ {
	case peer.MsgBatch:
		if !l.batch(member, p) {
			return fmt.Errorf("server %d sent a batch that is not its own", member)
		}
	case peer.MsgBegin:
		b, err := peer.DecodeBegin(p)
		if err != nil {
			return err
		}
		l.add(32, func(e *fsm.EntryBuilder) { e.Begin(member, b.Incarnation, b.Nonce) })
	case peer.MsgTouch:
		t, err := peer.DecodeTouch(p)
		if err != nil {
			return err
		}
		s.tracker.Touch(t.Sessions)
		return conn.Send(peer.MsgTouchAck, peer.TouchAck{Seq: t.Seq}.AppendTo(nil))
	default:
		return fmt.Errorf("message of unknown type %d", typ)
	}
	return nil
}

// startTracker gives every session its full timeout from now on.
func (s *Server) startTracker() {
	s.replica.View(func(m *fsm.Machine) {
		var all []session.Session
		m.EachSession(func(i fsm.SessionInfo) bool {
			all = append(all, session.Session{ID: i.ID, Timeout: time.Duration(i.TimeoutMs) * time.Millisecond, Epoch: i.Epoch})
			return true
		})
		s.tracker.Start(all)
	})
}

// report is a list of live sessions sent to the leader.
type report struct {
	seq      uint64
	at       time.Time
	sessions []*conn
}

// keepAlive reports which sessions showed life, and again until the leader
// has acknowledged it; and it closes connections that have been without a
// leader for too long.
func (s *Server) keepAlive() {
	interval := min(s.cfg.TickTime/4, s.cfg.MinSessionTimeout/8)
	tick := time.NewTicker(max(interval, 5*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.reportLife()
			s.holdOn()
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
		if time.Since(r.at) > time.Second || !s.forwarder.connected() {
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
	open := live[:0]
	for _, c := range live {
		c.touched.Store(false)
		if !c.dead.Load() {
			ids = append(ids, c.sessionID.Load())
			open = append(open, c)
		}
	}
	if len(ids) == 0 && s.forwarder.connected() && waiting {
		return
	}
	r := &report{at: time.Now(), sessions: open}
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
			s.contact.Store(r.at.UnixNano())
			for _, c := range r.sessions {
				c.acked.Store(r.at.UnixNano())
			}
			s.reports = append(s.reports[:i], s.reports[i+1:]...)
			return
		}
	}
}

// inContact reports whether a leader has answered lately.
func (s *Server) inContact() bool {
	return time.Since(time.Unix(0, s.contact.Load())) < s.holdTime()
}

// holdTime is how long clients are held without a leader.
func (s *Server) holdTime() time.Duration {
	if d := s.cfg.SyncTimeout(); d > 0 {
		return d
	}
	return 5 * s.cfg.TickTime
}

// holdOn closes the connections of a server that has been without a leader for
// syncLimit ticks, and those whose session may have expired meanwhile.
func (s *Server) holdOn() {
	if !s.forwarder.ready() {
		return
	}
	lost := !s.inContact()
	if !lost && s.forwarder.connected() {
		return
	}
	for _, c := range s.connections() {
		if c.sessionID.Load() == 0 {
			continue
		}
		if lost || time.Since(time.Unix(0, c.acked.Load())) > time.Duration(c.timeoutMs.Load())*time.Millisecond {
			c.close()
		}
	}
}

var _ upstream = (*stream)(nil)
var _ upstream = (*reign)(nil)

// partWith ends a connection once what was sent last has arrived.
func partWith(conn *peer.Conn) {
	conn.Finish(time.Second)
	<-conn.Done()
}
