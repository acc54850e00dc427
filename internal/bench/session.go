package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/coordd/coordd/protocol"
)

// maxFrame bounds a reply in bytes.
const maxFrame = 64 << 20

var errRefused = errors.New("session expired or refused")

// pending is a request without a reply.
type pending struct {
	xid  int32
	kind Kind
	part bool          // of a request that ends with a later reply
	due  time.Duration // when it should have been sent
}

// session is one session of a load, on one connection at a time.
type session struct {
	run    *Running
	n      int // among the sessions of the load
	window int
	random *rand.Rand
	key    func() int

	mu     sync.Mutex
	room   *sync.Cond // signalled when a request more may be sent, or none any more
	server int        // index in the load's servers
	conn   net.Conn   // nil while there is none
	id     int64
	secret []byte
	zxid   int64
	xid    int32
	out    []byte    // frames to be written
	flight []pending // in the order of their frames
	head   int       // flight before it is answered
	under  int       // requests in flight, without parts
	wrote  time.Duration

	stopped bool // sends no more requests
	pacing  bool // pace has not ended
	idle    bool // stopped, and all is answered

	created, deleted int     // znodes of create, by number
	sequences        []int32 // znodes of create-sequential-ephemeral
	watched          int     // keys that have a watch

	lastOK time.Duration
	gap    time.Duration // the longest time between two answers with OK
	tally  tally
}

func newSession(r *Running, n int) *session {
	window := r.load.Outstanding / r.load.Sessions
	if n < r.load.Outstanding%r.load.Sessions {
		window++
	}
	s := &session{run: r, n: n, window: window, server: n % len(r.load.Servers), random: rand.New(rand.NewPCG(uint64(n), 0))}
	s.room = sync.NewCond(&s.mu)
	s.key = r.load.Keys.chooser(s.random)
	return s
}

// connect opens the session at its server, or takes it up again there.
func (s *session) connect(ctx context.Context) error {
	load := s.run.load
	addr := load.Servers[s.server]
	ctx, cancel := context.WithTimeout(ctx, max(load.Timeout, time.Second))
	defer cancel()
	conn, err := load.dial(ctx, addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	unblock := context.AfterFunc(ctx, func() { conn.Close() })
	resp, err := handshake(conn, protocol.ConnectRequest{
		TimeoutMs: int32(min(load.Timeout.Milliseconds(), math.MaxInt32)),
		SessionID: s.id, Password: s.secret, LastZxidSeen: s.zxid, HasReadOnly: true,
	})
	if !unblock() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("open session at %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.id, s.secret = conn, resp.SessionID, resp.Password
	s.wrote = s.run.now()
	return nil
}

// handshake reads no more than the answer.
func handshake(conn net.Conn, req protocol.ConnectRequest) (resp protocol.ConnectResponse, err error) {
	if req.Password == nil {
		req.Password = make([]byte, 16)
	}
	frame := req.AppendTo(make([]byte, 4))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if _, err := conn.Write(frame); err != nil {
		return resp, err
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return resp, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 1024 {
		return resp, protocol.ErrMalformed
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return resp, err
	}
	d := protocol.NewDecoder(body)
	resp.Decode(&d)
	if d.Err() == nil && (resp.TimeoutMs <= 0 || resp.SessionID == 0) {
		return resp, errRefused
	}
	return resp, d.Err()
}

// begin sends the first requests of a closed loop.
func (s *session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastOK = s.run.now()
	s.pacing = s.run.load.Rate > 0
	s.fillLocked(s.lastOK)
	s.flushLocked()
}

// fillLocked sends what there is room for, due now; in an open loop pace does.
func (s *session) fillLocked(now time.Duration) {
	if s.run.load.Rate > 0 || len(s.run.load.Mix) == 0 || s.conn == nil {
		return
	}
	for s.under < s.window && !s.stopped && s.run.take() {
		s.requestLocked(now)
	}
}

// requestLocked appends one request of the mix.
func (s *session) requestLocked(due time.Duration) {
	s.under++
	kind := s.run.load.Mix.choose(s.random)
	kinds[kind].send(s, kind, due)
}

// sendLocked appends a frame; part says that the request goes on with another.
func (s *session) sendLocked(op protocol.OpCode, body protocol.Record, p pending) {
	if s.xid == math.MaxInt32 {
		s.xid = 0
	}
	s.xid++
	p.xid = s.xid
	if s.head > 0 && len(s.flight) == cap(s.flight) {
		s.flight = s.flight[:copy(s.flight, s.flight[s.head:])]
		s.head = 0
	}
	s.flight = append(s.flight, p)
	s.frameLocked(p.xid, op, body)
}

func (s *session) frameLocked(xid int32, op protocol.OpCode, body protocol.Record) {
	start := len(s.out)
	s.out = append(s.out, 0, 0, 0, 0)
	s.out = (&protocol.RequestHeader{Xid: xid, Op: op}).AppendTo(s.out)
	if body != nil {
		s.out = body.AppendTo(s.out)
	}
	binary.BigEndian.PutUint32(s.out[start:], uint32(len(s.out)-start-4))
}

// flushLocked writes all frames at once. An error ends the connection, which
// the reader sees.
func (s *session) flushLocked() {
	if len(s.out) == 0 || s.conn == nil {
		return
	}
	if _, err := s.conn.Write(s.out); err != nil {
		s.conn.Close()
	}
	s.wrote = s.run.now()
	s.out = s.out[:0]
}

func (s *session) pingAt(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && now-s.wrote >= s.run.load.Timeout/3 {
		s.frameLocked(protocol.XidPing, protocol.OpPing, nil)
		s.flushLocked()
	}
}

// stop ends the sending of requests.
func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.room.Broadcast()
	s.settleLocked()
}

// settleLocked notes when a session that sends no more has all its answers.
func (s *session) settleLocked() {
	if s.stopped && !s.pacing && s.under == 0 && !s.idle {
		s.idle = true
		s.run.busy.Done()
	}
}

// abandon gives up what is in flight.
func (s *session) abandon(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLocked(why)
}

// loseLocked ends the connection and everything in flight with it.
func (s *session) loseLocked(why error) {
	for _, p := range s.flight[s.head:] {
		if !p.part {
			s.failLocked(p.kind, why)
		}
	}
	s.flight, s.head, s.under, s.out = s.flight[:0], 0, 0, s.out[:0]
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	s.settleLocked()
}

func (s *session) failLocked(kind Kind, err error) {
	c := s.tally.of(kind)
	c.errors++
	if c.example == nil {
		c.example = fmt.Errorf("%s: %w", s.run.load.Servers[s.server], err)
	}
	s.run.failed.Add(1)
}

// close asks the server to end the session; read ends with the connection.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return
	}
	s.frameLocked(0, protocol.OpCloseSession, nil)
	s.flushLocked()
	_ = s.conn.SetReadDeadline(time.Now().Add(s.run.load.Timeout)) // a fault of the connection ends the read as well
}

