package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"pgregory.net/rapid"
)

func record(index uint64, size int) *raft.Log {
	data := bytes.Repeat([]byte{byte(index)}, size)
	copy(data, fmt.Sprintf("entry %d ", index))
	return &raft.Log{Index: index, Term: 1, Data: data}
}

func records(lo, hi uint64, size int) []*raft.Log {
	var out []*raft.Log
	for i := lo; i <= hi; i++ {
		out = append(out, record(i, size))
	}
	return out
}

func mustOpen(t testing.TB, store, dir string, o LogOptions) *LogStore {
	t.Helper()
	s, err := OpenLogStore(store, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustStore(t testing.TB, s raft.LogStore, logs []*raft.Log) {
	t.Helper()
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

// wantLog checks that s holds the entries lo to hi of size bytes.
func wantLog(t interface {
	Helper()
	Fatalf(string, ...any)
}, s raft.LogStore, lo, hi uint64, size int) {
	t.Helper()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err1 != nil || err2 != nil || first != lo || last != hi {
		t.Fatalf("log has entries %d to %d (%v, %v), want %d to %d", first, last, err1, err2, lo, hi)
	}
	for i := lo; i <= hi; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil || l.Index != i || !bytes.Equal(l.Data, record(i, size).Data) {
			t.Fatalf("entry %d: read %d %.20q: %v", i, l.Index, l.Data, err)
		}
	}
}

func TestLogStoresKeepTheirEntries(t *testing.T) {
	for _, store := range []string{WALStore, BoltStore} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			stored := 0
			o := LogOptions{SegmentBytes: 64 << 10, OnStore: func(_ time.Duration, n int, err error) { stored += n }}
			s := mustOpen(t, store, dir, o)
			if s.IsMonotonic() != (store == WALStore) {
				t.Errorf("monotonic: %v", s.IsMonotonic())
			}
			for i := uint64(1); i <= 300; i += 10 {
				mustStore(t, s, records(i, i+9, 1000))
			}
			if err := s.StoreLog(record(301, 1000)); err != nil {
				t.Fatal(err)
			}
			if stored != 301 {
				t.Errorf("%d entries reported, want 301", stored)
			}
			// The head goes at a snapshot, the tail at a conflict.
			if err := s.DeleteRange(1, 120); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteRange(290, 301); err != nil {
				t.Fatal(err)
			}
			wantLog(t, s, 121, 289, 1000)
			for range 2 { // the second time over what the first opening mended
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, store, dir, o)
				wantLog(t, s, 121, 289, 1000)
			}
			mustStore(t, s, records(290, 400, 1000))
			s.Close()
			s = mustOpen(t, store, dir, o)
			wantLog(t, s, 121, 400, 1000)
			// A follower that lags far is sent a snapshot and starts anew.
			if err := s.DeleteRange(121, 400); err != nil {
				t.Fatal(err)
			}
			mustStore(t, s, records(5001, 5003, 1000))
			s.Close()
			s = mustOpen(t, store, dir, o)
			wantLog(t, s, 5001, 5003, 1000)
			s.Close()
		})
	}
}

func TestLogStoreRefusals(t *testing.T) {
	if _, err := OpenLogStore("paper", t.TempDir(), LogOptions{}); err == nil || !strings.Contains(err.Error(), `"paper"`) {
		t.Errorf("unknown store: %v", err)
	}
	if _, err := OpenLogStore(BoltStore, filepath.Join(t.TempDir(), "none"), LogOptions{}); err == nil {
		t.Error("a missing directory was accepted")
	}
	for made, asked := range map[string]string{WALStore: BoltStore, BoltStore: WALStore} {
		dir := t.TempDir()
		s := mustOpen(t, made, dir, LogOptions{})
		if _, err := OpenLogStore(made, dir, LogOptions{}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s opened twice: %v", made, err)
		}
		s.Close()
		if _, err := OpenLogStore(asked, dir, LogOptions{}); err == nil || !strings.Contains(err.Error(), made) {
			t.Errorf("a directory of %s opened as %s: %v", made, asked, err)
		}
	}
}

