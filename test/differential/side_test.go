//go:build differential

package differential

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

const (
	// patience is how long an answer may take; a server that does not answer
	// is a difference too.
	patience = 10 * time.Second
	// closeWithin is how long a server may take to close what it has to.
	closeWithin = 5 * time.Second
	maxFrame    = 64 << 20
)

// side is one of the two servers compared, or one member of an ensemble and
// others for connects that ask for them.
type side struct {
	name  string
	addrs []string
	own   string  // where the tester's own connections go
	stop  func()  // ends its servers
	super *stream // a connection of the super user that lives as long as the side
	// guides are connections to addrs, by which a program that roams brings a
	// server up to date before it connects: one behind the client hangs up.
	guides []*stream
	runs   int
	leader *zkprocess.Server // that a stalled step stops for a while
	book   *stream           // a connection to the leader
	built  *tree             // of a side where nothing can be written
}

// tree is a sub-tree that was made before a side became read-only.
type tree struct {
	name  string
	base  int64
	began time.Time
}

// window is a span of zxids in which two correct servers may do the same
// things in different orders, or write a different number of entries.
type window struct{ from, to int64 }

// session is one that a program has opened.
type session struct {
	id       int64
	password []byte
	closed   bool
	// hungUp: a client has closed one of its connections without a word. A real
	// server that gets to know of that late forgets the session's next
	// connection with it, and does not close that one when it should.
	hungUp bool
}

// stream is one connection with all that came over it.
type stream struct {
	slot     int
	server   int
	nc       net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	session  *session
	open     bool
	left     bool  // the session has moved to another server
	awaiting []int // steps not answered yet
	entries  []entry
}

// entry is a frame that came, or a note about the connection.
type entry struct {
	step  int // that it answers; -1 for an event, or a note that belongs to no step
	frame []byte
	note  string
	hello bool
}

// outcome is what one side made of a program.
type outcome struct {
	name     string // of the run's sub-tree
	base     int64  // zxid of the sub-tree's creation
	began    time.Time
	streams  []*stream
	sessions []*session
	windows  []window
	stalled  bool   // something took so long that what goes by itself may have gone
	dump     []node // final state
}

// waited is the index of the window with a zxid, -1 for none.
func (o *outcome) waited(zxid int64) int {
	return slices.IndexFunc(o.windows, func(w window) bool { return w.from < zxid && zxid <= w.to })
}

// node is a znode of the final state.
type node struct {
	path              string
	data, acl, parent []byte // frames of getData, getACL and getChildren2
}

// runner is one run of a program on one side.
type runner struct {
	*side
	p       *program
	out     *outcome
	last    int64 // highest zxid that this side has shown
	streams [slots]*stream
	known   [slots]*session // last session of a slot
	resumed time.Time       // when the last wait ended
	brief   bool            // there are sessions that end in silence
}

// run carries out a program and cleans up behind it.
func (s *side) run(p *program) (*outcome, error) {
	s.runs++
	r := &runner{side: s, p: p, out: &outcome{name: fmt.Sprintf("p%07d", s.runs), began: time.Now()}}
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("%s: prepare: %w", s.name, err)
	}
	for i := range p.steps {
		if err := r.step(i); err != nil {
			return nil, fmt.Errorf("%s: step %d: %w", s.name, i, err)
		}
	}
	if p.waits {
		if err := r.wait(-1); err != nil {
			return nil, fmt.Errorf("%s: wait at the end: %w", s.name, err)
		}
	}
	for _, st := range r.streams {
		r.drain(st, -1)
	}
	if p.roams {
		if err := s.guide(0, r.last); err != nil {
			return nil, fmt.Errorf("%s: sync: %w", s.name, err)
		}
	}
	var err error
	if r.out.dump, err = s.walk(); err != nil {
		return nil, fmt.Errorf("%s: read final state: %w", s.name, err)
	}
	if err := r.endSessions(); err != nil {
		return nil, fmt.Errorf("%s: end sessions: %w", s.name, err)
	}
	if p.frozen {
		return r.out, nil
	}
	if p.rests {
		if r.last, err = s.mark(); err != nil {
			return nil, fmt.Errorf("%s: mark the end: %w", s.name, err)
		}
		if err := r.rest(); err != nil {
			return nil, fmt.Errorf("%s: wait for the leader: %w", s.name, err)
		}
	}
	if err := s.clean(r.out.dump); err != nil {
		return nil, fmt.Errorf("%s: clean up: %w", s.name, err)
	}
	return r.out, nil
}

