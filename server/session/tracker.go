// Package session has what a server does for sessions outside the replicated
// state: making ids, and the leader's clock that says when a session is over.
//
// The tracker guarantees that a session which is touched in time is never
// reported as expired, and that one which is not touched is reported between
// its timeout and its timeout plus one tick of the time that the tracker ran.
// Closing the session, and collecting the touches from the other servers, is
// left to others.
package session

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Session is what the tracker has to know of a session. Epoch changes whenever
// the session is attached to a connection; the tracker only hands it back.
type Session struct {
	ID      int64
	Timeout time.Duration
	Epoch   uint32
}

// stepsPerTick says how often in a tick the tracker looks at the clock. A
// pause of the process is noticed to within one step.
const stepsPerTick = 8

// Tracker is the leader's expiry clock. Deadlines are rounded up to the end of
// a tick, which is when they are looked at (SessionTrackerImpl, ExpiryQueue).
//
// Its clock counts the time that it ran: when a wake-up comes late, because
// the process was stopped or starved, every deadline moves by the delay. It
// thus never holds against a client that this server could not hear it.
//
// All methods may be called by several goroutines.
type Tracker struct {
	tick   time.Duration
	step   time.Duration
	expire func(id int64, epoch uint32)

	control sync.Mutex // held by Start and Stop as a whole

	mu       sync.Mutex
	stop     chan struct{} // nil when not running
	stopped  chan struct{}
	clock    time.Duration // time the tracker ran, at woke
	woke     time.Time
	sessions map[int64]*tracked
	buckets  map[int64][]*tracked // by the tick at whose start they are due
	next     int64                // the first tick not yet looked at
	left     map[int64]left       // when not running: of the sessions when it was stopped
}

// left is what a session at epoch had left to live.
type left struct {
	epoch uint32
	time  time.Duration
}

// tracked is a session in exactly one bucket. Touching it moves only its due
// tick; the bucket finds out when its time comes.
type tracked struct {
	Session
	due    int64 // tick at whose start the session expires
	closed bool
}

// New returns a tracker that does not run yet. tick is the length of a tick
// and must be positive. expire is called, one call at a time and without any
// lock, for every session that is over, and again every tick until the session
// is closed or touched. Time that expire takes is time in which no other
// session gets older.
func New(tick time.Duration, expire func(id int64, epoch uint32)) *Tracker {
	return &Tracker{tick: tick, step: max(tick/stepsPerTick, 1), expire: expire}
}

// Start begins a term as leader: the sessions given are all there are, and
// each has its full timeout from now. A tracker that runs is stopped first.
func (t *Tracker) Start(sessions []Session) { t.begin(sessions, 0) }

// Resume begins a term as Start does, when nobody else has led since Stop: a
// session that is still at the same epoch goes on with what it had left, and
// with grace, in which the other servers can report the life they saw meanwhile.
// A leader that is voted out and in again all the time would otherwise keep dead
// sessions for as long as that lasts.
func (t *Tracker) Resume(sessions []Session, grace time.Duration) { t.begin(sessions, grace) }

// begin starts the clock; without grace, nothing is taken from the last term.
func (t *Tracker) begin(sessions []Session, grace time.Duration) {
	t.control.Lock()
	defer t.control.Unlock()
	t.halt()

	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.left
	t.left = nil
	t.clock, t.woke, t.next = 0, time.Now(), 1
	t.sessions = make(map[int64]*tracked, len(sessions))
	t.buckets = make(map[int64][]*tracked)
	t.stop, t.stopped = make(chan struct{}), make(chan struct{})
	for _, s := range sessions {
		life := s.Timeout
		if b, ok := before[s.ID]; grace > 0 && ok && b.epoch == s.Epoch {
			life = min(life, max(b.time, 0)+grace)
		}
		t.openLocked(s, life)
	}
	go t.run(t.stop, t.stopped)
}

// Stop ends the term. No call of expire is under way
// once it returns, so neither expire nor the holder of a lock that expire
// wants may call it.
func (t *Tracker) Stop() {
	t.control.Lock()
	defer t.control.Unlock()
	t.halt()
}

