//go:build simulate

package simulate

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
)

// client is a program with one session at a time, which it takes from server to
// server.
type client struct {
	w        *world
	id       int
	session  int64 // 0 without one
	password []byte
	zxid     int64 // the last one it saw
	xid      int32
	conn     *conn
	watched  map[string]uint8 // what it watched when its connection broke
	away     int64            // it does nothing before that moment
	user     int              // whom it authenticates as, or -1
}

// maxPending is how many requests a client has under way at most.
const maxPending = 40

func (cl *client) forget() {
	cl.session, cl.zxid, cl.watched = 0, 0, nil
	if cl.conn != nil {
		cl.conn.client = nil
		cl.conn = nil
	}
}

func (cl *client) disconnected() {
	if c := cl.conn; c.open {
		cl.watched = maps.Clone(c.watches)
	}
	cl.conn.client, cl.conn = nil, nil
}

// step lets the client do something.
func (cl *client) step() {
	w := cl.w
	switch c := cl.conn; {
	case w.now < cl.away:
	case c == nil:
		cl.connect()
	case !c.open || c.finished || len(c.pending) > maxPending:
		if w.r.IntN(100) == 0 {
			cl.leave(faultClientGone)
		}
	default:
		cl.send(1 + w.r.IntN(12))
	}
}

// leave breaks the connection off; the server notices at once, or not at all.
func (cl *client) leave(f mishap) {
	c := cl.conn
	if c == nil {
		return
	}
	cl.w.fault(f)
	if cl.w.r.IntN(3) == 0 {
		cl.w.note(f.String()+", unnoticed", int64(cl.id), int64(c.p.id), cl.session, "")
		cl.disconnected()
		return
	}
	cl.w.note(f.String(), int64(cl.id), int64(c.p.id), cl.session, "")
	c.real.Close()
}

// connect asks some server for a session, a new one or the old one.
func (cl *client) connect() {
	w := cl.w
	p := w.machines[w.r.IntN(len(w.machines))].process
	if p == nil || p.m.cutUntil > w.now || !p.sim.Serving() {
		return
	}
	w.conns++
	c := &conn{w: w, id: w.conns, p: p, client: cl, watches: map[string]uint8{}}
	req := protocol.ConnectRequest{LastZxidSeen: cl.zxid, TimeoutMs: int32(1000 + w.r.IntN(7000)), SessionID: cl.session, Password: cl.password}
	if cl.session == 0 {
		req.Password = make([]byte, 16)
	}
	w.note("connect", int64(cl.id), int64(p.id), cl.session, "")
	p.conns = append(p.conns, c)
	cl.conn = c
	c.real = p.sim.Connect(c)
	if c.real.Shake(req.AppendTo(nil)) != nil && cl.zxid <= p.zxid {
		w.fail("sessions", "server %d at zxid %x turns a client away that has seen %x", p.id, p.zxid, cl.zxid)
	}
}

// attached is the answer to that.
func (cl *client) attached(c *conn, r *protocol.ConnectResponse) {
	if cl.session == 0 {
		cl.session, cl.password = r.SessionID, slices.Clone(r.Password)
		cl.watched = nil
	}
	cl.w.note("attached", int64(cl.id), int64(c.p.id), c.session, "")
}

// send sends n requests in one go.
func (cl *client) send(n int) {
	w, c := cl.w, cl.conn
	b := burst{c: c, data: make([]byte, 0, 160*n)}
	if len(cl.watched) > 0 {
		cl.comeBack(&b)
	}
	if cl.user >= 0 && len(c.ids) == 1 {
		body := (&protocol.AuthRequest{Scheme: "digest", Auth: []byte(users[cl.user])}).AppendTo(nil)
		b.frame(protocol.XidAuth, protocol.OpAuth, func(p []byte) []byte { return append(p, body...) })
	}
	for range n {
		if b.over {
			break
		}
		w.generate(cl, &b)
	}
	w.h.mix(uint64(len(b.data)))
	c.real.Requests(b.data)
	c.p.settle()
}