func (r *runner) prepare() error {
	if r.p.roams { // the guides' sessions take zxids: before the program does
		if err := r.guide(0, 0); err != nil {
			return err
		}
	}
	if r.super == nil {
		st, err := dial(r.own)
		if err != nil {
			return err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: r.p.frozen}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		auth := protocol.AuthRequest{Scheme: "digest", Auth: []byte(superUser)}
		if _, err := st.call(auth.AppendTo(header(protocol.XidAuth, protocol.OpAuth))); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		r.super = st
	}
	if r.built != nil {
		r.out.name, r.out.base, r.out.began, r.last = r.built.name, r.built.base, r.built.began, r.built.base
		return nil
	}
	if err := r.rest(); err != nil {
		return err
	}
	if r.p.waits {
		if err := r.settle(); err != nil {
			return err
		}
		r.resumed = time.Now()
	}
	create := protocol.CreateRequest{Path: "/" + r.out.name, ACL: protocol.WorldAnyone}
	h, err := r.super.ask(protocol.OpCreate, &create)
	if err != nil {
		return err
	}
	if h.Err != 0 {
		return fmt.Errorf("create /%s: %v", r.out.name, h.Err)
	}
	r.out.base, r.last = h.Zxid, h.Zxid
	return nil
}

func header(xid int32, op protocol.OpCode) []byte {
	return (&protocol.RequestHeader{Xid: xid, Op: op}).AppendTo(nil)
}

func dial(addr string) (*stream, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &stream{nc: nc, r: bufio.NewReader(nc), w: bufio.NewWriter(nc), open: true}, nil
}

// put queues a frame, or bytes as they are.
func (st *stream) put(frame []byte, framed bool) {
	if framed {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(frame)))
		st.w.Write(length[:])
	}
	st.w.Write(frame) // an error shows when the answer is read
}

