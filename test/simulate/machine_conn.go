//go:build simulate

package simulate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server"
)

// The kinds of watches, as a set.
const (
	watchData uint8 = 1 << iota
	watchChild
	watchPersistent
	watchRecursive
	watchAny = watchData | watchChild | watchPersistent | watchRecursive
)

// conn is a client's connection as both ends see it: what the client asked for,
// and every frame that has to come, in order. It is the server's net.Conn.
type conn struct {
	w       *world
	id      int
	p       *life
	real    *server.SimulatedConn
	client  *client
	session int64
	epoch   uint32
	open    bool // the handshake is answered
	closed  bool
	// ending: it will be closed once the entry is applied. finished: no reply
	// comes any more.
	ending, finished bool
	ids              []protocol.ID
	pending          []pending
	expect           []frame // not before seen: has come
	seen             int
	watches          map[string]uint8
	mark             int64 // the last event that it was told of
	listed           bool
	sent             *submitted
}

// pending is a request that has no answer yet.
type pending struct {
	xid   int32
	op    protocol.OpCode
	body  []byte
	ids   []protocol.ID
	write bool
	seen  int64 // the latest zxid that anybody had seen when it was sent
}

// fence is a sync that the server puts before reads by itself.
const fence protocol.OpCode = -1 << 31

// submitted is what a client sent by one attachment and is to find its way into
// the log, in order, each once.
type submitted struct {
	ops  []pending
	next int
}

// frame is one that has to come.
type frame struct {
	op    protocol.OpCode // OpNotification of an event
	code  protocol.ErrCode
	bytes []byte
}

func (f *frame) check() string {
	switch op := protocol.Lookup(f.op); {
	case f.op == protocol.OpNotification:
		return "watches"
	case op != nil && op.Class == protocol.Write:
		return "replies"
	}
	return "reads"
}

func (f *frame) what() string {
	if f.op == protocol.OpNotification {
		return fmt.Sprintf("the event %q", f.bytes[4:])
	}
	return fmt.Sprintf("the answer to %v (%v)", f.op, f.code)
}

func (c *conn) push(f frame) {
	if c.seen == len(c.expect) {
		c.expect, c.seen = c.expect[:0], 0
	}
	c.expect = append(c.expect, f)
	c.p.expectOf(c)
}

// reply has an answer come.
func (c *conn) reply(xid int32, op protocol.OpCode, zxid int64, code protocol.ErrCode, body []byte) {
	b := make([]byte, 4, 20+len(body))
	h := protocol.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}
	b = append(h.AppendTo(b), body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.push(frame{op, code, b})
}

// notified has an event come, once, if the client may know of the node.
func (c *conn) notified(t *trace) {
	if c.mark == c.p.event || c.closed {
		return
	}
	c.mark = c.p.event
	if permits(t.acl, protocol.PermRead, c.ids) {
		c.tell(t.zxid, t.event, t.path)
	}
}

func (c *conn) tell(zxid int64, typ protocol.EventType, path string) {
	h := protocol.ReplyHeader{Xid: -1, Zxid: zxid}
	e := protocol.WatcherEvent{Type: typ, State: protocol.StateSyncConnected, Path: path}
	b := e.AppendTo(h.AppendTo(make([]byte, 4, 40+len(path))))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	c.push(frame{op: protocol.OpNotification, bytes: b})
}

// finish: what is asked from now on is not answered.
func (c *conn) finish() {
	c.finished = true
	c.w.tally.lost += int64(len(c.pending))
	c.pending = nil
}

// Write takes what the server sends.
func (c *conn) Write(p []byte) (int, error) {
	n := len(p)
	c.w.h.mix(uint64(c.id))
	for len(p) > 0 {
		size := 4 + int(binary.BigEndian.Uint32(p))
		c.came(p[:size])
		p = p[size:]
	}
	return n, nil
}

// came judges a frame.
func (c *conn) came(p []byte) {
	c.w.h.bytes(p)
	if !c.open {
		c.shaken(p[4:])
		return
	}
	zxid := int64(binary.BigEndian.Uint64(p[8:]))
	xid := int32(binary.BigEndian.Uint32(p[4:]))
	if c.seen == len(c.expect) {
		check, what := "agreed log", "what the agreed log does not have"
		if xid == -1 && zxid <= c.w.model.zxid {
			check, what = "watches", "an event that nobody waits for"
		}
		c.w.fail(check, "server %d, connection %d, session %x: %s: xid %d, zxid %x, %x", c.p.id, c.id, c.session, what, xid, zxid, p)
	}
	f := &c.expect[c.seen]
	if !bytes.Equal(p, f.bytes) && !sameChildren(f, p) {
		check := f.check()
		if xid == -1 {
			check = "watches"
		}
		c.w.fail(check, "server %d, connection %d, session %x: got %x where %s was due: %x", c.p.id, c.id, c.session, p, f.what(), f.bytes)
	}
	f.bytes = nil
	c.seen++
	c.w.seen = max(c.w.seen, zxid)
	if xid == -1 {
		c.w.tally.events++
	} else {
		c.w.tally.replies++
	}
	if zxid > 0 && c.client != nil {
		if zxid < c.client.zxid {
			c.w.fail("zxids", "server %d, session %x: what it sees goes back from %x to %x", c.p.id, c.session, c.client.zxid, zxid)
		}
		c.client.zxid = zxid
	}
}

