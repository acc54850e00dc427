package fsm

import (
	"fmt"
	"testing"

	"github.com/coordd/coordd/protocol"
)

// silent is a Sink that wants results and drops them.
type silent struct{ recorder }

func (*silent) Batch(BatchID, int, Verdict, protocol.ErrCode) bool { return true }
func (*silent) Result(int, *Result)                                {}
func (*silent) Event(*Event)                                       {}

// BenchmarkApplySetData measures one setData of 100 bytes, 64 to an entry.
func BenchmarkApplySetData(b *testing.B) {
	r := newRig(b)
	var reqs []Request
	for i := range 64 {
		path := fmt.Sprintf("/bench/n%02d", i)
		if i == 0 {
			r.mustCreate("/bench", "", open, protocol.Persistent)
		}
		r.mustCreate(path, "", open, protocol.Persistent)
		set := protocol.SetDataRequest{Path: path, Data: make([]byte, 100), Version: -1}
		reqs = append(reqs, r.request(protocol.OpSetData, set.AppendTo(nil)))
	}
	batch := (&Batch{ID: BatchID{1, 7, 1}, Identities: [][]protocol.ID{anyone}, Requests: reqs}).AppendTo(nil)
	e := NewEntry(1)
	e.Batch(batch)
	r.m.IgnoreStreamTable() // the same entry again and again
	sink := &silent{}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += 64 {
		if err := r.m.Apply(1, 1, e.Bytes(), sink); err != nil {
			b.Fatal(err)
		}
	}
}
