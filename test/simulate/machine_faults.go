//go:build simulate

package simulate

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// period is how often servers do what they do now and then, in ms.
const period = 250

// pass is what comes with time alone: servers report live sessions, the leader
// ends those that were silent for too long and nodes whose time is over.
func (w *world) pass() {
	w.nextPass = w.now + period
	for _, m := range w.machines {
		if m.process != nil {
			m.process.sim.Pass(period * time.Millisecond)
		}
	}
	l := w.reign
	if l == nil {
		return
	}
	var over []fsm.SessionInfo
	state := l.p.sim.Machine()
	state.EachSession(func(s fsm.SessionInfo) bool {
		if at, ok := l.heard[s.ID]; !ok {
			l.heard[s.ID] = w.now
		} else if w.now-at > int64(s.TimeoutMs)+1000 {
			over = append(over, s)
			l.heard[s.ID] = w.now
		}
		return true
	})
	slices.SortFunc(over, func(a, b fsm.SessionInfo) int { return cmp.Compare(a.ID, b.ID) })
	for _, s := range over {
		w.expire(s)
	}
	if w.r.IntN(8) == 0 {
		w.mark++
		number := w.mark
		l.p.sim.Add(0, 16, func(e *fsm.EntryBuilder) { e.Mark(number) })
	}
	if w.r.IntN(4) == 0 {
		due := state.Reapable(w.now, 5000, 50)
		slices.SortFunc(due, func(a, b fsm.Reap) int { return cmp.Compare(a.Path, b.Path) })
		for _, r := range due {
			l.p.sim.Add(0, len(r.Path)+32, func(e *fsm.EntryBuilder) { e.Reap(r.Path, r.Czxid, r.Mzxid, r.Pzxid) })
		}
	}
}

func (w *world) expire(s fsm.SessionInfo) {
	w.note("expires", int64(s.Owner), int64(s.Epoch), s.ID, "")
	w.reign.p.sim.Add(0, 16, func(e *fsm.EntryBuilder) { e.Expire(s.ID, s.Epoch) })
}

// breakSomething makes some fault happen, if it can.
func (w *world) breakSomething() {
	p := w.some()
	cl := w.clients[w.r.IntN(len(w.clients))]
	switch k := w.r.IntN(100); {
	case k < 6:
		if p != nil {
			w.fault(faultCrash)
			p.m.down = w.now + int64(w.r.IntN(3000))
			p.m.crash()
		}
	case k < 14:
		if w.electing == nil {
			w.elect(p)
		}
	case k < 26:
		if p != nil && p.link != nil && (w.reign == nil || p != w.reign.p) {
			w.fault(faultStreamBroken)
			l := p.link
			l.queue = l.queue[:w.r.IntN(len(l.queue)+1)] // the rest is lost
			w.orphan(l)
		}
	case k < 50:
		if p != nil && p.link != nil {
			w.garble(p.link)
		}
	case k < 62:
		w.again()
	case k < 66:
		if p != nil && len(w.machines) > 1 {
			w.fault(faultServerCut)
			p.m.cutUntil = w.now + int64(w.r.IntN(8000))
			w.note("cut off", int64(p.id), 0, p.m.cutUntil-w.now, "")
		}
	case k < 76:
		cl.leave(faultClientGone)
		cl.away = w.now + int64(w.r.IntN(12000))
	case k < 86:
		cl.leave(faultSessionMoved)
	case k < 89:
		if w.reign != nil && cl.session != 0 {
			if s, ok := w.reign.p.sim.Machine().Session(cl.session); ok {
				w.fault(faultExpiry)
				w.expire(s)
			}
		}
	case k < 96:
		w.overtake()
	default:
		if p != nil {
			w.damage(p)
		}
	}
}

// garble loses, doubles or swaps what is on a link.
func (w *world) garble(l *link) {
	n := len(l.queue)
	if n == 0 {
		return
	}
	i := w.r.IntN(n)
	if l.queue[i].batch == nil {
		return
	}
	switch w.r.IntN(3) {
	case 0:
		w.fault(faultBatchLost)
		l.queue = slices.Delete(l.queue, i, i+1)
	case 1:
		w.fault(faultBatchTwice)
		l.queue = slices.Insert(l.queue, i+w.r.IntN(n-i)+1, l.queue[i])
	default:
		if i > 0 {
			w.fault(faultBatchesSwapped)
			l.queue[i], l.queue[i-1] = l.queue[i-1], l.queue[i]
		}
	}
}

// again lets a batch arrive that was sent a while ago, as by a stream to an old
// leader.
func (w *world) again() {
	if w.reign == nil || len(w.sentOnce) == 0 {
		return
	}
	w.fault(faultBatchLate)
	l := w.sentOnce[w.r.IntN(len(w.sentOnce))]
	w.arrive(w.reign, l.id, l.m)
}