// read returns the next frame.
func (st *stream) read(within time.Duration) ([]byte, error) {
	st.nc.SetReadDeadline(time.Now().Add(within))
	var length [4]byte
	if _, err := io.ReadFull(st.r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(st.r, frame)
	return frame, err
}

// call sends one frame and returns the next that comes.
func (st *stream) call(frame []byte) ([]byte, error) {
	st.put(frame, true)
	if err := st.w.Flush(); err != nil {
		return nil, err
	}
	return st.read(patience)
}

// ask sends a request and returns the header of its answer.
func (st *stream) ask(op protocol.OpCode, body protocol.Record) (protocol.ReplyHeader, error) {
	var h protocol.ReplyHeader
	reply, err := st.call(body.AppendTo(header(1, op)))
	if err != nil {
		return h, fmt.Errorf("%v: %w", op, err)
	}
	d := protocol.NewDecoder(reply)
	h.Decode(&d)
	return h, d.Err()
}

// end closes a connection, with a note on what ended it and at which step.
func (st *stream) end(step int, note string) {
	st.entries = append(st.entries, entry{step: step, note: note})
	st.nc.Close()
	st.open = false
	st.awaiting = nil
}

func (st *stream) hangUp() {
	if st.session != nil {
		st.session.hungUp = true
	}
	st.end(-1, "client closed")
}

func (r *runner) step(i int) error {
	s := &r.p.steps[i]
	st := r.streams[s.slot]
	switch s.kind {
	case connect:
		r.connect(i)
	case wait:
		return r.wait(i)
	case hangUp:
		r.drain(st, i)
		if st != nil && st.open {
			st.hangUp()
		}
	case raw:
		if st != nil && st.open && (!r.p.roams || r.sync(st, i)) {
			st.put(s.frame, false)
			st.w.Flush() // an error shows below
			r.awaitClose(st, i)
		}
	case request:
		if st == nil || !st.open {
			return nil
		}
		if st.left {
			if s.movedWrite {
				return r.between(func() error { r.request(st, i); return nil })
			}
			st.hangUp()
			return nil
		}
		if r.p.roams && len(st.awaiting) == 0 && !r.sync(st, i) {
			return nil
		}
		return r.request(st, i)
	}
	return nil
}

// request sends a request, and reads the answers unless another one is to
// follow at once.
func (r *runner) request(st *stream, i int) error {
	s := &r.p.steps[i]
	st.put(r.fill(s), true)
	st.awaiting = append(st.awaiting, i)
	if i+1 < len(r.p.steps) && r.p.steps[i+1].behind && r.p.steps[i+1].slot == s.slot {
		return nil
	}
	if s.stalled {
		return r.stall(st)
	}
	st.w.Flush() // an error shows below
	r.collect(st)
	if op := s.op(); r.p.rests && (op == protocol.OpSetACL || op == protocol.OpCloseSession) {
		return r.rest()
	}
	return nil
}

// sync brings a server up to date before a program that uses several of them
// asks it something. It reports false when the connection has ended.
//
// A real server may carry out a sync beside the write of another session that
// came before it, on another thread: it is asked again then.
func (r *runner) sync(st *stream, step int) bool {
	for {
		st.put((&protocol.PathRequest{Path: "/"}).AppendTo(header(syncXid, protocol.OpSync)), true)
		st.w.Flush() // an error shows below
		for {
			frame, err := st.read(patience)
			if err != nil {
				st.end(step, ending(err))
				return false
			}
			var h protocol.ReplyHeader
			d := protocol.NewDecoder(frame)
			if h.Decode(&d); h.Xid != syncXid {
				st.entries = append(st.entries, entry{step: -1, frame: frame})
				continue
			}
			if h.Zxid >= r.last || r.name != realName {
				return true
			}
			break
		}
	}
}

// realName is the name of sides that are real servers.
const realName = "ZooKeeper"

const syncXid = 0x5157

// fill puts the run's own name and zxids into a frame.
func (r *runner) fill(s *step) []byte {
	frame := bytes.ReplaceAll(s.frame, []byte(placeholder), []byte(r.out.name))
	if s.zxidAt > 0 && s.zxidAt+8 <= len(frame) {
		frame = bytes.Clone(frame)
		binary.BigEndian.PutUint64(frame[s.zxidAt:], uint64(r.last-s.back))
	}
	return frame
}

// collect reads until all requests of the stream are answered or it has ended.
func (r *runner) collect(st *stream) {
	for len(st.awaiting) > 0 && st.open {
		frame, err := st.read(patience)
		if err != nil {
			st.end(st.awaiting[0], ending(err))
			return
		}
		answered := st.awaiting[0]
		step := &r.p.steps[answered]
		if isEvent(frame, step) {
			st.entries = append(st.entries, entry{step: -1, frame: frame})
			continue
		}
		st.entries = append(st.entries, entry{step: answered, frame: frame})
		st.awaiting = st.awaiting[1:]
		d := protocol.NewDecoder(frame)
		var h protocol.ReplyHeader
		h.Decode(&d)
		r.last = max(r.last, h.Zxid)
		if h.Err == protocol.ThrottledOp && !step.behind {
			r.out.stalled = true // it was late without anybody's doing
		}
		closed := step.op() == protocol.OpCloseSession && h.Err == 0
		if closed && st.session != nil {
			st.session.closed = true
		}
		if closed || h.Err == protocol.Unimplemented && h.Zxid == -1 || h.Err == protocol.AuthFailed {
			r.awaitClose(st, -1)
		}
	}
}

// isEvent tells a notification from a reply.
func isEvent(frame []byte, s *step) bool {
	const minEvent = protocol.ReplyHeaderSize + 12
	own := len(s.frame) >= 4 && int32(binary.BigEndian.Uint32(s.frame)) == protocol.XidNotification
	return !own && len(frame) >= minEvent && int32(binary.BigEndian.Uint32(frame)) == protocol.XidNotification
}

// awaitClose reads what comes before the server closes, as it must.
func (r *runner) awaitClose(st *stream, step int) {
	for st.open {
		frame, err := st.read(closeWithin)
		if err != nil {
			st.end(step, ending(err))
			return
		}
		st.entries = append(st.entries, entry{step: -1, frame: frame})
	}
}

// ending names the end of a connection; how TCP says it is luck.
func ending(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "NO ANSWER"
	}
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) {
		return "closed by server"
	}
	return err.Error()
}