// halt stops the goroutine, if there is one, and waits for its end. Called
// with control held.
func (t *Tracker) halt() {
	t.mu.Lock()
	stop, stopped := t.stop, t.stopped
	if stop != nil {
		t.left = make(map[int64]left, len(t.sessions))
		for id, e := range t.sessions {
			t.left[id] = left{e.Epoch, time.Duration(e.due)*t.tick - t.nowLocked() - t.tick}
		}
	}
	t.stop, t.stopped, t.sessions, t.buckets = nil, nil, nil, nil
	t.mu.Unlock()
	if stop != nil {
		close(stop)
		<-stopped
	}
}

// Open adds a session with its full timeout from now, or replaces what is
// known of it, as when it is attached anew. It does nothing while the tracker
// does not run.
func (t *Tracker) Open(id int64, timeout time.Duration, epoch uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		t.openLocked(Session{ID: id, Timeout: timeout, Epoch: epoch}, timeout)
	}
}

// openLocked adds a session that has life left.
func (t *Tracker) openLocked(s Session, life time.Duration) {
	t.closeLocked(s.ID)
	e := &tracked{Session: s, due: t.dueLocked(life)}
	t.sessions[s.ID] = e
	t.buckets[e.due] = append(t.buckets[e.due], e)
}

// Close forgets a session; an id that is not known is no error.
func (t *Tracker) Close(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeLocked(id)
}

func (t *Tracker) closeLocked(id int64) {
	if e := t.sessions[id]; e != nil {
		e.closed = true
		delete(t.sessions, id)
	}
}

// Touch gives the sessions their full timeout from now. Ids that are not known
// are passed over.
func (t *Tracker) Touch(ids []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if e := t.sessions[id]; e != nil {
			e.due = t.dueLocked(e.Timeout)
		}
	}
}

// Bucket is the sessions that are over at the same moment unless they are
// touched.
type Bucket struct {
	Due time.Time
	IDs []int64 // ascending
}

// Dump returns all sessions by the moment they are due, earliest first, as the
// command dump shows them (SessionTrackerImpl.dumpSessions).
func (t *Tracker) Dump() []Bucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	byDue := make(map[int64][]int64)
	for id, e := range t.sessions {
		byDue[e.due] = append(byDue[e.due], id)
	}
	now, clock := time.Now(), t.nowLocked()
	dump := make([]Bucket, 0, len(byDue))
	for _, due := range slices.Sorted(maps.Keys(byDue)) {
		slices.Sort(byDue[due])
		at := now.Add(time.Duration(due)*t.tick - clock)
		dump = append(dump, Bucket{Due: at, IDs: byDue[due]})
	}
	return dump
}

// dueLocked returns the tick at whose start a session touched now expires: one
// tick after the deadline's own, so that nobody gets less than the timeout.
func (t *Tracker) dueLocked(timeout time.Duration) int64 {
	return int64((t.nowLocked()+timeout)/t.tick) + 1
}

// nowLocked returns the tracker's clock. However late a wake-up is, the clock
// does not go past the moment the wake-up was meant for.
func (t *Tracker) nowLocked() time.Duration {
	return t.clock + min(time.Since(t.woke), t.step)
}

// run advances the clock step by step until stop is closed.
func (t *Tracker) run(stop, stopped chan struct{}) {
	defer close(stopped)
	timer := time.NewTimer(t.step)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		for _, e := range t.advance() {
			if t.over(e) {
				t.expire(e.ID, e.Epoch)
			}
		}
		timer.Reset(t.step)
	}
}

// advance moves the clock to now and returns the sessions that are over.
func (t *Tracker) advance() []*tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop == nil { // being stopped
		return nil
	}
	t.clock, t.woke = t.nowLocked(), time.Now()
	var expired []*tracked
	for ; time.Duration(t.next)*t.tick <= t.clock; t.next++ {
		bucket := t.buckets[t.next]
		delete(t.buckets, t.next)
		for _, e := range bucket {
			if e.closed {
				continue
			}
			if e.due <= t.next {
				expired = append(expired, e)
			}
			// Not yet due, or to be reported again: wait in a later bucket.
			later := max(e.due, t.next+1)
			t.buckets[later] = append(t.buckets[later], e)
		}
	}
	return expired
}

// over reports whether e has still not been touched or closed: reporting the
// sessions before it may have taken a while.
func (t *Tracker) over(e *tracked) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop != nil && !e.closed && e.due < t.next
}