// overtake lets the leader's log begin behind what some server has applied: that
// gets a snapshot instead.
func (w *world) overtake() {
	if w.reign == nil {
		return
	}
	var last *life
	for _, m := range w.machines {
		if p := m.process; p != nil && p.applied < w.reign.p.applied && (last == nil || !p.began || p.applied < last.applied) {
			last = p
		}
	}
	if last == nil {
		return
	}
	if w.reign.p.m.index <= last.applied {
		w.snapshot(w.reign.p)
	}
	w.install(last)
}

// during is a snapshot's writer; the state goes on whenever it is used.
type during struct {
	bytes.Buffer
	goOn func()
}

func (d *during) Write(p []byte) (int, error) {
	d.goOn()
	return d.Buffer.Write(p)
}

// snapshot makes a snapshot of a server's state, while that goes on.
func (w *world) snapshot(p *life) {
	out := during{goOn: func() {
		if w.r.IntN(3) == 0 {
			p.apply(1 + w.r.IntN(3))
		}
	}}
	index, term := p.applied, w.entry(p.applied)
	err := p.sim.Snapshot(&out, out.goOn)
	if err != nil {
		w.fail("snapshots", "server %d: %v", p.id, err)
	}
	w.note("snapshot", int64(p.id), int64(index), int64(p.applied), "")
	data := w.plantHalf(p, index, out.Bytes())
	m, err := fsm.Restore(bytes.NewReader(data))
	if err != nil {
		w.fail("snapshots", "server %d: what was written at entry %d cannot be read: %v", p.id, index, err)
	}
	if m.StateDigest() != term.digest || m.Zxid() != term.zxid {
		w.fail("snapshots", "server %d: the snapshot of entry %d holds state %016x at zxid %x, the servers had %016x at %x", p.id, index, m.StateDigest(), m.Zxid(), term.digest, term.zxid)
	}
	if w.r.IntN(8) == 0 {
		w.walk(m, index == w.committed())
	}
	p.m.snapshot, p.m.index = data, index
}

// newest is the newest snapshot that some running server has.
func (w *world) newest() *member {
	var best *member
	for _, m := range w.machines {
		if m.process != nil && m.snapshot != nil && (best == nil || m.index > best.index) {
			best = m
		}
	}
	return best
}

// install gives a server that is behind the newest snapshot.
func (w *world) install(p *life) {
	from := w.newest()
	if from == nil || from.index < w.base-1 {
		if w.reign != nil && w.reign.p.applied+1 >= w.base && w.reign.p.applied > 0 {
			w.snapshot(w.reign.p)
		}
		return
	}
	if from.index <= p.applied || p == w.electing || w.reign != nil && p == w.reign.p {
		return
	}
	w.fault(faultSnapshotInstalled)
	w.note("snapshot installed", int64(p.id), int64(p.applied), int64(from.index), "")
	if err := p.sim.Restore(from.index, from.snapshot); err != nil {
		w.fail("snapshots", "server %d does not take the snapshot of server %d: %v", p.id, from.id, err)
	}
	p.applied, p.e = from.index, nil
	p.m.snapshot, p.m.index = from.snapshot, from.index
	w.plantMachine(p, true)
	p.compareRestored(from.index)
	incarnation, nonce, _ := p.sim.Machine().Stream(p.id)
	p.began = p.began || incarnation != 0 && nonce == p.nonce
	for len(p.conns) > 0 {
		p.conns[0].real.Close()
	}
	p.touched = p.touched[:0]
}

// compareRestored compares a state that came from a snapshot with what others had
// at that entry.
func (p *life) compareRestored(index uint64) {
	if index < p.w.log[0].index {
		return
	}
	e := p.w.entry(index)
	if m := p.sim.Machine(); e.digested && m.StateDigest() != e.digest {
		p.w.fail("snapshots", "server %d: state %016x restored of entry %d, the servers had %016x", p.id, m.StateDigest(), index, e.digest)
	}
}

// damage gives a server a snapshot that was damaged on its way: it must refuse it
// and stay as it is.
func (w *world) damage(p *life) {
	from := w.newest()
	if from == nil {
		return
	}
	bad := slices.Clone(from.snapshot)
	if w.r.IntN(3) == 0 {
		bad = bad[:w.r.IntN(len(bad))]
	} else {
		bad[w.r.IntN(len(bad))] ^= 1 << w.r.IntN(8)
	}
	before := p.sim.Machine().StateDigest()
	w.fault(faultSnapshotDamaged)
	w.note("damaged snapshot", int64(p.id), int64(len(bad)), 0, "")
	if p.sim.Restore(w.committed()+1, bad) == nil {
		w.fail("snapshots", "server %d took a damaged snapshot", p.id)
	}
	if p.sim.Machine().StateDigest() != before {
		w.fail("snapshots", "server %d refused a damaged snapshot and is another one now", p.id)
	}
}

