//go:build simulate

package simulate

import (
	"bytes"
	"slices"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server"
	"github.com/coordd/coordd/server/replica"
)

// member is one server: its process, and what its disk has.
type member struct {
	w       *world
	id      uint8
	process *life // nil while it is down
	// The snapshot on its disk, if any, and what it is of.
	snapshot []byte
	index    uint64
	cutUntil int64 // the moment until which nobody reaches it
	down     int64 // the moment until which it stays down
}

// life is one process of a server. As the sink it checks what its state machine
// yields against the model, before the real sink has it.
type life struct {
	replica.Sink // the real one
	w            *world
	id           uint8
	m            *member
	sim          *server.Simulated
	applied      uint64
	zxid         int64
	began        bool // its own begin is applied
	nonce        uint64
	link         *link
	conns        []*conn
	bySession    map[int64]*conn
	watchers     map[string][]*conn
	recursive    int     // how many recursive watches there are
	touched      []*conn // have something to expect when the entries are applied
	restoring    bool    // it takes over a snapshot: nothing is checked meanwhile

	e     *entry // being applied
	pos   int    // in its trace
	event int64  // counts events

	early bool        // plant: what is applied now is not agreed
	held  []fsm.Event // plant: events that wait until after the reply
}

// start starts a process on what the disk has.
func (m *member) start() {
	w := m.w
	p := &life{w: w, id: m.id, m: m, nonce: w.r.Uint64(), bySession: map[int64]*conn{}, watchers: map[string][]*conn{}, applied: m.index, restoring: true}
	sim, err := server.Simulate(m.id, p.nonce, m.index, m.snapshot, w.linearizable, func(s replica.Sink) replica.Sink {
		p.Sink = s
		return p
	})
	if err != nil {
		w.fail("snapshot", "server %d does not start: %v", m.id, err)
	}
	p.restoring = false
	p.sim, m.process = sim, p
	p.zxid = sim.Machine().Zxid()
	w.plantMachine(p, m.snapshot != nil)
	p.compareRestored(m.index)
	w.note("start", int64(m.id), int64(m.index), int64(p.nonce), "")
}

// crash ends the process and everything it knew.
func (m *member) crash() {
	w, p := m.w, m.process
	w.note("crash", int64(m.id), int64(p.applied), 0, "")
	if w.reign != nil && w.reign.p == p {
		w.endReign()
	}
	if w.electing == p {
		w.electing = nil
	}
	for len(p.conns) > 0 {
		p.conns[0].Close()
	}
	if p.link != nil {
		w.orphan(p.link)
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(r *reign) bool { return r.p == p })
	m.process = nil
}

// apply applies at most n entries that are agreed.
func (p *life) apply(n int) {
	last := p.w.committed()
	if p.w.base > p.applied+1 {
		return // they are gone from the log: a snapshot is needed
	}
	n = min(n, int(last-p.applied))
	if n <= 0 {
		return
	}
	if at := p.sim.Applied(); at != p.applied {
		p.w.fail("agreed log", "server %d has applied entry %d, of which the log has agreed on %d", p.id, at, p.applied)
	}
	run := make([]replica.Entry, n)
	for i := range run {
		e := p.w.entry(p.applied + 1 + uint64(i))
		run[i] = replica.Entry{Index: e.index, Term: e.term, Data: e.data}
	}
	p.w.note("apply", int64(p.id), int64(p.applied+1), int64(n), "")
	p.sim.Apply(run)
	p.settle()
	if err := p.sim.Failed(); err != nil {
		p.w.fail("server", "server %d: %v", p.id, err)
	}
}

// settle checks that every connection got all that it had to get by now.
func (p *life) settle() {
	for i := 0; i < len(p.touched); i++ {
		c := p.touched[i]
		c.listed = false
		if !c.closed && len(c.expect) > c.seen {
			f := c.expect[c.seen]
			p.w.fail(f.check(), "server %d, connection %d, session %x: nothing came where %s was due (%d more)", p.id, c.id, c.session, f.what(), len(c.expect)-c.seen-1)
		}
	}
	p.touched = p.touched[:0]
}

// next is the next call that the model wants; results of other servers' requests
// are skipped.
func (p *life) next(got call, what string) *trace {
	if p.e == nil {
		p.e, p.pos = p.w.entry(p.applied+1), 0
	}
	for p.pos < len(p.e.trace) {
		t := &p.e.trace[p.pos]
		p.pos++
		if t.call == callResult && got != callResult {
			continue
		}
		if t.call != got {
			p.differ(t, got, what)
		}
		return t
	}
	p.differ(nil, got, what)
	return nil
}

