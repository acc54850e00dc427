package replica

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"pgregory.net/rapid"
)

// Whatever a full disk refuses - a write, which it takes by half, an fsync, the
// space for the next segment, a note in the index of segments - and for however
// long, no acknowledged entry is lost, neither then nor in a power cut
// afterwards, and the log goes on once there is room.
func TestLogOnAFullDiskProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		vfs, meta, dir := newCrashFS(), &crashMeta{}, "d"
		o := LogOptions{VFS: vfs, Meta: meta, SegmentBytes: 4096, Logger: hclog.NewNullLogger()}
		seed := rapid.Uint64().Draw(rt, "seed")
		random := rand.New(rand.NewPCG(seed, 0))
		size := rapid.IntRange(8, 900).Draw(rt, "size")
		acked := uint64(0)
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			s, err := openWAL(dir, o)
			if err != nil {
				rt.Fatalf("open with room: %v", err)
			}
			last, _ := s.LastIndex()
			if last < acked {
				rt.Fatalf("the log ends with entry %d, %d was acknowledged", last, acked)
			}
			if last > 0 {
				wantLog(rt, s, 1, last, size)
			}
			acked = last // what it has now is durable
			// The disk fills up after some operations of the chosen kind.
			kind := rapid.SampledFrom([]string{"", "write", "sync", "create", "meta"}).Draw(rt, "kind")
			var left atomic.Int32
			left.Store(int32(rapid.IntRange(0, 20).Draw(rt, "left")))
			refuse := func(op string) error {
				if kind != "" && op != kind {
					return nil
				}
				if left.Add(-1) < 0 {
					return errDiskFull
				}
				return nil
			}
			fill := func(on bool) {
				vfs.mu.Lock()
				defer vfs.mu.Unlock()
				meta.mu.Lock()
				defer meta.mu.Unlock()
				vfs.fail, meta.fail = nil, nil
				if on {
					vfs.fail, meta.fail = refuse, func() error { return refuse("meta") }
				}
			}
			fill(true)
			for n := uint64(1); acked < 4000; n = 1 + random.Uint64N(4) {
				if s.StoreLogs(records(acked+1, acked+n, size)) != nil {
					break
				}
				acked += n
				if kind == "" && random.IntN(50) == 0 {
					break
				}
				if acked > 500 {
					break // this kind of fault does not come
				}
			}
			s.Close()
			// It may open while the disk is full, only to fail again.
			for range rapid.IntRange(0, 3).Draw(rt, "attempts") {
				s, err := openWAL(dir, o)
				if err != nil {
					continue
				}
				last, _ := s.LastIndex()
				if last < acked {
					rt.Fatalf("while full: the log ends with entry %d, %d was acknowledged", last, acked)
				}
				if s.StoreLogs(records(last+1, last+1, size)) == nil {
					acked = last + 1
				}
				s.Close()
			}
			fill(false)
			if rapid.Bool().Draw(rt, "power cut") {
				vfs = vfs.crash(func() bool { return random.IntN(2) == 0 })
				o.VFS = vfs
			}
		}
		s, err := openWAL(dir, o)
		if err != nil {
			rt.Fatalf("open with room: %v", err)
		}
		defer s.Close()
		last, _ := s.LastIndex()
		if last < acked {
			rt.Fatalf("the log ends with entry %d, %d was acknowledged", last, acked)
		}
		if err := s.StoreLogs(records(last+1, last+30, size)); err != nil {
			rt.Fatalf("with room: %v", err)
		}
		wantLog(rt, s, 1, last+30, size)
	})
}
