//go:build simulate

// Package simulate runs coordd in simulated worlds in which a seed decides
// everything: who does what when, and what breaks. A run that went wrong can be
// had again by its seed.
//
// What is above Raft is simulated here by the machine_ files: servers are the
// real ones from the connection to the state machine, and Raft is one agreed log.
package simulate

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server"
)

// setup is what decides a run.
type setup struct {
	seed             uint64
	servers, clients int // 0: the seed decides
	ops              int64
	plant            plant
}

// violation is what a check has found.
type violation struct {
	setup   setup
	check   string
	what    string
	step    int
	history string
}

func (v *violation) String() string {
	return fmt.Sprintf("check %q, seed %d, %d servers, %d clients, step %d: %s\nhad again by: go test -tags simulate -run 'TestMachine$' ./test/simulate -machine.seed %d -machine.ops 1\n%s",
		v.check, v.setup.seed, v.setup.servers, v.setup.clients, v.step, v.what, v.setup.seed, v.history)
}

// world is one run.
type world struct {
	setup
	r        *rand.Rand
	h        chronicle
	tally    tally
	ops      [128]int64
	sentOps  int64
	steps    int
	now      int64 // ms since the Unix epoch
	machines []*member
	clients  []*client
	conns    int
	filler   []byte
	model    *model
	sent     map[attachment]*submitted

	log       []*entry // from the last one before those that are still there
	base      uint64   // index of the first that servers can have
	applyTerm uint64

	term     uint64
	electing *life  // logged its first entry, and has still to apply it
	first    uint64 // the index of that entry
	reign    *reign
	zombies  []*reign // do not know yet that another leads
	proposed [][]byte
	orphans  []*link
	sentOnce []late // batches that may arrive once more

	nextPass  int64
	lastFault int64
	planted   bool // the planted fault was there

	linearizable bool  // coordd.linearizableReads
	seen         int64 // the latest zxid that a client has seen
	mark         uint64
	digests      map[uint64]uint64 // what some server reported of a mark
}

// late is a batch or a begin as it once was sent.
type late struct {
	id uint8
	m  message
}

// reign is a server's leadership.
type reign struct {
	p     *life
	term  uint64
	heard map[int64]int64 // when sessions showed life
	over  bool
	until int // the step until which it does not know that it is over
}

// link is a server's way to a leader: what was sent and has not arrived.
type link struct {
	from  *life
	reign *reign
	l     server.Link
	queue []message
	dead  bool
}

// message is one on a link; which fields count depends on what is set.
type message struct {
	batch              []byte
	incarnation, nonce uint64
	touch              uint64
	sessions           []int64
}

func newWorld(s setup) *world {
	r := rand.New(rand.NewPCG(s.seed, 0x636f6f726464))
	if s.servers == 0 {
		s.servers = 1 + r.IntN(5)
	}
	if s.clients == 0 {
		s.clients = 4 + r.IntN(16)
	}
	w := &world{setup: s, r: r, now: 1_700_000_000_000, sent: map[attachment]*submitted{}, filler: []byte("0123456789abcdefghijklmnopqrstuvwxyz"), base: 1}
	w.lastFault = w.now
	w.linearizable = r.IntN(4) == 0
	w.digests = map[uint64]uint64{}
	w.model = newModel(w)
	w.log = []*entry{{}}
	w.term = uint64(r.IntN(3))
	for i := range s.servers {
		w.machines = append(w.machines, &member{w: w, id: uint8(i + 1)})
	}
	for i := range s.clients {
		w.clients = append(w.clients, &client{w: w, id: i, user: r.IntN(4) - 2})
	}
	return w
}

func (w *world) note(what string, a, b, c int64, path string) {
	w.h.note(happening{step: w.steps, what: what, a: a, b: b, c: c, path: path})
}

func (w *world) fail(check, format string, args ...any) {
	panic(&violation{setup: w.setup, check: check, what: fmt.Sprintf(format, args...), step: w.steps})
}