// differ reports that the state machine did something else than the model.
func (p *life) differ(t *trace, got call, what string) {
	check := "events"
	if got == callBatch || t != nil && t.call == callBatch {
		check = "exactly once"
	}
	want := "nothing more"
	if t != nil {
		want = t.call.String() + " " + t.path
		if p.stays(t) {
			check = "ephemerals"
		}
	}
	p.w.fail(check, "server %d, entry %d: %s (%v), where %s was due", p.id, p.applied+1, what, got, want)
}

// stays reports whether an ephemeral is still there that has to be gone.
func (p *life) stays(t *trace) bool {
	if t.call != callEvent || t.event != protocol.NodeDeleted {
		return false
	}
	st, code := p.sim.Machine().Exists(t.path, everybody)
	return code == protocol.OK && st.EphemeralOwner != 0
}

// Batch implements fsm.Sink.
func (p *life) Batch(id fsm.BatchID, n int, v fsm.Verdict, code protocol.ErrCode) bool {
	if p.early {
		return p.Sink.Batch(id, n, v, code)
	}
	t := p.next(callBatch, v.String()+" batch")
	if t.batch != id || t.n != n || t.verdict != v {
		p.w.fail("exactly once", "server %d, entry %d: batch %v of %d was %v, where %v of %d should have been %v", p.id, p.applied+1, id, n, v, t.batch, t.n, t.verdict)
	}
	return p.Sink.Batch(id, n, v, code)
}

// Event implements fsm.Sink.
func (p *life) Event(e *fsm.Event) {
	if p.early {
		p.Sink.Event(e)
		return
	}
	t := p.next(callEvent, e.Path)
	if t.path != e.Path && p.stays(t) {
		p.differ(t, callEvent, e.Path)
	}
	if t.event != e.Type || t.path != e.Path || t.zxid != e.Zxid || !slices.Equal(t.acl, e.ACL) {
		p.w.fail("events", "server %d, entry %d: event %d of %s at %x, where %d of %s at %x was due", p.id, p.applied+1, e.Type, e.Path, e.Zxid, t.event, t.path, t.zxid)
	}
	p.notify(t)
	if p.w.plant == plantLateWatch {
		p.held = append(p.held, *e)
		return
	}
	p.Sink.Event(e)
}

// Result implements fsm.Sink.
func (p *life) Result(i int, r *fsm.Result) {
	if p.early {
		p.Sink.Result(i, r)
		return
	}
	t := p.next(callResult, "result")
	if t.i != i || t.zxid != r.Zxid || t.err != r.Err || !bytes.Equal(t.body, r.Body) || t.attached != r.Epoch || t.overQuota != r.OverQuota {
		p.w.fail("results", "server %d, entry %d, request %d (%v of session %x): %v at %x epoch %d over %q body %x, the model says %d: %v at %x epoch %d over %q body %x",
			p.id, p.applied+1, i, t.op, t.session, r.Err, r.Zxid, r.Epoch, r.OverQuota, r.Body, t.i, t.err, t.zxid, t.attached, t.overQuota, t.body)
	}
	p.zxid = t.zxid
	p.answer(t)
	p.Sink.Result(i, r)
	p.release()
}

// release lets planted late events go.
func (p *life) release() {
	for i := range p.held {
		p.Sink.Event(&p.held[i])
	}
	p.held = p.held[:0]
}

// SessionOpened implements fsm.Sink.
func (p *life) SessionOpened(id int64, timeoutMs int32, owner uint8, epoch uint32) {
	if !p.early {
		t := p.next(callOpened, "session opened")
		if t.session != id || t.timeout != timeoutMs || t.owner != owner || t.epoch != epoch {
			p.w.fail("sessions", "server %d, entry %d: session %x at %d epoch %d, the model says %x at %d epoch %d", p.id, p.applied+1, id, owner, epoch, t.session, t.owner, t.epoch)
		}
		if c := p.bySession[id]; c != nil && epoch > 1 {
			c.finish()
		}
	}
	p.Sink.SessionOpened(id, timeoutMs, owner, epoch)
}

// SessionClosed implements fsm.Sink.
func (p *life) SessionClosed(id int64) {
	if !p.early {
		t := p.next(callClosed, "session closed")
		if t.session != id {
			p.w.fail("sessions", "server %d, entry %d: session %x closed, the model says %x", p.id, p.applied+1, id, t.session)
		}
		if c := p.bySession[id]; c != nil {
			c.ending = true
			p.expectOf(c)
		}
	}
	p.Sink.SessionClosed(id)
}

