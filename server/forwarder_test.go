package server

import (
	"testing"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/metrics"
)

// begins is a way to the leader that notes the begins sent to it.
type begins struct{ incarnations []uint64 }

func (b *begins) sendBatch([]byte) {}
func (b *begins) sendBegin(incarnation, _ uint64) {
	b.incarnations = append(b.incarnations, incarnation)
}
func (b *begins) sendTouch(uint64, []int64) {}
func (b *begins) sendDigest(fsm.Mark)       {}

// A server that restarts and is behind opens streams to leaders that have applied
// its begins long before it has. None of them may look to it like another process.
func TestBeginsAppliedLate(t *testing.T) {
	const nonce = 99
	f := &forwarder{server: 3, nonce: nonce, metrics: metrics.New()}
	leader := uint64(5) // what leaders have stored for this server
	var sent []uint64
	for range 3 {
		way := &begins{}
		f.open(way, leader)
		sent = append(sent, way.incarnations...)
		leader = sent[len(sent)-1]
		f.closed(way)
	}
	last := &begins{}
	f.open(last, leader)
	// Now the log arrives here, with all that was sent.
	stored := uint64(5)
	for i := 0; i < len(sent)+len(last.incarnations); i++ {
		incarnation := append(sent, last.incarnations...)[i]
		taken := incarnation > stored
		stored = max(stored, incarnation)
		if !f.began(incarnation, nonce, taken, stored) {
			t.Fatalf("its own begin %d, applied late, is another process's", incarnation)
		}
	}
	if !f.ready() || f.incarnation != stored {
		t.Fatalf("begun: %v, as incarnation %d where %d is stored", f.ready(), f.incarnation, stored)
	}
}
