//go:build simulate

package simulate

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// happening is one line of a run's history; what its numbers mean depends on what
// happened.
type happening struct {
	step int
	what string
	a, b int64
	c    int64
	path string
}

// chronicle keeps the last lines of a run and a digest of all.
type chronicle struct {
	last [64]happening
	n    int
	sum  uint64
}

func (h *chronicle) mix(v uint64) {
	hi, lo := bits.Mul64(h.sum^0x9e3779b97f4a7c15, v^0xe7037ed1a0b428db)
	h.sum = hi ^ lo + 1
}

// bytes takes bytes into the digest.
func (h *chronicle) bytes(p []byte) {
	h.mix(uint64(len(p)))
	for len(p) >= 8 {
		h.mix(binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	for _, c := range p {
		h.mix(uint64(c))
	}
}

func (h *chronicle) note(e happening) {
	h.last[h.n%len(h.last)] = e
	h.n++
	h.mix(uint64(e.step))
	h.mix(uint64(e.a))
	h.mix(uint64(e.b))
	h.mix(uint64(e.c))
	h.mix(uint64(len(e.what))<<32 | uint64(e.what[0])<<16 | uint64(len(e.path)))
}

// String is the last lines.
func (h *chronicle) String() string {
	var b strings.Builder
	for i := max(0, h.n-len(h.last)); i < h.n; i++ {
		e := h.last[i%len(h.last)]
		fmt.Fprintf(&b, "%9d  %-28s %d %d %x %s\n", e.step, e.what, e.a, e.b, e.c, e.path)
	}
	return b.String()
}

// tally is what a run has done.
type tally struct {
	ops      map[string]int64
	faults   [faultKinds]int64
	verdicts [8]int64
	expired  int64
	reaped   int64
	steps    int64
	entries  int64
	batches  int64
	events   int64 // notifications that reached clients
	replies  int64
	lost     int64 // requests whose answer was lost with a connection
	virtual  int64 // ms
	quiet    int64 // the longest time without a fault, ms
	walks    int64 // states compared node by node
}

func (t *tally) add(o *tally) {
	if t.ops == nil {
		t.ops = map[string]int64{}
	}
	for k, v := range o.ops {
		t.ops[k] += v
	}
	for i, v := range o.faults {
		t.faults[i] += v
	}
	for i, v := range o.verdicts {
		t.verdicts[i] += v
	}
	t.expired += o.expired
	t.reaped += o.reaped
	t.steps += o.steps
	t.entries += o.entries
	t.batches += o.batches
	t.events += o.events
	t.replies += o.replies
	t.lost += o.lost
	t.virtual += o.virtual
	t.quiet = max(t.quiet, o.quiet)
	t.walks += o.walks
}

// mishap is a kind of fault.
type mishap int

const (
	faultCrash mishap = iota
	faultElection
	faultStreamBroken
	faultBatchLost
	faultBatchTwice
	faultBatchLate
	faultBatchesSwapped
	faultEntryLost
	faultSnapshotInstalled
	faultSnapshotDamaged
	faultServerCut
	faultClientGone
	faultSessionMoved
	faultExpiry
	faultKinds
)

func (f mishap) String() string {
	return [...]string{"server crashed", "new leader", "stream broken", "batch lost", "batch twice", "batch late", "batches swapped", "entry of an old leader lost",
		"snapshot installed", "damaged snapshot refused", "server cut off", "connection lost", "session moved", "session expired early"}[f]
}