// faultyLogs fails or delays the writes of a store in memory.
type faultyLogs struct {
	*raft.InmemStore
	err   error
	delay time.Duration
}

func (l *faultyLogs) StoreLogs(logs []*raft.Log) error {
	time.Sleep(l.delay)
	if l.err != nil {
		return l.err
	}
	return l.InmemStore.StoreLogs(logs)
}

func (l *faultyLogs) DeleteRange(lo, hi uint64) error {
	if l.err != nil {
		return l.err
	}
	return l.InmemStore.DeleteRange(lo, hi)
}

func TestFailedWriteIsFinal(t *testing.T) {
	for name, op := range map[string]func(*LogStore) error{
		"StoreLogs":   func(s *LogStore) error { return s.StoreLogs(records(2, 2, 10)) },
		"StoreLog":    func(s *LogStore) error { return s.StoreLog(record(2, 10)) },
		"DeleteRange": func(s *LogStore) error { return s.DeleteRange(1, 1) },
	} {
		inner := &faultyLogs{InmemStore: raft.NewInmemStore()}
		var last error
		s := WrapLogStore(inner, func(_ time.Duration, _ int, err error) { last = err })
		var told []error
		s.OnFailure(func(err error) { told = append(told, err) })
		mustStore(t, s, records(1, 1, 10))
		if len(told) > 0 {
			t.Fatalf("%s: failed before any failure: %v", name, told)
		}
		broken := errors.New("no space left on device")
		inner.err = broken
		if err := op(s); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if len(told) != 1 || !errors.Is(told[0], broken) {
			t.Errorf("%s: reported %v", name, told)
		}
		inner.err = nil // the disk is well again, the library's last index is not
		if err := s.StoreLogs(records(2, 2, 10)); !errors.Is(err, broken) {
			t.Errorf("%s: a later StoreLogs: %v", name, err)
		}
		if !errors.Is(last, broken) {
			t.Errorf("%s: OnStore got %v", name, last)
		}
		if err := s.DeleteRange(1, 1); !errors.Is(err, broken) {
			t.Errorf("%s: a later DeleteRange: %v", name, err)
		}
		wantLog(t, s, 1, 1, 10)
		if len(told) != 1 {
			t.Errorf("%s: reported again: %v", name, told)
		}
	}
}

// A failed write must lead to a new Raft: the owner is told while the leader
// only steps down.
func TestFailedWriteOfALeaderIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &faultyLogs{InmemStore: raft.NewInmemStore()}
		s := WrapLogStore(inner, nil)
		reported := make(chan error, 1)
		s.OnFailure(func(err error) { reported <- err })
		c := startNet(t, 1, nodeOptions{logs: func(*node) raft.LogStore { return s }})
		r := c.leader().raft
		inner.err = errors.New("disk error")
		if err := r.Apply([]byte("x"), 0).Error(); err == nil {
			t.Error("a write was acknowledged that is not stored")
		}
		select {
		case <-reported:
		case <-time.After(time.Second):
			t.Error("the failure is not reported")
		}
	})
}

func TestStalledWriteIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &faultyLogs{InmemStore: raft.NewInmemStore(), delay: 3 * time.Second}
		var took time.Duration
		s := WrapLogStore(inner, func(d time.Duration, _ int, _ error) { took = d })
		if d := s.Stalled(); d != 0 {
			t.Errorf("stalled for %v before any write", d)
		}
		done := make(chan error)
		go func() { done <- s.StoreLogs(records(1, 1, 1)) }()
		time.Sleep(2 * time.Second)
		if d := s.Stalled(); d != 2*time.Second {
			t.Errorf("stalled for %v, want 2s", d)
		}
		<-done
		if d := s.Stalled(); d != 0 || took != 3*time.Second {
			t.Errorf("stalled for %v after a write of %v", d, took)
		}
	})
}

// rawWAL opens raft-wal without our checks.
func rawWAL(dir string, vfs types.VFS, meta types.MetaStore, segmentBytes int) (*wal.WAL, error) {
	return wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()), wal.WithMetaStore(meta),
		wal.WithSegmentFiler(segment.NewFiler(dir, vfs)), wal.WithSegmentSize(segmentBytes))
}

