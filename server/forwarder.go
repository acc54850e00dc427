package server

import (
	"sync"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/metrics"
)

const (
	// batchBytes and batchRequests bound one batch.
	batchBytes    = 256 << 10
	batchRequests = 1024
	// maxUnderWay bounds the batches sent and not yet applied. Until then they
	// gather at the leader, which has those of all servers (entriesUnderWay).
	maxUnderWay = 64
)

// upstream is the way to the leader for one term: its own queue here, or a
// 2888 stream. Its methods never block and keep their order.
type upstream interface {
	sendBatch(p []byte)
	sendBegin(incarnation, nonce uint64)
	sendTouch(seq uint64, sessions []int64)
	sendDigest(at fsm.Mark)
}

// write is a request that travels through the log, and whose result the
// origin waits for. done runs inside apply, or never when the state was
// replaced by a snapshot.
type write struct {
	request fsm.Request
	ids     []protocol.ID
	done    func(r *fsm.Result)
}

// sentBatch is a numbered batch that this server has not seen applied yet. It
// is immutable: sending it again sends the same bytes.
type sentBatch struct {
	seq    uint64
	bytes  []byte
	writes []*write
	sends  int
}

// forwarder numbers this server's batches and sends them to whoever leads
// until it sees them applied: each once, in order (design: exactly once). All
// methods are safe for concurrent use; those that sink.go calls run in apply.
type forwarder struct {
	server uint8
	nonce  uint64

	mu          sync.Mutex
	to          upstream // nil without a leader; guarded by mu
	incarnation uint64   // ours; 0 until a leader told what is stored. Guarded by mu.
	begun       bool     // our begin is applied. Guarded by mu.
	next        uint64   // seq of the next batch; guarded by mu
	underWay    []*sentBatch
	gathering   []*write
	gathered    int // bytes of gathering
	touchSeq    uint64
	metrics     *metrics.Set
}

// submit takes a write into the next batch and sends that. Writes of one
// goroutine keep their order.
func (f *forwarder) submit(w *write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gatherLocked(w)
	f.flushLocked()
}

// gather takes a write into the next batch, which is sent by flush, or when it is
// full.
func (f *forwarder) gather(w *write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gatherLocked(w)
	if f.gathered >= batchBytes || len(f.gathering) >= batchRequests {
		f.flushLocked()
	}
}

func (f *forwarder) gatherLocked(w *write) {
	f.metrics.OutstandingRequests.Add(1)
	f.gathering = append(f.gathering, w)
	f.gathered += len(w.request.Body) + 64
}

// flush sends what has gathered.
func (f *forwarder) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushLocked()
}

// flushLocked numbers and sends what has gathered, unless too much is under way.
func (f *forwarder) flushLocked() {
	for f.to != nil && f.begun && len(f.gathering) > 0 && len(f.underWay) < maxUnderWay {
		b := f.numberLocked()
		b.sends++
		f.underWay = append(f.underWay, b)
		f.to.sendBatch(b.bytes)
	}
}

// numberLocked makes the next batch of what has gathered.
func (f *forwarder) numberLocked() *sentBatch {
	n, size := 0, 0
	for n < len(f.gathering) && n < batchRequests && size < batchBytes {
		size += len(f.gathering[n].request.Body) + 64
		n++
	}
	b := &sentBatch{seq: f.next, writes: f.gathering[:n:n]}
	f.next++
	f.gathering = f.gathering[n:]
	f.gathered -= size
	if len(f.gathering) == 0 {
		f.gathering = nil
	}
	batch := fsm.Batch{ID: fsm.BatchID{Server: f.server, Incarnation: f.incarnation, Seq: b.seq}, Requests: make([]fsm.Request, n)}
	for i, w := range b.writes {
		batch.Requests[i] = w.request
		batch.Requests[i].Identities = intern(&batch.Identities, w.ids)
	}
	b.bytes = batch.AppendTo(make([]byte, 0, size+256))
	for _, w := range b.writes {
		w.request.Body = nil // the batch holds it now
	}
	return b
}

// intern returns the place of ids in table, where lists that share their
// backing array are the same list.
func intern(table *[][]protocol.ID, ids []protocol.ID) int {
	for i := len(*table) - 1; i >= 0 && i >= len(*table)-8; i-- {
		if t := (*table)[i]; len(t) == len(ids) && (len(t) == 0 || &t[0] == &ids[0]) {
			return i
		}
	}
	*table = append(*table, ids)
	return len(*table) - 1
}