// everybody may see all that the checks look at.
var everybody = []protocol.ID{{Scheme: "super"}}

// walk compares a state with the model's, node by node; its sessions too, if it is
// the latest.
func (w *world) walk(m *fsm.Machine, latest bool) {
	w.tally.walks++
	w.walkNode(m, "/", m.Zxid())
	if !latest {
		return
	}
	n := 0
	m.EachSession(func(s fsm.SessionInfo) bool {
		n++
		want := w.model.sessions[s.ID]
		if want == nil || want.epoch != s.Epoch || want.owner != s.Owner || want.timeoutMs != s.TimeoutMs || len(want.ephemerals) != s.Ephemerals {
			w.fail("sessions", "session %x is %+v, the model has %+v", s.ID, s, want)
		}
		return true
	})
	if n != len(w.model.sessions) {
		w.fail("sessions", "%d sessions, the model has %d", n, len(w.model.sessions))
	}
	for _, mm := range w.machines {
		incarnation, nonce, last := m.Stream(mm.id)
		if (stream{incarnation, nonce, last}) != w.model.streams[mm.id] {
			w.fail("exactly once", "of server %d's stream %d/%d is known, the model has %+v", mm.id, incarnation, last, w.model.streams[mm.id])
		}
	}
}

func (w *world) walkNode(m *fsm.Machine, path string, zxid int64) {
	n := w.model.nodes[path]
	s := n.at(zxid)
	data, null, stat, code := m.GetData(path, everybody)
	if s == nil || code != protocol.OK {
		w.fail("states", "%s at zxid %x: %v; the model has it: %v", path, zxid, code, s != nil)
	}
	acl, _, _ := m.GetACL(path, everybody)
	if stat != s.stat() || data != string(s.data) || null != (s.data == nil) || !slices.Equal(acl, s.acl) {
		w.fail("states", "%s at zxid %x: %+v %q %v, the model has %+v %q %v", path, zxid, stat, data, acl, s.stat(), s.data, s.acl)
	}
	if _, known := m.Session(s.owner); s.kind == ephemeral && !known {
		w.fail("ephemerals", "%s at zxid %x belongs to session %x, which is over", path, zxid, s.owner)
	}
	encoded, _, _ := m.AppendChildren(nil, path, everybody)
	d := protocol.NewDecoder(encoded)
	names := d.Strings()
	slices.Sort(names)
	if !slices.Equal(names, n.children(zxid)) {
		w.fail("states", "%s at zxid %x has children %v, the model has %v", path, zxid, names, n.children(zxid))
	}
	for _, name := range names {
		below := path + "/" + name
		if path == "/" {
			below = "/" + name
		}
		w.walkNode(m, below, zxid)
	}
}

// calm ends all faults, lets everything arrive that is under way, and compares
// what there is then.
func (w *world) calm() {
	w.note("calm", 0, 0, 0, "")
	for _, m := range w.machines {
		m.cutUntil, m.down = 0, 0
	}
	quiet := 0
	for round := 0; quiet < 40; round++ {
		if round > 20_000 {
			w.fail("progress", "things do not come to an end: %s", w.waiting())
		}
		w.steps++
		w.tend()
		if w.reign == nil && w.electing == nil {
			w.elect(w.some())
		}
		for _, m := range w.machines {
			p := m.process
			if p == nil {
				continue
			}
			if p.applied+1 < w.base {
				w.install(p)
			}
			p.apply(64)
			if p.link != nil && p.link.reign != w.reign && w.reign != nil {
				w.openLink(p)
			}
			if p.link != nil {
				w.deliver(p.link, 64)
			}
		}
		w.lead()
		if round%100 == 99 { // what was lost without a trace comes again by a new stream
			for _, m := range w.machines {
				if p := m.process; p != nil && p.link != nil && w.reign != nil && p != w.reign.p {
					w.orphan(p.link)
				}
			}
		}
		if quiet++; w.waiting() != "" {
			quiet = 0
		}
	}
	for _, m := range w.machines {
		w.walk(m.process.sim.Machine(), true)
	}
}

// waiting says what is not over yet.
func (w *world) waiting() string {
	for _, m := range w.machines {
		switch {
		case m.process == nil || !m.process.began:
			return "a server has not started"
		case m.process.applied < w.committed():
			return "a server has not applied all"
		}
		for _, c := range m.process.conns {
			if !c.open || len(c.pending) > 0 {
				return "a client waits for an answer"
			}
		}
	}
	if len(w.proposed) > 0 || w.reign == nil {
		return "a leader has not agreed"
	}
	return ""
}