// drain collects the events that are on their way, with a ping.
func (r *runner) drain(st *stream, step int) {
	if st == nil || !st.open {
		return
	}
	if st.left {
		st.hangUp()
		return
	}
	if r.p.roams && !r.sync(st, step) {
		return
	}
	st.put(header(protocol.XidPing, protocol.OpPing), true)
	st.w.Flush() // an error shows below
	for {
		frame, err := st.read(patience)
		if err != nil {
			st.end(step, ending(err))
			return
		}
		st.entries = append(st.entries, entry{step: -1, frame: frame})
		if len(frame) >= 4 && int32(binary.BigEndian.Uint32(frame)) == protocol.XidPing {
			return
		}
	}
}

func (r *runner) connect(i int) {
	h := r.p.steps[i].hello
	slot := r.p.steps[i].slot
	req := protocol.ConnectRequest{ProtocolVersion: h.version, TimeoutMs: h.timeout, Password: make([]byte, 16),
		HasReadOnly: h.readOnly >= 0, ReadOnly: h.readOnly > 0}
	r.brief = r.brief || h.timeout == shortTimeout
	var taken *session
	switch h.from {
	case newSession:
	case noSession:
		req.SessionID = 0x7712345678abcdef
	default:
		if taken = r.known[h.from]; taken == nil {
			return
		}
		req.SessionID, req.Password = taken.id, bytes.Clone(taken.password)
	}
	switch h.password {
	case wrongPassword:
		req.Password[3] ^= 0x55
	case shortPassword:
		req.Password = req.Password[:5]
	case emptyPassword:
		req.Password = []byte{}
	case nullPassword:
		req.Password = nil
	}
	if taken != nil && h.password != rightPassword {
		for _, st := range r.streams {
			if st != nil && st.open && st.session == taken && st.server == h.server {
				return // a real server would close it on a stranger's word; coordd does not
			}
		}
	}
	switch h.zxid {
	case zxidLast:
		req.LastZxidSeen = r.last
	case zxidNegative:
		req.LastZxidSeen = -5
	case zxidAhead:
		req.LastZxidSeen = r.last + 1_000_000
	case zxidMax:
		req.LastZxidSeen = math.MaxInt64
	}
	if old := r.streams[slot]; old != nil && old.open {
		r.drain(old, -1)
		if old.open {
			old.hangUp()
		}
	}
	st, err := dial(r.addrs[h.server%len(r.addrs)])
	if err != nil {
		r.out.streams = append(r.out.streams, &stream{slot: slot, entries: []entry{{step: i, note: "connect: " + err.Error()}}})
		return
	}
	st.slot, st.server = slot, h.server
	r.streams[slot] = st
	r.out.streams = append(r.out.streams, st)
	if r.p.roams {
		if err := r.guide(h.server, r.last); err != nil {
			st.end(-1, "guide: "+err.Error())
			return
		}
	}
	frame := req.AppendTo(nil)
	frame = frame[:len(frame)-min(h.cut, len(frame))]
	reply, err := st.call(frame)
	if err != nil {
		st.end(i, ending(err))
		return
	}
	st.entries = append(st.entries, entry{step: i, frame: reply, hello: true})
	r.opened(st, reply, taken, h.moves)
}