// read takes replies until the load is closed. A lost connection is taken up
// at the next server of the list, as clients do.
func (s *session) read() {
	buf := make([]byte, 4<<10)
	for {
		err := s.receive(&buf)
		s.mu.Lock()
		s.loseLocked(err)
		s.mu.Unlock()
		for {
			if s.run.ending.Err() != nil {
				return
			}
			s.mu.Lock()
			s.server = (s.server + 1) % len(s.run.load.Servers)
			s.mu.Unlock()
			err := s.connect(s.run.ending)
			if err == nil {
				if s.run.ending.Err() != nil {
					s.close() // Close found no connection
				}
				break
			}
			if errors.Is(err, errRefused) {
				s.id, s.secret = 0, nil
			}
			select {
			case <-s.run.ending.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		s.mu.Lock()
		s.fillLocked(s.run.now())
		s.flushLocked()
		s.room.Broadcast()
		s.mu.Unlock()
	}
}

// receive handles replies until the connection is lost.
func (s *session) receive(buffer *[]byte) error {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return net.ErrClosed
	}
	buf, have := *buffer, 0
	for {
		// Pings are answered, so a longer silence means a dead server.
		if s.run.ending.Err() == nil {
			if err := conn.SetReadDeadline(time.Now().Add(s.run.load.Timeout * 2 / 3)); err != nil {
				return err
			}
		}
		n, err := conn.Read(buf[have:])
		full := have+n == len(buf)
		have += n
		if n > 0 {
			used, fault := s.take(buf[:have])
			if fault != nil {
				return fault
			}
			have = copy(buf, buf[used:have])
		}
		if err != nil {
			return err
		}
		// More comes than the buffer takes at once, or one frame is longer.
		if full && len(buf) < 64<<10 || have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
			*buffer = buf
		}
	}
}

// take handles the whole frames of b, and sends what they make room for.
func (s *session) take(b []byte) (used int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.run.now()
	before := s.tally.ok
	for len(b)-used >= 4 {
		n := int(int32(binary.BigEndian.Uint32(b[used:])))
		if n < 16 || n > maxFrame {
			return used, fmt.Errorf("frame of %d bytes: %w", n, protocol.ErrMalformed)
		}
		if len(b)-used-4 < n {
			break
		}
		if err := s.replyLocked(b[used+4:used+4+n], now); err != nil {
			return used, err
		}
		used += 4 + n
	}
	if ok := s.tally.ok - before; ok > 0 {
		s.gap = max(s.gap, now-s.lastOK)
		s.lastOK = now
		s.run.answeredAt(now, ok)
	}
	s.fillLocked(now)
	s.flushLocked()
	s.room.Signal()
	s.settleLocked()
	return used, nil
}

// replyLocked handles one frame from the server.
func (s *session) replyLocked(frame []byte, now time.Duration) error {
	xid := int32(binary.BigEndian.Uint32(frame))
	switch xid {
	case protocol.XidNotification:
		if s.run.load.Notified != nil {
			s.run.load.Notified()
		}
		return nil
	case protocol.XidPing, 0: // 0: the session was closed
		return nil
	}
	if zxid := int64(binary.BigEndian.Uint64(frame[4:])); zxid > 0 {
		s.zxid = zxid
	}
	if s.head == len(s.flight) || s.flight[s.head].xid != xid {
		return fmt.Errorf("reply to xid %d, which is not the next", xid)
	}
	p := s.flight[s.head]
	s.head++
	if s.head == len(s.flight) {
		s.flight, s.head = s.flight[:0], 0
	}
	if p.part {
		return nil
	}
	s.under--
	code := protocol.ErrCode(int32(binary.BigEndian.Uint32(frame[12:])))
	body := frame[16:]
	if code == protocol.OK && p.kind == Multi {
		code = multiCode(body)
	}
	if code != protocol.OK {
		s.failLocked(p.kind, code)
		return nil
	}
	if p.kind == CreateSequentialEphemeral {
		if number, ok := sequence(body); ok {
			s.sequences = append(s.sequences, number)
		}
	}
	s.tally.ok++
	s.tally.of(p.kind).add(now - p.due)
	return nil
}