func (w *world) fault(f mishap) {
	w.tally.faults[f]++
	w.tally.quiet = max(w.tally.quiet, w.now-w.lastFault)
	w.lastFault = w.now
}

// run runs the world to its end. A violation ends it early.
func (w *world) run(over func() bool) (v *violation) {
	defer func() {
		w.tally.ops = counted(&w.ops)
		w.tally.steps, w.tally.virtual = int64(w.steps), w.now-1_700_000_000_000
		w.tally.quiet = max(w.tally.quiet, w.now-w.lastFault)
		if e := recover(); e != nil {
			found, ok := e.(*violation)
			if !ok {
				found = &violation{setup: w.setup, check: "panics", what: fmt.Sprintf("%v\n%s", e, debug.Stack()), step: w.steps}
			}
			found.history = w.h.String()
			v = found
		}
	}()
	for _, m := range w.machines {
		m.start()
	}
	for w.sentOps < w.setup.ops && (w.steps%256 != 0 || !over()) {
		w.step()
	}
	w.calm()
	return nil
}

// step does the next thing, whatever that is.
func (w *world) step() {
	w.steps++
	w.now += int64(w.r.IntN(5))
	if w.now >= w.nextPass {
		w.pass()
	}
	switch k := w.r.IntN(1000); {
	case k < 450:
		w.clients[w.r.IntN(len(w.clients))].step()
	case k < 600:
		if p := w.some(); p != nil && p.link != nil && p.m.cutUntil <= w.now {
			w.deliver(p.link, 1+w.r.IntN(4))
		}
	case k < 720:
		w.lead()
	case k < 980:
		if p := w.some(); p != nil && (p.m.cutUntil <= w.now || w.r.IntN(20) == 0) {
			p.apply(1 + w.r.IntN(8))
		}
		w.tend()
	case k < 994:
		w.tend()
	default:
		w.breakSomething()
	}
}

// some is some running server, or nil.
func (w *world) some() *life { return w.machines[w.r.IntN(len(w.machines))].process }

func (w *world) committed() uint64 { return w.log[len(w.log)-1].index }

func (w *world) entry(index uint64) *entry {
	i := int(index - w.log[0].index)
	if index < w.log[0].index || i >= len(w.log) {
		w.fail("agreed log", "entry %d is looked at, the log has %d to %d", index, w.log[0].index, w.committed())
	}
	return w.log[i]
}

// reachable counts the servers that are up and not cut off.
func (w *world) reachable() (n int) {
	for _, m := range w.machines {
		if m.process != nil && m.cutUntil <= w.now {
			n++
		}
	}
	return n
}

func (w *world) quorum() bool { return w.reachable() > len(w.machines)/2 }

// agree puts an entry into the agreed log.
func (w *world) agree(term uint64, data []byte) *entry {
	e := &entry{index: w.committed() + 1, term: term, data: data}
	w.note("agreed", int64(e.index), int64(term), int64(len(data)), "")
	w.h.bytes(data)
	w.model.apply(e)
	w.log = append(w.log, e)
	w.tally.entries++
	if e.index%64 == 0 {
		w.truncate()
	}
	return e
}

// truncate forgets the entries that no running server will ask for again, and
// others that a snapshot of the leader holds.
func (w *world) truncate() {
	needed, most := w.committed(), uint64(0)
	w.model.horizon = w.model.zxid
	for _, m := range w.machines {
		if m.process != nil {
			needed = min(needed, m.index)
			w.model.horizon = min(w.model.horizon, m.process.zxid)
		}
		most = max(most, m.index)
	}
	if len(w.log) > 1500 && w.reign != nil {
		needed = max(needed, min(most, w.reign.p.applied)-min(most, uint64(w.r.IntN(200))))
	}
	if needed = min(needed, most); needed > w.log[0].index {
		w.log = slices.Clone(w.log[needed-w.log[0].index:])
		w.base = w.log[0].index + 1
	}
}