// comeBack sets the watches again that the last connection had.
func (cl *client) comeBack(b *burst) {
	r := protocol.SetWatches2Request{SetWatchesRequest: protocol.SetWatchesRequest{RelativeZxid: cl.zxid, Data: []string{}, Exist: []string{}, Child: []string{}}, Persistent: []string{}, PersistentRecursive: []string{}}
	for _, path := range sorted(cl.watched) {
		kinds := cl.watched[path]
		if kinds&watchData != 0 {
			if cl.w.r.IntN(2) == 0 {
				r.Data = append(r.Data, path)
			} else {
				r.Exist = append(r.Exist, path)
			}
		}
		if kinds&watchChild != 0 {
			r.Child = append(r.Child, path)
		}
		if kinds&watchPersistent != 0 {
			r.Persistent = append(r.Persistent, path)
		}
		if kinds&watchRecursive != 0 {
			r.PersistentRecursive = append(r.PersistentRecursive, path)
		}
	}
	cl.watched = nil
	b.frame(protocol.XidSetWatches, protocol.OpSetWatches2, r.AppendTo)
}

// burst is what a client sends in one go.
type burst struct {
	c    *conn
	data []byte
	over bool // closeSession is among it

	fenced bool // what it reads is behind a sync
}

// root is the body of a sync of "/".
var root = (&protocol.PathRequest{Path: "/"}).AppendTo(nil)

// request adds a request under the client's next number.
func (b *burst) request(op protocol.OpCode, appendTo func([]byte) []byte) {
	b.c.client.xid++
	b.frame(b.c.client.xid, op, appendTo)
}

// frame adds a request, and what has to come of it: at once what a server answers
// itself when nothing is before it.
func (b *burst) frame(xid int32, op protocol.OpCode, appendTo func([]byte) []byte) {
	c := b.c
	start := len(b.data)
	h := protocol.RequestHeader{Xid: xid, Op: op}
	b.data = h.AppendTo(append(b.data, 0, 0, 0, 0))
	if appendTo != nil {
		b.data = appendTo(b.data)
	}
	binary.BigEndian.PutUint32(b.data[start:], uint32(len(b.data)-start-4))
	q := pending{xid: xid, op: op, body: b.data[start+12:], ids: c.ids, seen: c.w.seen}
	c.w.ops[opIndex(op)]++
	c.w.sentOps++
	row := protocol.Lookup(op)
	if c.w.linearizable && row.Class == protocol.Read && !b.fenced {
		b.fenced = true
		f := pending{op: fence, body: root, ids: c.ids, write: true, seen: c.w.seen}
		c.pending = append(c.pending, f)
		f.op = protocol.OpSync
		c.sent.ops = append(c.sent.ops, f)
	}
	switch {
	case op == protocol.OpAuth:
		c.ids = append(slices.Clone(c.ids), protocol.ID{Scheme: "digest", ID: digests[c.client.user]})
		c.reply(xid, op, 0, protocol.OK, nil)
	case row.Class == protocol.Write || row.Class == protocol.Order:
		q.write = true
		c.pending = append(c.pending, q)
		c.sent.ops = append(c.sent.ops, q)
		b.over = op == protocol.OpCloseSession
	case len(c.pending) == 0:
		c.read(q, c.p.zxid)
	default:
		c.pending = append(c.pending, q)
	}
}

// users authenticate themselves by name and password.
var users = [...]string{"u0:secret", "u1:secret"}

var digests = [...]string{auth.Digest([]byte(users[0])), auth.Digest([]byte(users[1]))}

// opIndex is the place of an operation in the counts.
func opIndex(op protocol.OpCode) int { return int(op) + 16 }

// counted names the operations that were counted.
func counted(ops *[128]int64) map[string]int64 {
	all := map[string]int64{}
	for i, n := range ops {
		if n > 0 {
			all[protocol.OpCode(i-16).String()] = n
		}
	}
	return all
}

func sorted(m map[string]uint8) []string { return slices.Sorted(maps.Keys(m)) }

// order checks that a request of the log is the next that its connection sent:
// nothing twice, nothing left out, nothing out of turn.
func (w *world) order(r *request) {
	if r.op == protocol.OpCreateSession || r.op < -999 {
		return
	}
	s := w.sent[attachment{r.session, r.epoch}]
	switch {
	case s == nil:
		w.fail("session order", "a request of session %x epoch %d, which nobody has", r.session, r.epoch)
	case s.next == len(s.ops):
		w.fail("session order", "%v of session %x epoch %d, which sent no more", r.op, r.session, r.epoch)
	}
	q := &s.ops[s.next]
	if q.op != r.op || string(q.body) != string(r.body) {
		w.fail("session order", "%v of session %x epoch %d, where %v was due", r.op, r.session, r.epoch, q.op)
	}
	q.body, q.ids = nil, nil
	if s.next++; s.next == len(s.ops) {
		s.ops, s.next = s.ops[:0], 0
	}
}

func tops() (list []string) {
	for i := range 6 {
		list = append(list, fmt.Sprintf("/n%d", i))
	}
	return list
}
