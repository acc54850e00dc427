package replica

import (
	"bytes"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// TestRecentIsTheLog: whatever is stored and deleted, recent never gives an entry
// that the log does not have, and holds no more than it may.
func TestRecentIsTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r recent
		log := map[uint64]byte{}
		first, next := uint64(1), uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0: // a suffix goes, and later entries take its place
				from := rapid.Uint64Range(first, next).Draw(t, "from")
				r.clear()
				for i := from; i < next; i++ {
					delete(log, i)
				}
				next = from
			case 1: // a snapshot in place of the log
				r.clear()
				clear(log)
				next += rapid.Uint64Range(0, 2000).Draw(t, "gap")
				first = next
			default:
				var logs []*raft.Log
				size := rapid.SampledFrom([]int{0, 10, recentBytes / 3, recentBytes + 1}).Draw(t, "size")
				for range rapid.IntRange(1, 3).Draw(t, "entries") {
					mark := byte(len(log))
					logs = append(logs, &raft.Log{Index: next, Data: bytes.Repeat([]byte{mark}, size)})
					log[next] = mark
					next++
				}
				r.add(logs)
			}
			held := 0
			for i := first; i < next; i++ {
				var l raft.Log
				if !r.get(i, &l) {
					continue
				}
				mark, there := log[i]
				if !there || l.Index != i || len(l.Data) > 0 && l.Data[0] != mark {
					t.Fatalf("entry %d is %d, the log has %d, %v", i, l.Index, mark, there)
				}
				held += len(l.Data)
			}
			if held != r.bytes || held > recentBytes {
				t.Fatalf("%d bytes are held, %d counted", held, r.bytes)
			}
		}
	})
}