// lead lets leaders propose and agree.
func (w *world) lead() {
	for _, z := range w.zombies {
		if data := z.p.sim.Take(w.now); data != nil {
			w.fault(faultEntryLost)
			w.note("proposal of an old leader", int64(z.p.id), int64(z.term), int64(len(data)), "")
		}
		if w.steps > z.until {
			z.end()
		}
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(r *reign) bool { return r.over })
	if w.reign == nil || w.reign.p.m.cutUntil > w.now {
		return
	}
	if len(w.proposed) < 4 {
		if data := w.reign.p.sim.Take(w.now + int64(w.reign.p.id)*7); data != nil {
			w.proposed = append(w.proposed, data)
			w.plantEarly(data)
		}
	}
	if w.quorum() && w.r.IntN(3) > 0 {
		for n := 1 + w.r.IntN(4); n > 0 && len(w.proposed) > 0; n-- {
			w.agree(w.reign.term, w.proposed[0])
			w.proposed = w.proposed[1:]
		}
	}
}

// end is the moment at which a leader knows that it is none any more.
func (r *reign) end() {
	if r.over {
		return
	}
	r.over = true
	r.p.sim.Depose()
	if l := r.p.link; l != nil && l.reign == r {
		r.p.sim.Closed(&l.l)
		r.p.link = nil
	}
}

// endReign is the end of the present leader's rule, whether it knows or not.
// Some of what it proposed may have reached those who elect the next.
func (w *world) endReign() {
	for n := w.r.IntN(len(w.proposed) + 1); n > 0; n-- {
		w.agree(w.reign.term, w.proposed[0])
		w.proposed = w.proposed[1:]
	}
	for range w.proposed {
		w.fault(faultEntryLost)
	}
	w.proposed = nil
	w.reign.until = w.steps + w.r.IntN(400)
	w.zombies = append(w.zombies, w.reign)
	w.reign = nil
}

// elect makes a server the next leader, if it can be.
func (w *world) elect(p *life) {
	if p == nil || p.m.cutUntil > w.now || !w.quorum() || p.applied+1 < w.base {
		return
	}
	if w.reign != nil {
		w.endReign()
	}
	for _, z := range w.zombies {
		if z.p == p {
			z.end()
		}
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(r *reign) bool { return r.over })
	w.term += uint64(1 + w.r.IntN(2))
	w.fault(faultElection)
	w.note("elected", int64(p.id), int64(w.term), 0, "")
	data := p.sim.FirstEntry(w.now)
	if w.term < 5 && w.r.IntN(8) == 0 { // close to where the counter in the zxid runs over
		e := fsm.NewEntry(w.now)
		e.RaiseZxid(int64(w.term<<32 | 0xfffffe00))
		w.agree(w.term, e.Bytes())
	}
	w.first = w.agree(w.term, data).index
	if w.r.IntN(4) == 0 {
		w.listed(w.r.IntN(3))
	}
	w.electing = p
}

// listed agrees on another list of servers.
func (w *world) listed(version int) {
	e := fsm.NewEntry(w.now)
	e.Cluster([16]byte{1}, fmt.Sprintf("version=%d", version))
	w.agree(w.term, e.Bytes())
}

