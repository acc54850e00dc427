//go:build simulate

package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
	"github.com/coordd/coordd/server/metrics"
	"github.com/coordd/coordd/server/replica"
	"github.com/coordd/coordd/server/session"
	"github.com/coordd/coordd/server/watch"
)

// Simulated is a server for simulations: connections, pipeline, forwarder,
// reign, watches and replica as they are, without Raft, sockets and goroutines.
// What those would bring about its caller does, on one goroutine.
type Simulated struct {
	s       *Server
	replica *replica.Simulated
	reign   *reign
	conns   []*conn // in the order in which they came
}

// simulatedSink does at once what the sink leaves to goroutines.
type simulatedSink struct{ *sink }

func (k simulatedSink) Applied() {
	k.s.forwarder.flush()
	for i := 0; i < len(k.dirty); i++ {
		k.dirty[i].dirty = false
		k.dirty[i].flush()
	}
	k.dirty = k.dirty[:0]
}

// Restored leaves the connections to the caller, who closes them one by one.
func (k simulatedSink) Restored(m *fsm.Machine) { k.resume(m) }

func (k simulatedSink) ClusterID([16]byte) {}

func (k simulatedSink) Admitted(uint8, uint64) {}

// Simulate starts a process of server id on what its disk has: a snapshot of the
// state at index, or nothing. What the state machine yields passes through what
// wrap makes of the server's sink. Linearizable is coordd.linearizableReads.
func Simulate(id uint8, nonce, index uint64, snapshot []byte, linearizable bool, wrap func(replica.Sink) replica.Sink) (*Simulated, error) {
	s := &Server{
		id: id,
		cfg: &config.Config{
			MyID: id, Standalone: true, LeaderServes: true, TickTime: time.Second, SessionlessTimeout: time.Minute,
			MinSessionTimeout: time.Second, MaxSessionTimeout: time.Minute, MaxBuffer: 1 << 20, GlobalOutstandingLimit: 1 << 20,
			EnforceQuota: true, ExtendedTypesEnabled: true, DigestAuthEnabled: true,
			LinearizableReads: linearizable,
		},
		host:      Host{}.filled(),
		log:       hclog.NewNullLogger(),
		metrics:   metrics.New(),
		auth:      auth.New("", true),
		watches:   watch.New(),
		stop:      make(chan struct{}),
		failed:    make(chan error, 1),
		nextReign: make(chan struct{}),
		conns:     map[*conn]struct{}{},
		perIP:     map[netip.Addr]int{},
		bySession: map[int64]*conn{},
	}
	s.tracker = session.New(s.cfg.TickTime, s.expire)
	s.locals.sessions = map[int64]*local{}
	s.locals.tracker = session.New(s.cfg.TickTime, s.expireLocal)
	s.forwarder = &forwarder{server: id, nonce: nonce, metrics: s.metrics}
	s.sink = &sink{s: s}
	r, err := replica.Simulate(wrap(simulatedSink{s.sink}), index, snapshot)
	if err != nil {
		return nil, fmt.Errorf("start server %d: %w", id, err)
	}
	s.replica = r.Replica
	return &Simulated{s: s, replica: r}, nil
}

// Machine is the server's state.
func (s *Simulated) Machine() *fsm.Machine { return s.s.replica.Machine() }

// Apply applies a run of committed entries.
func (s *Simulated) Apply(entries []replica.Entry) { s.replica.Apply(entries) }

// Applied is the index of the last entry applied.
func (s *Simulated) Applied() uint64 { return s.replica.Applied() }

// Snapshot writes a snapshot of the present state to w, and calls between
// meanwhile, which may apply entries.
func (s *Simulated) Snapshot(w io.Writer, between func()) error { return s.replica.Write(w, between) }

// Restore takes over another server's snapshot of the state at index.
func (s *Simulated) Restore(index uint64, snapshot []byte) error {
	return s.replica.Restore(index, snapshot)
}

// Failed is the fault for which this process would have to end.
func (s *Simulated) Failed() error {
	select {
	case err := <-s.s.failed:
		return err
	default:
		return nil
	}
}

