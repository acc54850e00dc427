package server

import (
	"encoding/binary"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// fence is the op of a pending sync that is this server's own.
const fence protocol.OpCode = -1 << 31

// requestLocked takes one frame: writes go to the forwarder, anything else
// runs at once if nothing of this session is before it, and otherwise inside
// apply, right behind the write that it waits for. One that is late is not run,
// but refused in its place. An error ends the connection without a reply.
func (c *conn) requestLocked(m *fsm.Machine, frame []byte, late bool) error {
	if len(frame) < protocol.RequestHeaderSize {
		return errGone
	}
	var h protocol.RequestHeader
	d := protocol.NewDecoder(frame)
	h.Decode(&d)
	body := d.Rest()
	c.tally.Received(4 + len(frame))
	c.stats.received++
	if c.closing {
		return nil // behind a closeSession or a refusal: not answered
	}
	if late {
		c.refuseLateLocked(m, h)
		return nil
	}
	op := protocol.Lookup(h.Op)
	logged := op != nil && (op.Class == protocol.Write || op.Class == protocol.Order)
	if logged && c.epoch == fsm.LocalEpoch {
		switch {
		case h.Op == protocol.OpCloseSession:
			logged = false
		case c.readOnly.Load():
			c.replyLocked(h.Xid, h.Op, m.Zxid(), protocol.NotReadOnly, c.now, nil)
			return nil
		default:
			c.globalizeLocked(h.Op, body)
		}
	}
	switch {
	case op != nil && op.Class == protocol.Immediate:
		return c.immediateLocked(h, body)
	case logged:
		if r, ok := loggedRequest(h.Op, body); ok {
			c.submitLocked(h, r, len(body))
			return nil
		}
	}
	if c.s.cfg.LinearizableReads && op != nil && op.Class == protocol.Read && !c.fenced && !c.readOnly.Load() {
		c.fenceLocked()
	}
	if len(c.queue) == 0 {
		c.runLocked(m, h.Xid, h.Op, body, c.ids, c.now)
		return nil
	}
	c.pushLocked(&pending{
		xid: h.Xid, op: h.Op, body: append([]byte{}, body...), ids: c.ids,
		size: len(body) + 64, reply: guessReply(m, h.Op, body), since: c.now,
	})
	return nil
}

// travels reports whether the request in frame goes through the log.
func travels(frame []byte) bool {
	if len(frame) < protocol.RequestHeaderSize {
		return false
	}
	op := protocol.Lookup(protocol.OpCode(int32(binary.BigEndian.Uint32(frame[4:]))))
	return op != nil && (op.Class == protocol.Write || op.Class == protocol.Order)
}

// guessReply is how many bytes the answer to a read may take, as far as one
// look at the node tells.
func guessReply(m *fsm.Machine, op protocol.OpCode, body []byte) int {
	const name = 48 // bytes of a child's name, by the way
	if op == protocol.OpMultiRead {
		return 64 + 16*len(body)
	}
	var req protocol.PathRequest
	d := protocol.NewDecoder(body)
	req.Decode(&d)
	n, children, ok := m.NodeSize(req.Path)
	if d.Err() != nil || !ok {
		return 64
	}
	return 64 + n + name*children
}

// refuseLateLocked answers a request that waited too long for its turn, behind
// what is before it.
func (c *conn) refuseLateLocked(m *fsm.Machine, h protocol.RequestHeader) {
	c.pushLocked(&pending{xid: h.Xid, op: h.Op, late: true, size: 64, since: c.now})
	c.readsLocked(m)
}

// loggedRequest makes a write's request for the log. It reports false for a
// body that cannot be decoded: that never enters the log, except as an error
// where ZooKeeper numbers it all the same (multi).
func loggedRequest(op protocol.OpCode, body []byte) (fsm.Request, bool) {
	r := fsm.Request{Op: op}
	if make := protocol.Lookup(op).Request; make != nil {
		d := protocol.NewViewDecoder(body)
		record := make()
		record.Decode(&d)
		multi, ok := record.(*protocol.MultiRequest)
		if !ok && d.Err() != nil {
			return r, false
		}
		if ok {
			sound, stumbles := multi.Sound()
			if stumbles {
				return r, false
			}
			if !sound || d.Err() != nil {
				r.Op, r.Body = fsm.OpInvalid, protocol.AppendInt(nil, int32(protocol.MarshallingError))
				return r, true
			}
		}
	}
	r.Body = append([]byte{}, body...)
	return r, true
}

// submitLocked hands a write to the forwarder and reserves its reply's place.
func (c *conn) submitLocked(h protocol.RequestHeader, r fsm.Request, size int) {
	p := &pending{xid: h.Xid, op: h.Op, write: true, local: c.epoch == fsm.LocalEpoch, size: size + 64, since: c.now}
	c.pushLocked(p)
	r.Session, r.Epoch = c.sessionID.Load(), c.epoch
	c.gatherLocked(&write{request: r, ids: c.ids.List(), done: func(r *fsm.Result) { c.applied(p, r) }})
}

// gatherLocked hands a write to the forwarder, which sends it at the end of the run
// with the others of this run (sendGathered).
func (c *conn) gatherLocked(w *write) {
	c.gathered = true
	c.s.forwarder.gather(w)
}

// sendGathered has the forwarder send what was gathered. The goroutine that serves
// this connection's requests calls it after each run.
func (c *conn) sendGathered() {
	if c.gathered {
		c.gathered = false
		c.s.forwarder.flush()
	}
}

// fenceLocked lets the reads of this run wait for a sync that is not answered:
// what they see then was the newest state after they had come.
func (c *conn) fenceLocked() {
	c.fenced = true
	p := &pending{op: fence, write: true, size: 64}
	c.pushLocked(p)
	body := (&protocol.PathRequest{Path: "/"}).AppendTo(nil)
	c.gatherLocked(&write{
		request: fsm.Request{Op: protocol.OpSync, Session: c.sessionID.Load(), Epoch: c.epoch, Body: body},
		ids:     c.ids.List(), done: func(r *fsm.Result) { c.applied(p, r) },
	})
}

// applied runs in apply: it answers the write p, then runs what waited for it.
func (c *conn) applied(p *pending, r *fsm.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.queue[0] != p {
		c.s.metrics.StaleReplies.Inc()
		return // the connection has ended
	}
	c.s.metrics.SessionQueue.Observe(int64(len(c.queue)))
	c.popLocked()
	c.now = time.Now()
	if r.OverQuota != "" {
		c.s.metrics.QuotaExceeded.Add(namespace(r.OverQuota), 1)
	}
	switch {
	case !p.local && (r.Err == protocol.SessionMoved || r.Err == protocol.SessionExpired || r.Err == protocol.UnknownSession):
		c.finishLocked() // as ZooKeeper: closed without a reply
	case p.op == fence:
	default:
		c.replyLocked(p.xid, p.op, r.Zxid, r.Err, p.since, func(b []byte) []byte { return append(b, r.Body...) })
		if r.Err != protocol.OK {
			c.stats.lastOp = 0 // as in ZooKeeper, which names no write that was refused
		}
		if p.op == protocol.OpCloseSession {
			c.finishLocked()
		}
	}
	waiting := len(c.queue)
	c.readsLocked(c.s.replica.Machine())
	c.s.metrics.ReadsAfterWrite.Observe(int64(waiting - len(c.queue)))
	c.s.markDirty(c)
}

// readsLocked runs the reads at the head of the queue. With a write of this
// session behind them all must run before that is applied, and fullLocked has
// seen to it that their answers are not too large. Otherwise those run for which
// there is room, and flush comes back for the rest. The caller holds the
// replica's lock, for reading or in apply.
func (c *conn) readsLocked(m *fsm.Machine) {
	for len(c.queue) > 0 && !c.queue[0].write && (c.writes > 0 || len(c.out) <= softQueue) {
		q := c.queue[0]
		c.popLocked()
		if q.late {
			c.replyLocked(q.xid, q.op, m.Zxid(), protocol.ThrottledOp, q.since, nil)
			continue
		}
		c.runLocked(m, q.xid, q.op, q.body, q.ids, q.since)
	}
}

func (c *conn) pushLocked(p *pending) {
	p.large, c.large = c.large, 0
	c.queue = append(c.queue, p)
	c.queued += p.size
	c.expected += p.reply
	if p.write {
		c.writes++
	}
}

func (c *conn) popLocked() {
	p := c.queue[0]
	c.queued -= p.size
	c.expected -= p.reply
	if p.write {
		c.writes--
	}
	if p.large != 0 {
		c.s.large.give(p.large)
	}
	c.queue[0] = nil
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	c.room.Signal()
}

// dropLocked forgets what waits.
func (c *conn) dropLocked() {
	for _, p := range c.queue {
		if p.large != 0 {
			c.s.large.give(p.large)
		}
	}
	c.queue, c.queued, c.expected, c.writes = nil, 0, 0, 0
}

// replyLocked queues a reply; body appends what follows the header, and may be
// nil.
func (c *conn) replyLocked(xid int32, op protocol.OpCode, zxid int64, code protocol.ErrCode, since time.Time, body func([]byte) []byte) {
	if c.overflowLocked() {
		return
	}
	start := len(c.out)
	h := protocol.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}
	c.out = h.AppendTo(protocol.AppendInt(c.out, 0))
	if body != nil {
		c.out = body(c.out)
	}
	patchLength(c.out, start)
	c.sentLocked(xid, op, zxid, since, len(c.out)-start-4)
}