// tend does what follows by itself: leaders begin, streams are opened, old ones
// run dry, snapshots are made.
func (w *world) tend() {
	if p := w.electing; p != nil && p.applied >= w.first {
		w.electing = nil
		p.sim.Lead(w.term)
		w.reign = &reign{p: p, term: w.term, heard: map[int64]int64{}}
		w.note("leads", int64(p.id), int64(w.term), 0, "")
		w.openLink(p)
	}
	if w.reign == nil && w.electing == nil && w.r.IntN(10) == 0 {
		w.elect(w.some())
	}
	if p := w.some(); p != nil {
		if w.reign != nil && (p.link == nil || p.link.reign != w.reign) && p.m.cutUntil <= w.now {
			w.openLink(p)
		}
		if p.applied > p.m.index+uint64(300+w.r.IntN(700)) || w.canHalve(p) {
			w.snapshot(p)
		} else if p.applied+1 < w.base {
			w.install(p)
		}
	}
	for i := range w.machines {
		m := w.machines[i]
		if m.process == nil && m.down <= w.now {
			m.start()
		}
	}
	if len(w.orphans) > 0 {
		l := w.orphans[w.r.IntN(len(w.orphans))]
		w.deliver(l, 1)
		if len(l.queue) == 0 {
			w.orphans = slices.DeleteFunc(w.orphans, func(o *link) bool { return o == l })
		}
	}
}

// openLink opens a server's way to the present leader.
func (w *world) openLink(p *life) {
	if p.link != nil {
		w.orphan(p.link)
	}
	l := &link{from: p, reign: w.reign}
	own := p == w.reign.p
	l.l = server.Link{
		Batch: func(b []byte) {
			w.tally.batches++
			w.remember(p.id, message{batch: b})
			if own {
				l.reign.p.sim.Batch(p.id, b)
			} else {
				l.queue = append(l.queue, message{batch: b})
			}
		},
		Begin: func(incarnation, nonce uint64) {
			l.queue = append(l.queue, message{incarnation: incarnation, nonce: nonce})
			w.remember(p.id, message{incarnation: incarnation, nonce: nonce})
		},
		Touch: func(seq uint64, sessions []int64) {
			l.queue = append(l.queue, message{touch: seq, sessions: slices.Clone(sessions)})
		},
		Digest: func(at fsm.Mark) {
			if other, ok := w.digests[at.Number]; ok && other != at.Digest {
				w.fail("replicas", "server %d reports state %016x at mark %d, another reported %016x", p.id, at.Digest, at.Number, other)
			}
			w.digests[at.Number] = at.Digest
		},
	}
	p.link = l
	stored, _, _ := w.reign.p.sim.Machine().Stream(p.id)
	w.note("stream opened", int64(p.id), int64(w.reign.p.id), int64(stored), "")
	p.sim.Open(&l.l, stored)
}

// remember keeps what was sent, to send it again some time.
func (w *world) remember(id uint8, m message) {
	if len(w.sentOnce) < 64 {
		w.sentOnce = append(w.sentOnce, late{id, m})
	} else {
		w.sentOnce[w.r.IntN(64)] = late{id, m}
	}
}

// orphan cuts a link off from its server; what is on it may still arrive.
func (w *world) orphan(l *link) {
	l.dead = true
	l.from.sim.Closed(&l.l)
	if l.from.link == l {
		l.from.link = nil
	}
	if len(l.queue) > 0 {
		w.orphans = append(w.orphans, l)
	}
}

// deliver lets messages arrive.
func (w *world) deliver(l *link, n int) {
	for ; n > 0 && len(l.queue) > 0; n-- {
		m := l.queue[0]
		l.queue = l.queue[1:]
		r := l.reign
		if r.over || r.p.m.process != r.p {
			continue
		}
		switch {
		case m.batch != nil || m.incarnation != 0:
			w.arrive(r, l.from.id, m)
		default:
			for _, id := range m.sessions {
				r.heard[id] = w.now
			}
			if !l.dead && l.from.m.process == l.from {
				l.from.sim.TouchAcked(m.touch)
			}
		}
	}
}

// arrive is the arrival of a batch or a begin at a leader.
func (w *world) arrive(r *reign, from uint8, m message) {
	if m.batch == nil {
		r.p.sim.Add(from, 32, func(e *fsm.EntryBuilder) { e.Begin(from, m.incarnation, m.nonce) })
	} else if !r.p.sim.Batch(from, m.batch) {
		w.fail("exactly once", "the leader does not take a batch of server %d for its own", from)
	}
}
