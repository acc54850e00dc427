package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/coordd/coordd/protocol"
)

type noLock struct{}

func (noLock) RLock()   {}
func (noLock) RUnlock() {}

// load reads a stream that holds a tree and nothing else.
func load(stream []byte) (*tree, error) {
	r, l := newStreamReader(bytes.NewReader(stream)), newTreeLoader()
	for {
		_, p, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := l.block(p); err != nil {
			return nil, err
		}
	}
	t, err := l.finish()
	if err == nil && t.stateDigest() != r.digest() {
		err = errors.New("digest differs")
	}
	return t, err
}

func store(t testing.TB, tr *tree) []byte {
	var b bytes.Buffer
	w, s := newStreamWriter(&b), tr.snapshot()
	defer s.release()
	if err := s.writeTo(w, noLock{}); err != nil {
		t.Fatal(err)
	}
	if err := w.close(s.totals.state); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func smallTree() *tree {
	tr := newTree()
	for i := range 200 {
		acl := tr.internACL([]protocol.ACL{{Perms: protocol.Perm(i % 5), ID: protocol.ID{Scheme: "auth", ID: "x"}}})
		tr.insert(rootID, fmt.Sprintf("node-%d", i), []byte{byte(i), 2, 3}, acl, 0, int64(i), 5)
	}
	return tr
}

func TestDamagedStreamIsRefused(t *testing.T) {
	whole := store(t, smallTree())
	if _, err := load(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[i] ^= flip
			if _, err := load(b); err == nil {
				t.Fatalf("byte %d of %d xor %#x: not refused", i, len(whole), flip)
			}
		}
		if _, err := load(whole[:i]); err == nil {
			t.Fatalf("cut at %d of %d: not refused", i, len(whole))
		}
	}
	if _, err := load(append(bytes.Clone(whole), 0)); err == nil {
		t.Error("a byte after the end: not refused")
	}
}

func TestStreamBlocks(t *testing.T) {
	type block struct {
		kind    byte
		payload []byte
	}
	blocks := []block{{1, []byte("one")}, {16, nil}, {255, bytes.Repeat([]byte("long"), 100_000)}}
	var b bytes.Buffer
	w := newStreamWriter(&b)
	var at []int
	for _, x := range blocks {
		at = append(at, b.Len())
		if err := w.block(x.kind, x.payload); err != nil {
			t.Fatal(err)
		}
	}
	at = append(at, b.Len())
	if err := w.close(42); err != nil {
		t.Fatal(err)
	}
	r := newStreamReader(iotest.OneByteReader(bytes.NewReader(b.Bytes())))
	for _, x := range blocks {
		kind, p, err := r.next()
		if err != nil || kind != x.kind || !bytes.Equal(p, x.payload) {
			t.Fatalf("got kind %d, %d bytes, %v", kind, len(p), err)
		}
	}
	for range 2 {
		if _, _, err := r.next(); err != io.EOF {
			t.Fatalf("at the end: %v, want io.EOF", err)
		}
	}
	if r.digest() != 42 {
		t.Errorf("digest %d, want 42", r.digest())
	}

	s := b.Bytes()
	for name, damaged := range map[string][]byte{
		"lost":     bytes.Join([][]byte{s[:at[1]], s[at[2]:]}, nil),
		"repeated": bytes.Join([][]byte{s[:at[1]], s[at[0]:]}, nil),
		"swapped":  bytes.Join([][]byte{s[:at[0]], s[at[1]:at[2]], s[at[0]:at[1]], s[at[2]:]}, nil),
		"no end":   s[:at[3]],
		"empty":    nil,
	} {
		r := newStreamReader(bytes.NewReader(damaged))
		var err error
		for err == nil {
			_, _, err = r.next()
		}
		if !errors.Is(err, errStream) {
			t.Errorf("%s: %v, want %v", name, err, errStream)
		}
	}
}

func TestStreamErrorsPass(t *testing.T) {
	broken := errors.New("broken")
	if _, _, err := newStreamReader(iotest.ErrReader(broken)).next(); !errors.Is(err, broken) {
		t.Errorf("read: %v", err)
	}
	r, w := io.Pipe()
	r.CloseWithError(broken)
	s := smallTree().snapshot()
	if err := s.writeTo(newStreamWriter(w), noLock{}); !errors.Is(err, broken) {
		t.Errorf("write: %v", err)
	}
}

// Writers and readers go on while the walker runs; the race detector watches.
func TestSnapshotBesideWriters(t *testing.T) {
	var mu sync.RWMutex
	tr := smallTree()
	for i := range 20_000 {
		tr.insert(tr.lookup(fmt.Sprintf("/node-%d", i%200)), fmt.Sprint(i), []byte("data"), aclOpen, 0, 1, 1)
	}
	want := plain(t, tr)
	s := tr.snapshot()
	stop, done := make(chan struct{}), make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			tr.begin()
			up := tr.lookup(fmt.Sprintf("/node-%d", i%200))
			if id := tr.child(up, fmt.Sprint(i%20_000)); id != 0 {
				tr.remove(id, 9)
			} else {
				tr.insert(up, fmt.Sprint(i%20_000), []byte("new"), aclOpen, 0, 9, 9)
			}
			tr.setData(up, []byte("changed"))
			if i%3 == 0 {
				tr.rollback()
			} else {
				tr.commit()
			}
			tr.quiesce()
			mu.Unlock()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.RLock()
			id := tr.lookup("/node-7")
			tr.data(id)
			tr.stat(id)
			tr.path(id)
			tr.eachChild(id, func(nodeID) bool { return true })
			tr.marked.each(func(nodeID) bool { return true })
			mu.RUnlock()
		}
	}()
	var b bytes.Buffer
	w := newStreamWriter(&b)
	err := s.writeTo(w, &mu)
	close(stop)
	<-done
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if err := w.close(s.totals.state); err != nil {
		t.Fatal(err)
	}
	s.release()
	got, err := load(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	check(t, got, want)
}

// longestFuzzed bounds a fuzzer's inputs, in bytes: it takes minutes to minimize
// a longer one that it finds interesting.
const longestFuzzed = 1 << 10

func FuzzTreeLoader(f *testing.F) {
	// A few nodes in two groups.
	tr := newTree()
	list := tr.internACL([]protocol.ACL{{Perms: protocol.PermRead, ID: protocol.ID{Scheme: "auth", ID: "x"}}})
	for i := range 2 * groupSlots {
		if id := tr.insert(rootID, fmt.Sprint(i), []byte("data"), list, int64(i), 7, 9); i%groupSlots > 0 {
			tr.remove(id, 8)
		}
	}
	r := newStreamReader(bytes.NewReader(store(f, tr)))
	var parts [][]byte
	for {
		_, p, err := r.next()
		if err != nil {
			break
		}
		parts = append(parts, bytes.Clone(p))
		f.Add(p, []byte{partEnd})
	}
	f.Add(parts[0], parts[1])
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if len(one)+len(two) > longestFuzzed {
			return
		}
		// The second time with the totals that came out the first time: no
		// input would get past that check otherwise.
		var end totals
		for range 2 {
			l := newTreeLoader()
			if l.block(one) != nil || l.block(two) != nil {
				return
			}
			if l.end == nil {
				l.end = &end
			}
			if tr, err := l.finish(); err == nil {
				want := plain(t, tr)
				check(t, tr, want)
				again, err := load(store(t, tr))
				if err != nil {
					t.Fatal(err)
				}
				check(t, again, want)
				return
			}
			end = l.t.totals
		}
	})
}