// sentLocked keeps the books of a reply of size bytes to a request that came
// at since, if that is known.
func (c *conn) sentLocked(xid int32, op protocol.OpCode, zxid int64, since time.Time, size int) {
	st := &c.stats
	st.sent++
	c.tally.Replied(size)
	st.lastOp, st.lastZxid = op, zxid
	if xid >= 0 { // not a ping
		st.lastCxid = int64(xid)
	}
	if !since.IsZero() {
		row := protocol.Lookup(op)
		c.tally.Answered(c.s.metrics, st.took(since, c.now), row != nil && row.Class == protocol.Write)
	}
}

// took keeps the books of a request that came at since and is answered at now,
// and returns the milliseconds in between.
func (st *connStats) took(since, now time.Time) int64 {
	st.lastResponse = now
	ms := max(0, now.Sub(since).Milliseconds())
	st.last, st.max, st.sum = ms, max(st.max, ms), st.sum+ms
	if st.count == 0 || ms < st.min {
		st.min = ms
	}
	st.count++
	return ms
}

// patchLength writes the length of the frame that begins at start.
func patchLength(b []byte, start int) {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
}

// immediateLocked answers auth and sasl, ahead of replies that wait.
func (c *conn) immediateLocked(h protocol.RequestHeader, body []byte) error {
	d := protocol.NewDecoder(body)
	if h.Op == protocol.OpSasl {
		var req protocol.SaslRecord
		if req.Decode(&d); d.Err() != nil || req.Token == nil {
			return errGone
		}
		c.replyLocked(h.Xid, h.Op, 0, protocol.OK, time.Time{}, (&protocol.SaslRecord{}).AppendTo)
		return nil
	}
	var req protocol.AuthRequest
	if req.Decode(&d); d.Err() != nil {
		return errGone
	}
	ids, code := c.s.auth.Authenticate(c.ids, req.Scheme, req.Auth)
	c.replyLocked(h.Xid, h.Op, 0, code, time.Time{}, nil)
	if code != protocol.OK {
		c.s.metrics.AuthFailed.Add(1)
		c.finishLocked()
		return nil
	}
	c.ids = ids
	return nil
}