// Pass lets d pass for what a server does now and then: it reports live
// sessions, and closes connections that had no leader for too long.
func (s *Simulated) Pass(d time.Duration) {
	s.s.ran.Add(int64(d))
	s.s.reportLife()
	s.conns = slices.DeleteFunc(s.conns, func(c *conn) bool { return c.dead.Load() })
	s.s.holdOn(func() []*conn { return slices.Clone(s.conns) })
}

// Serving reports whether this server takes clients.
func (s *Simulated) Serving() bool { return s.s.Serving() }

// Link is a way to the leader; it does what the server sends there.
type Link struct {
	Batch  func(p []byte)
	Begin  func(incarnation, nonce uint64)
	Touch  func(seq uint64, sessions []int64)
	Digest func(at fsm.Mark)
}

func (l *Link) sendBatch(p []byte)                     { l.Batch(p) }
func (l *Link) sendBegin(incarnation, nonce uint64)    { l.Begin(incarnation, nonce) }
func (l *Link) sendTouch(seq uint64, sessions []int64) { l.Touch(seq, sessions) }
func (l *Link) sendDigest(at fsm.Mark)                 { l.Digest(at) }

// Open gives the server a way to the leader, which has stored incarnation for it.
func (s *Simulated) Open(l *Link, stored uint64) {
	s.s.contact.Store(int64(max(s.s.running(), 1)))
	s.s.forwarder.open(l, stored)
}

// Closed takes that way from it.
func (s *Simulated) Closed(l *Link) { s.s.forwarder.closed(l) }

// TouchAcked tells it that the leader has taken a report of live sessions.
func (s *Simulated) TouchAcked(seq uint64) { s.s.touchAcked(seq) }

// Lead makes the server lead in term.
func (s *Simulated) Lead(term uint64) {
	s.reign = newReign(s.s, term)
	s.s.setReign(s.reign)
}

// Depose ends that.
func (s *Simulated) Depose() {
	if s.reign != nil {
		s.reign.end()
		s.s.setReign(nil)
		s.reign = nil
	}
}

// FirstEntry is what a leader logs first.
func (s *Simulated) FirstEntry(timeMs int64) []byte { return s.s.firstEntry(timeMs) }

// Batch is what the leader does with a batch of server member. It reports false
// for one that is not member's.
func (s *Simulated) Batch(member uint8, p []byte) bool { return s.reign.batch(member, p) }

// Add lets the leader add to its next entry.
func (s *Simulated) Add(from uint8, size int, fn func(e *fsm.EntryBuilder)) {
	s.reign.add(from, size, fn)
}

// Take makes the leader's next entry of what has gathered; nil of nothing.
func (s *Simulated) Take(timeMs int64) []byte { return s.reign.take(timeMs) }

// SimulatedConn is a client's connection.
type SimulatedConn struct{ c *conn }

var errTurnedAway = errors.New("the server turns the client away")

// Connect takes a connection in. What leaves for the client goes to nc.
func (s *Simulated) Connect(nc net.Conn) *SimulatedConn {
	c := s.s.welcome(nc)
	s.conns = append(s.conns, c)
	return &SimulatedConn{c}
}

// Shake takes the connection's first frame, without its length.
func (c *SimulatedConn) Shake(frame []byte) error {
	if !c.c.s.Serving() || !c.c.shake(frame) {
		c.c.close()
		return errTurnedAway
	}
	return nil
}

// Requests takes what the client sends after that: whole frames.
func (c *SimulatedConn) Requests(data []byte) {
	if rest, err := c.c.requests(data); err != nil || len(rest) > 0 {
		c.c.finish()
	}
}

// Session is the attachment that the connection stands for; 0 as long as there is
// none.
func (c *SimulatedConn) Session() (id int64, epoch uint32) { return c.c.sessionID.Load(), c.c.epoch }

// Identities are those that the connection's requests have.
func (c *SimulatedConn) Identities() []protocol.ID { return c.c.ids.List() }

// Close ends the connection at once.
func (c *SimulatedConn) Close() { c.c.close() }