// Began implements fsm.Sink.
func (p *life) Began(id uint8, incarnation, nonce uint64, taken bool) {
	if !p.early {
		t := p.next(callBegan, "began")
		if t.batch.Server != id || t.batch.Incarnation != incarnation || t.nonce != nonce || t.taken != taken {
			p.w.fail("exactly once", "server %d, entry %d: begin of %d/%d taken: %v, the model says %d/%d: %v", p.id, p.applied+1, id, incarnation, taken, t.batch.Server, t.batch.Incarnation, t.taken)
		}
		p.began = p.began || id == p.id && taken && nonce == p.nonce
	}
	p.Sink.Began(id, incarnation, nonce, taken)
}

// Entry implements replica.Sink.
func (p *life) Entry(m *fsm.Machine) {
	if p.early {
		p.Sink.Entry(m)
		return
	}
	p.release()
	if p.e == nil {
		p.e, p.pos = p.w.entry(p.applied+1), 0
	}
	e := p.e
	for ; p.pos < len(e.trace); p.pos++ {
		if t := &e.trace[p.pos]; t.call != callResult {
			p.differ(t, t.call, "the end of the entry")
		}
	}
	p.zxid = m.Zxid()
	if p.zxid != e.zxid || m.TimeMs() < 0 {
		p.w.fail("zxids", "server %d, entry %d: zxid %x, the model says %x", p.id, e.index, p.zxid, e.zxid)
	}
	digest := m.StateDigest()
	if !e.digested {
		e.digest, e.digested = digest, true
		p.w.h.mix(digest)
	} else if e.digest != digest {
		p.w.fail("replicas", "server %d, entry %d: state %016x, another server had %016x", p.id, e.index, digest, e.digest)
	}
	p.applied, p.e = e.index, nil
	for _, c := range p.touched {
		if c.ending {
			c.finish()
		}
	}
	p.w.plantEphemeral(p)
	p.Sink.Entry(m)
}

// Restored implements replica.Sink.
func (p *life) Restored(m *fsm.Machine) {
	p.zxid = m.Zxid()
	p.Sink.Restored(m)
}

// notify lets the watches of this server's clients expect an event.
func (p *life) notify(t *trace) {
	if len(p.watchers) == 0 {
		return
	}
	p.event++
	fires, once := watchData|watchPersistent|watchRecursive, watchData
	switch t.event {
	case protocol.NodeChildrenChanged:
		fires, once = watchChild|watchPersistent, watchChild
	case protocol.NodeDeleted:
		fires, once = watchAny, watchData|watchChild
	}
	list := p.watchers[t.path]
	for i := 0; i < len(list); i++ {
		c := list[i]
		if c.watches[t.path]&fires == 0 {
			continue
		}
		c.notified(t)
		if c.watches[t.path]&once != 0 {
			c.unwatch(t.path, once)
			if list = p.watchers[t.path]; i < len(list) && list[i] != c {
				i--
			}
		}
	}
	if t.event == protocol.NodeChildrenChanged || p.recursive == 0 {
		return
	}
	for path, _ := above(t.path); path != ""; path, _ = above(path) {
		for _, c := range p.watchers[path] {
			if c.watches[path]&watchRecursive != 0 {
				c.notified(t)
			}
		}
	}
}

// answer lets the connection that a result is for expect its reply, and then the
// answers to the reads that waited for it.
func (p *life) answer(t *trace) {
	c := p.bySession[t.session]
	if c == nil || c.epoch != t.epoch || c.finished || len(c.pending) == 0 || t.op == fsm.OpAttach || t.op == protocol.OpCreateSession {
		return
	}
	q := c.pending[0]
	if !q.write || q.op != t.op && (q.op != fence || t.op != protocol.OpSync) {
		p.w.fail("session order", "session %x: result of %v where that of %v was due", t.session, t.op, q.op)
	}
	c.pending = c.pending[1:]
	if t.zxid < q.seen {
		p.w.fail("linearizability", "session %x: %v came when %x had been seen, and counts at %x", t.session, t.op, q.seen, t.zxid)
	}
	if t.err == protocol.SessionExpired || t.err == protocol.SessionMoved {
		c.finish()
		return
	}
	if q.op != fence {
		c.reply(q.xid, t.op, t.zxid, t.err, t.body)
	}
	if t.op == protocol.OpCloseSession {
		c.finish()
		return
	}
	for len(c.pending) > 0 && !c.pending[0].write {
		q := c.pending[0]
		c.pending = c.pending[1:]
		c.read(q, t.zxid)
	}
}

// expectOf has the connection looked at when the entries are applied.
func (p *life) expectOf(c *conn) {
	if !c.listed {
		c.listed = true
		p.touched = append(p.touched, c)
	}
}