// sameChildren compares answers to getChildren, whose order nobody promises.
func sameChildren(f *frame, p []byte) bool {
	if f.op != protocol.OpGetChildren && f.op != protocol.OpGetChildren2 || f.code != protocol.OK || len(p) != len(f.bytes) || !bytes.Equal(p[:20], f.bytes[:20]) {
		return false
	}
	want, got := protocol.NewDecoder(f.bytes[20:]), protocol.NewDecoder(p[20:])
	names := got.Strings()
	slices.Sort(names)
	return slices.Equal(want.Strings(), names) && bytes.Equal(want.Rest(), got.Rest())
}

// shaken judges the answer to the handshake.
func (c *conn) shaken(p []byte) {
	var r protocol.ConnectResponse
	d := protocol.NewDecoder(p)
	r.Decode(&d)
	w, cl := c.w, c.client
	if r.SessionID == 0 {
		if cl == nil {
			return
		}
		if s := w.model.sessions[cl.session]; s != nil {
			w.fail("sessions", "server %d says that session %x has expired, which has not", c.p.id, cl.session)
		}
		w.note("session is over", int64(cl.id), int64(c.p.id), cl.session, "")
		cl.forget()
		return
	}
	c.open = true
	c.session, c.epoch = c.real.Session()
	a := attachment{c.session, c.epoch}
	if w.model.granted[a] == 0 {
		w.fail("agreed log", "server %d gives out session %x epoch %d, of which the agreed log has nothing", c.p.id, c.session, c.epoch)
	}
	if c.session != r.SessionID || w.model.granted[a] != c.p.id {
		w.fail("sessions", "server %d gives out session %x epoch %d, which the log grants to server %d", c.p.id, c.session, c.epoch, w.model.granted[a])
	}
	if w.sent[a] != nil {
		w.fail("sessions", "server %d gives session %x epoch %d to a second connection", c.p.id, c.session, c.epoch)
	}
	c.sent = &submitted{}
	w.sent[a] = c.sent
	c.ids = c.real.Identities()
	if !c.closed {
		c.p.bySession[c.session] = c
	}
	if cl == nil {
		return
	}
	if cl.session != 0 && cl.session != c.session {
		w.fail("sessions", "server %d gives session %x to one that asked for %x", c.p.id, c.session, cl.session)
	}
	cl.attached(c, &r)
}

// Close is the server's end of the connection.
func (c *conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.finish()
	w := c.w
	w.note("closed", int64(c.id), int64(c.p.id), c.session, "")
	for _, path := range sorted(c.watches) {
		c.unwatch(path, watchAny)
	}
	c.p.conns = slices.DeleteFunc(c.p.conns, func(o *conn) bool { return o == c })
	if c.p.bySession[c.session] == c {
		delete(c.p.bySession, c.session)
	}
	if c.client != nil {
		c.client.disconnected()
	}
	return nil
}

// watch sets a watch.
func (c *conn) watch(path string, kinds uint8) {
	had := c.watches[path]
	c.watches[path] = had | kinds
	if had == 0 {
		c.p.watchers[path] = append(c.p.watchers[path], c)
	}
	if had&watchRecursive == 0 && kinds&watchRecursive != 0 {
		c.p.recursive++
	}
}

func (c *conn) unwatch(path string, kinds uint8) {
	had := c.watches[path]
	left := had &^ kinds
	if had&watchRecursive != 0 && left&watchRecursive == 0 {
		c.p.recursive--
	}
	if left != 0 {
		c.watches[path] = left
		return
	}
	delete(c.watches, path)
	list := slices.DeleteFunc(c.p.watchers[path], func(o *conn) bool { return o == c })
	if len(list) == 0 {
		delete(c.p.watchers, path)
	} else {
		c.p.watchers[path] = list
	}
}

// The rest of net.Conn.

// Read is not used.
func (c *conn) Read([]byte) (int, error) { return 0, net.ErrClosed }

// LocalAddr is not used.
func (c *conn) LocalAddr() net.Addr { return address{} }

// RemoteAddr is what the client's ip identity follows from.
func (c *conn) RemoteAddr() net.Addr { return address{} }

// SetDeadline does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "10.1.2.3:4567" }