// hashicorp/raft-wal#31: a follower truncates a conflict and restarts; the
// truncated segment then has no index, and no entry in it can be read.
func TestTruncationThenRestart(t *testing.T) {
	vfs, meta, dir := newCrashFS(), &crashMeta{}, t.TempDir()
	o := LogOptions{VFS: vfs, Meta: meta, SegmentBytes: 1 << 16}
	s := mustOpen(t, WALStore, dir, o)
	mustStore(t, s, records(1, 9, 100))
	if err := s.DeleteRange(8, 9); err != nil {
		t.Fatal(err)
	}
	s.Close()

	w, err := rawWAL(dir, vfs, meta, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.GetLog(3, new(raft.Log)); err == nil {
		t.Error("raft-wal reads a truncated log by itself: is the repair still needed?")
	}
	w.Close()

	s = mustOpen(t, WALStore, dir, o)
	wantLog(t, s, 1, 7, 100)
	mustStore(t, s, records(8, 20, 100))
	s.Close()
	s = mustOpen(t, WALStore, dir, o)
	wantLog(t, s, 1, 20, 100)
	s.Close()
}

// A crash after the append that fills a segment, before its rotation is noted:
// raft-wal opens the log and can never append to it again.
func TestCrashBeforeRotation(t *testing.T) {
	fill := func() (*crashFS, *crashMeta, uint64) {
		vfs, meta := newCrashFS(), &crashMeta{}
		w, err := rawWAL("d", vfs, meta, 4096)
		if err != nil {
			t.Fatal(err)
		}
		meta.fail = func() error { return errCrash }
		last := uint64(0)
		for w.StoreLogs(records(last+1, last+1, 100)) == nil {
			last++
		}
		w.Close()
		meta.fail = nil
		return vfs.crash(func() bool { return false }), meta, last
	}
	vfs, meta, last := fill()
	w, err := rawWAL("d", vfs, meta, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StoreLogs(records(last+1, last+1, 100)); err == nil {
		t.Error("raft-wal appends after the crash by itself: is the repair still needed?")
	}
	w.Close()

	vfs, meta, last = fill()
	dir := t.TempDir()
	o := LogOptions{VFS: vfs, Meta: meta, SegmentBytes: 4096}
	s := mustOpen(t, WALStore, dir, o)
	wantLog(t, s, 1, last, 100)
	mustStore(t, s, records(last+1, last+100, 100))
	s.Close()
	s = mustOpen(t, WALStore, dir, o)
	wantLog(t, s, 1, last+100, 100)
	s.Close()
}

// A deletion right after the append that fills a segment must not overtake the
// rotation, which would seal the new tail with the old one's index.
func TestDeletionWaitsForRotation(t *testing.T) {
	spoiled := func(guarded bool) (bad bool) {
		vfs, meta, dir := newCrashFS(), &crashMeta{}, t.TempDir()
		var s raft.LogStore
		var stop func() error
		if guarded {
			l := mustOpen(t, WALStore, dir, LogOptions{VFS: vfs, Meta: meta, SegmentBytes: 4096})
			s, stop = l, l.Close
		} else {
			w, err := rawWAL(dir, vfs, meta, 4096)
			if err != nil {
				t.Fatal(err)
			}
			s, stop = w, w.Close
		}
		defer stop()
		last := uint64(0)
		for range 40 {
			if s.StoreLogs(records(last+1, last+8, 500)) != nil { // a segment each
				return true
			}
			last += 8
			if s.DeleteRange(last-1, last) != nil {
				return true
			}
			last -= 2
		}
		if l, err := s.LastIndex(); err != nil || l != last {
			return true
		}
		return s.GetLog(last, new(raft.Log)) != nil
	}
	lost := 0
	for range 10 {
		if spoiled(true) {
			t.Fatal("a deletion overtook a rotation")
		}
		if spoiled(false) {
			lost++
		}
	}
	if lost == 0 {
		t.Error("no deletion overtook a rotation in raft-wal itself: is the guard still needed?")
	}
}

// segmentFile finds the log file that begins with entry first.
func segmentFile(t *testing.T, dir string, first uint64) string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%020d-*.wal", first)))
	if err != nil || len(m) != 1 {
		t.Fatalf("log files beginning with entry %d: %v (%v)", first, m, err)
	}
	return m[0]
}

// Damage is told apart from a torn last write: that is cut off and the log goes
// on; anything else is refused by file and offset. raft-wal itself drops what
// was acknowledged, or serves what is damaged.
func TestDamageToTheLog(t *testing.T) {
	const size, perSegment = 600, 20
	frame := func(i uint64) int64 { // offset of an entry's frame; each is its own append
		return int64(walHeaderLen) + int64(i-1)*frameBytes(size)
	}
	for _, tt := range []struct {
		name    string
		sealed  bool // damage the first of two segments, not the only one
		at      int64
		write   []byte
		last    uint64 // last entry readable afterwards; 0: refused
		newDisk bool
	}{
		{name: "data of the last entry", at: frame(10) + 100, write: []byte("oops"), last: 9},
		{name: "header of the last entry", at: frame(10), write: []byte{77}, last: 9},
		{name: "last commit frame", at: frame(11) - 8, write: []byte{0, 0, 0, 0, 0, 0, 0, 0}, last: 9},
		{name: "last checksum", at: frame(11) - 4, write: []byte{1, 2, 3, 4}, last: 9},
		{name: "rubbish behind the end", at: frame(11) + 40, write: []byte("leftovers of a torn write"), last: 10},
		{name: "data in the middle", at: frame(5) + 100, write: []byte("oops")},
		{name: "header in the middle", at: frame(5), write: []byte{77}},
		{name: "length in the middle", at: frame(5) + 4, write: []byte{255, 255}},
		{name: "zeros in the middle", at: frame(5), write: make([]byte, 64)},
		{name: "commit frame in the middle", at: frame(6) - 8, write: []byte{0, 0, 0, 0, 0, 0, 0, 0}},
		{name: "last commit frame but one", at: frame(10) - 8, write: []byte{9}},
		{name: "data of the last but one", at: frame(9) + 200, write: []byte("x")},
		{name: "file header", at: 0, write: []byte("nonsense")},
		{name: "sealed: data", sealed: true, at: frame(5) + 100, write: []byte("oops")},
		{name: "sealed: last entry", sealed: true, at: frame(perSegment) + 100, write: []byte("oops")},
		{name: "sealed: header", sealed: true, at: 0, write: []byte("nonsense")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			o := LogOptions{SegmentBytes: perSegment * int(frameBytes(size))}
			n := uint64(10)
			if tt.sealed {
				n = 30
			}
			s := mustOpen(t, WALStore, dir, o)
			for i := uint64(1); i <= n; i++ {
				mustStore(t, s, records(i, i, size))
			}
			s.Close()
			path := segmentFile(t, dir, 1)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(tt.write, tt.at); err != nil {
				t.Fatal(err)
			}
			f.Close()

			s, err = OpenLogStore(WALStore, dir, o)
			if tt.last == 0 {
				if err == nil {
					s.Close()
					t.Fatal("opened")
				}
				for _, want := range []string{path, "offset", wayOut} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("the message lacks %q: %v", want, err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantLog(t, s, 1, tt.last, size)
			mustStore(t, s, records(tt.last+1, 19, size))
			s.Close()
			s = mustOpen(t, WALStore, dir, o)
			wantLog(t, s, 1, 19, size)
			s.Close()
		})
	}
}

// frameBytes is what an append of one entry of size bytes takes in the file.
func frameBytes(size int) int64 {
	var b bytes.Buffer
	if err := (&wal.BinaryCodec{}).Encode(record(1, size), &b); err != nil {
		panic(err)
	}
	return walFrameLen + int64(b.Len()+7)&^7 + walFrameLen
}

func TestLostSegmentIsRefused(t *testing.T) {
	dir := t.TempDir()
	o := LogOptions{SegmentBytes: 4096}
	s := mustOpen(t, WALStore, dir, o)
	for i := uint64(1); i <= 30; i++ {
		mustStore(t, s, records(i, i, 500))
	}
	s.Close()
	path := segmentFile(t, dir, 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLogStore(WALStore, dir, o); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened without a segment: %v", err)
	}
}

// Power cuts, full disks, truncations and restarts in any order: what StoreLogs
// acknowledged is there after every restart, what it did not is there whole or
// not at all, and the log can always be opened and appended to.
func TestWALSurvivesPowerCutsProperty(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		o := LogOptions{VFS: newCrashFS(), Meta: &crashMeta{}, SegmentBytes: 4096}
		vfs := func() *crashFS { return o.VFS.(*crashFS) }
		open := func() *LogStore {
			s, err := openWAL(dir, o)
			if err != nil {
				rt.Fatalf("open: %v", err)
			}
			return s
		}
		s := open()
		want := make(map[uint64]uint64) // index to term, as acknowledged
		first, last := uint64(1), uint64(0)
		maybe := uint64(0) // entries up to here may be there, though not acknowledged
		term := uint64(1)
		batch := func(n int) []*raft.Log {
			var logs []*raft.Log
			for i := range uint64(n) {
				logs = append(logs, &raft.Log{Index: last + 1 + i, Term: term, Data: make([]byte, rapid.IntRange(0, 900).Draw(rt, "size"))})
				binary.LittleEndian.AppendUint64(logs[i].Data[:0], last+1+i)
			}
			return logs
		}
		reopen := func() {
			s.Close()
			s = open()
			f, _ := s.FirstIndex()
			l, _ := s.LastIndex()
			if l != last && l != maybe || last >= first && f != first {
				rt.Fatalf("entries %d to %d after a restart, want %d to %d or to %d", f, l, first, last, maybe)
			}
			for i := last + 1; i <= l; i++ {
				want[i] = term
			}
			if last, maybe = l, l; f > 0 {
				first = f
			}
			for i := first; i <= last; i++ {
				var got raft.Log
				if err := s.GetLog(i, &got); err != nil || got.Term != want[i] {
					rt.Fatalf("entry %d: term %d (%v), want %d", i, got.Term, err, want[i])
				}
			}
			term++
		}
		keep := func() bool { return rapid.Bool().Draw(rt, "keep") }
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				logs := batch(rapid.IntRange(1, 4).Draw(rt, "entries"))
				if err := s.StoreLogs(logs); err != nil {
					rt.Fatalf("append: %v", err)
				}
				for _, l := range logs {
					want[l.Index] = l.Term
				}
				last += uint64(len(logs))
				maybe = last
			},
			"fail and restart": func(rt *rapid.T) {
				op := rapid.SampledFrom([]string{"write", "sync"}).Draw(rt, "op")
				f := vfs()
				f.mu.Lock()
				f.fail = func(o string) error {
					if o == op {
						return errCrash
					}
					return nil
				}
				f.mu.Unlock()
				logs := batch(rapid.IntRange(1, 4).Draw(rt, "entries"))
				if s.StoreLogs(logs) == nil {
					rt.Fatal("acknowledged without being durable")
				}
				maybe = last + uint64(len(logs))
				f.mu.Lock()
				f.fail = nil
				f.mu.Unlock()
				if rapid.Bool().Draw(rt, "power cut") {
					o.VFS = f.crash(keep)
				}
				reopen()
			},
			"power cut": func(rt *rapid.T) {
				o.VFS = vfs().crash(keep)
				reopen()
			},
			"restart": func(rt *rapid.T) { reopen() },
			"truncate": func(rt *rapid.T) {
				if last <= first {
					rt.Skip("too short")
				}
				from := rapid.Uint64Range(first+1, last).Draw(rt, "from")
				if err := s.DeleteRange(from, last); err != nil {
					rt.Fatalf("truncate: %v", err)
				}
				last, maybe = from-1, from-1
				term++
			},
			"compact": func(rt *rapid.T) {
				if last <= first {
					rt.Skip("too short")
				}
				upTo := rapid.Uint64Range(first, last-1).Draw(rt, "up to")
				if err := s.DeleteRange(first, upTo); err != nil {
					rt.Fatalf("compact: %v", err)
				}
				first = upTo + 1
			},
		})
		s.Close()
	})
}
