package replica

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// written notes where a file is written.
type written struct {
	types.WritableFile
	spans [][2]int64
}

func (w *written) WriteAt(b []byte, at int64) (int, error) {
	w.spans = append(w.spans, [2]int64{at, at + int64(len(b))})
	return w.WritableFile.WriteAt(b, at)
}

// Small writes find zeros behind the log's end, which one write in many put
// there; nothing is written past the file's size, nor behind large writes.
func TestLogFileIsFilledAhead(t *testing.T) {
	const size = 2 * fillAhead
	raw, err := dataFS{fs.New()}.Create(t.TempDir(), "log", size)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	w := &written{WritableFile: raw}
	f := &filledFile{WritableFile: w, size: size}
	var want []byte
	for _, n := range []int{100, 200, fillUpTo + 1, 3, fillAhead - fillUpTo, 7, fillUpTo, fillUpTo, fillUpTo} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		if _, err := f.WriteAt(b, int64(len(want))); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		want = append(want, b...)
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(want)], want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
		t.Error("the file is not what was appended, and zeros")
	}
	fills := 0
	for _, s := range w.spans {
		if s[1] > size {
			t.Errorf("%v is past the end", s)
		}
		if s[1]-s[0] > fillUpTo+1 && s[0] > 0 {
			fills++
		}
	}
	if fills < 2 || fills > 4 {
		t.Errorf("written: %v, with %d fills", w.spans, fills)
	}
}

// A log that is opened again is filled from its end on, and not into what it has.
func TestReopenedLogIsFilledAhead(t *testing.T) {
	dir := t.TempDir()
	o := LogOptions{SegmentBytes: 1 << 20}
	for i := range uint64(5) {
		s := mustOpen(t, WALStore, dir, o)
		if err := s.StoreLogs([]*raft.Log{{Index: i + 1, Term: 1, Data: []byte("one of five")}}); err != nil {
			t.Fatal(err)
		}
		for at := uint64(1); at <= i+1; at++ {
			var l raft.Log
			if err := s.GetLog(at, &l); err != nil || string(l.Data) != "one of five" {
				t.Errorf("entry %d after %d openings: %q, %v", at, i, l.Data, err)
			}
		}
		s.Close()
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if fi, err := os.Stat(names[0]); err != nil || fi.Size() != 1<<20 {
		t.Errorf("%v, %v", fi, err)
	}
}