// rest waits until the leader has applied what its follower has shown. A real
// leader judges writes by what it has applied and what it has prepared, but
// for access lists and the ephemerals of a closed session.
func (r *runner) rest() error {
	if r.leader == nil {
		return nil
	}
	if r.book == nil {
		st, err := dial(r.leader.Addr())
		if err != nil {
			return err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		r.book = st
	}
	for deadline := time.Now().Add(patience); ; {
		h, err := r.book.ask(protocol.OpExists, &protocol.PathWatchRequest{Path: "/"})
		if err != nil || h.Zxid >= r.last {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the leader has %#x applied, not %#x", h.Zxid, r.last)
		}
	}
}

// guide waits until a server has all that is committed, last among it.
func (s *side) guide(server int, last int64) error {
	for len(s.guides) < len(s.addrs) {
		st, err := dial(s.addrs[len(s.guides)])
		if err != nil {
			return err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return err
		}
		s.guides = append(s.guides, st)
	}
	for {
		h, err := s.guides[server].ask(protocol.OpSync, &protocol.PathRequest{Path: "/"})
		if err != nil || h.Zxid >= last || s.name != realName {
			return err
		}
	}
}

// opened books the session of an answered handshake.
func (r *runner) opened(st *stream, reply []byte, taken *session, moves bool) {
	var resp protocol.ConnectResponse
	d := protocol.NewDecoder(reply)
	resp.Decode(&d)
	switch {
	case resp.SessionID == 0:
		r.awaitClose(st, -1)
		return
	case taken != nil && resp.SessionID == taken.id:
		st.session = taken
		for _, other := range r.streams {
			switch {
			case other == nil || other == st || !other.open || other.session != taken:
			case moves && other.server != st.server:
				other.left = true
			case taken.hungUp || other.left || other.server != st.server: // a real server answers reads of a moved session's old connection, coordd closes it
				other.hangUp()
			default:
				r.awaitClose(other, -1)
			}
		}
	default:
		st.session = &session{id: resp.SessionID, password: bytes.Clone(resp.Password)}
		r.out.sessions = append(r.out.sessions, st.session)
	}
	r.known[st.slot] = st.session
}

// endSessions closes all connections and sessions that the program left.
func (r *runner) endSessions() error {
	for _, st := range r.streams {
		if st == nil || !st.open {
			continue
		}
		if st.left {
			st.nc.Close()
			continue
		}
		st.put(header(1, protocol.OpCloseSession), true)
		st.w.Flush() // an error shows below
		for {
			if _, err := st.read(patience); err != nil {
				break
			}
		}
		st.nc.Close()
		if st.session != nil {
			st.session.closed = true
		}
	}
	for _, s := range r.out.sessions {
		if s.closed {
			continue
		}
		st, err := dial(r.own)
		if err != nil {
			return err
		}
		req := protocol.ConnectRequest{TimeoutMs: longTimeout, SessionID: s.id, Password: s.password, HasReadOnly: true, ReadOnly: r.p.frozen}
		reply, err := st.call(req.AppendTo(nil))
		if err == nil && !expired(reply) {
			_, err = st.call(header(1, protocol.OpCloseSession))
		}
		st.nc.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// expired tells the answer to a handshake that gives no session.
func expired(reply []byte) bool {
	var resp protocol.ConnectResponse
	d := protocol.NewDecoder(reply)
	resp.Decode(&d)
	return resp.SessionID == 0
}
