package server

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/session"
)

// redial is how long a server waits before it asks again for a stream to a
// leader that refused one or could not be reached.
const redial = 5 * time.Millisecond

// look is how often a server looks for what Raft does not tell of by itself:
// that the same leader has a new term.
const look = 100 * time.Millisecond

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

func (st *stream) sendDigest(at fsm.Mark) {
	st.send(peer.MsgDigest, peer.Digest{Number: at.Number, Digest: at.Digest}.AppendTo(nil))
}

// follow keeps a stream to whoever leads, until the server stops.
func (s *Server) follow() {
	for {
		change, wait := s.replica.LeaderChange(), look
		leader, term := s.findLeader()
		if leader != 0 && leader != s.id {
			s.followLeader(leader, term)
			wait = redial
		}
		select {
		case <-change:
		case <-time.After(wait):
		case <-s.stop:
			return
		}
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
	began := time.Now()
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
			s.outage.lost()
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
			s.contact.Store(int64(max(s.running(), 1)))
			s.forwarder.open(st, opened.Incarnation)
			s.outage.over(false)
			if s.cfg.PeerType == config.Observer {
				s.metrics.ObserverSyncTime.ObserveSince(began)
			} else {
				s.metrics.FollowerSyncTime.ObserveSince(began)
			}
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
	for {
		change := s.replica.LeaderChange()
		if l, t := s.replica.Leader(); l != 0 && l != leader || t > term && l == leader {
			conn.Close()
			return
		}
		select {
		case <-change:
		case <-time.After(look):
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
			conn.Send(peer.MsgFailoverAnswer, s.position(asked.Lost, hello.Member).AppendTo(nil))
			partWith(conn)
		}
		return
	}
	if err != nil || typ != peer.MsgOpen {
		return
	}
	open, err := peer.DecodeOpen(p)
	var l *reign
	if err == nil {
		l = s.awaitReign(open.Term, conn.Done())
	}
	if l == nil {
		leader, _ := s.replica.Leader()
		conn.Send(peer.MsgRefused, peer.Refusal{Leader: leader, Reason: "does not lead"}.AppendTo(nil))
		partWith(conn)
		return
	}
	s.metrics.Diffs.Inc()
	books := s.addLearner(hello.Member, conn)
	defer s.removeLearner(books)
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
		books.heard(typ)
		if err := s.serveStream(l, conn, hello.Member, typ, p); err != nil {
			s.log.Warn("stream closed", "peer", hello.Member, "reason", err)
			return
		}
	}
}

// awaitReign returns this server's reign in term or a later one, and waits for
// it while Raft has this server lead; nil without one.
func (s *Server) awaitReign(term uint64, done <-chan struct{}) *reign {
	for {
		s.mu.Lock()
		l, next := s.reign, s.nextReign
		s.mu.Unlock()
		if l != nil && l.term >= term {
			return l
		}
		if !s.replica.Leads() {
			return nil
		}
		select {
		case <-next:
		case <-time.After(look): // in case it leads no more
		case <-done:
			return nil
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
		l.add(member, 32, func(e *fsm.EntryBuilder) { e.Begin(member, b.Incarnation, b.Nonce) })
	case peer.MsgTouch:
		t, err := peer.DecodeTouch(p)
		if err != nil {
			return err
		}
		s.tracker.Touch(t.Sessions)
		return conn.Send(peer.MsgTouchAck, peer.TouchAck{Seq: t.Seq}.AppendTo(nil))
	case peer.MsgDigest:
		d, err := peer.DecodeDigest(p)
		if err != nil {
			return err
		}
		l.hear(member, fsm.Mark{Number: d.Number, Digest: d.Digest})
	default:
		return fmt.Errorf("message of unknown type %d", typ)
	}
	return nil
}

// regained is how long, beside a tick, sessions may live at least once a leader
// that was voted out leads again: servers repeat after a second what the leader
// has not acknowledged (Server.reportLife).
const regained = time.Second

// startTracker gives every session its full timeout from now on; what it had
// left, if this leader succeeds itself.
func (s *Server) startTracker(again bool) {
	s.replica.View(func(m *fsm.Machine) {
		var all []session.Session
		m.EachSession(func(i fsm.SessionInfo) bool {
			all = append(all, session.Session{ID: i.ID, Timeout: time.Duration(i.TimeoutMs) * time.Millisecond, Epoch: i.Epoch})
			return true
		})
		if again {
			s.tracker.Resume(all, s.cfg.TickTime+regained)
		} else {
			s.tracker.Start(all)
		}
	})
}

var _ upstream = (*stream)(nil)
var _ upstream = (*reign)(nil)

// partWith ends a connection once what was sent last has arrived.
func partWith(conn *peer.Conn) {
	conn.Finish(time.Second)
	<-conn.Done()
}