// open gives the forwarder a way to the leader, which has stored incarnation
// for this server: it sends again what it has not seen applied, in order, then
// goes on.
func (f *forwarder) open(to upstream, stored uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = to
	if !f.begun && f.incarnation <= stored {
		f.incarnation = stored + 1
	}
	if !f.begun {
		to.sendBegin(f.incarnation, f.nonce)
		return
	}
	f.resendLocked()
	f.flushLocked()
}

// closed forgets to, if it is still the way to the leader.
func (f *forwarder) closed(to upstream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to == to {
		f.to = nil
	}
}

// connected reports whether there is a way to a leader.
func (f *forwarder) connected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to != nil
}

func (f *forwarder) resendLocked() {
	for _, b := range f.underWay {
		if b.sends > 0 {
			f.metrics.BatchesResent.Inc()
			f.metrics.RequestsResent.Add(int64(len(b.writes)))
		}
		b.sends++
		f.to.sendBatch(b.bytes)
	}
}

// began notes that an incarnation of this server was taken, or refused. It
// reports false when another process has begun in this server's name.
func (f *forwarder) began(incarnation, nonce uint64, taken bool, stored uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case nonce == f.nonce && (taken || stored == f.incarnation) && incarnation == f.incarnation:
		if !f.begun {
			f.begun = true
			f.next = 1
			f.flushLocked()
		}
	case nonce == f.nonce && !f.begun && f.incarnation <= stored:
		f.incarnation = stored + 1
		if f.to != nil {
			f.to.sendBegin(f.incarnation, f.nonce)
		}
	case nonce == f.nonce:
		// A begin of ours from before the leader told us that more is stored; the
		// one that we serve under is still to come.
	case taken && f.begun:
		return false
	case taken && !f.begun && f.incarnation <= incarnation:
		// An older process's begin came late: ours must be greater.
		f.incarnation = incarnation + 1
		if f.to != nil {
			f.to.sendBegin(f.incarnation, f.nonce)
		}
	}
	return true
}

// ready reports whether this server's begin is applied.
func (f *forwarder) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun
}

// applied takes the batch out of those under way; nil if it is not ours.
func (f *forwarder) applied(id fsm.BatchID) []*write {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id.Incarnation != f.incarnation || len(f.underWay) == 0 || f.underWay[0].seq != id.Seq {
		return nil
	}
	return f.landedLocked()
}

// landedLocked takes the first batch out of those under way.
func (f *forwarder) landedLocked() []*write {
	b := f.underWay[0]
	f.underWay[0] = nil
	f.underWay = f.underWay[1:]
	f.metrics.OutstandingRequests.Add(-int64(len(b.writes)))
	return b.writes
}

// gap sends everything again when a batch of ours was skipped because an
// earlier one is missing, once for each such gap: when the first of those
// under way was sent no more often than the skipped one.
func (f *forwarder) gap(id fsm.BatchID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id.Incarnation != f.incarnation || f.to == nil {
		return
	}
	for _, b := range f.underWay {
		if b.seq == id.Seq && b.sends <= f.underWay[0].sends {
			f.resendLocked()
			return
		}
	}
}

// restored drops what the restored state holds already: its results are lost,
// and so are the connections that waited for them.
func (f *forwarder) restored(incarnation, nonce, lastSeq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if incarnation != f.incarnation || nonce != f.nonce {
		return
	}
	f.begun = true
	for len(f.underWay) > 0 && f.underWay[0].seq <= lastSeq {
		f.landedLocked()
	}
	f.next = max(f.next, lastSeq+1)
}

// touch reports live sessions to the leader and returns the report's number;
// 0 when there is no leader.
func (f *forwarder) touch(sessions []int64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to == nil {
		return 0
	}
	f.touchSeq++
	f.to.sendTouch(f.touchSeq, sessions)
	return f.touchSeq
}

// digest tells the leader, if there is one, what state this server has at a
// mark.
func (f *forwarder) digest(at fsm.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != nil {
		f.to.sendDigest(at)
	}
}

// drained waits until nothing is under way or gathering, at most d.
func (f *forwarder) drained(d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		f.mu.Lock()
		idle := len(f.underWay) == 0 && len(f.gathering) == 0
		f.mu.Unlock()
		if idle {
			return true
		}
	}
	return false
}
