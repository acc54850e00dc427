package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// mend gives the blocks of a damaged stream the checksums that they need to
// get past the first look. The stream is changed in place.
func mend(stream []byte) []byte {
	sum := crc32.Checksum([]byte(streamMagic), castagnoli)
	for rest := stream[min(len(streamMagic), len(stream)):]; len(rest) >= blockHeaderSize; {
		stored := binary.LittleEndian.Uint32(rest[5:])
		if uint64(stored) > uint64(len(rest)-blockHeaderSize) {
			break
		}
		end := blockHeaderSize + int(stored)
		sum = crc32.Update(sum, castagnoli, rest[:9])
		sum = crc32.Update(sum, castagnoli, rest[blockHeaderSize:end])
		binary.LittleEndian.PutUint32(rest[9:], sum)
		rest = rest[end:]
	}
	return stream
}

// aBlock is a stream of one block with a right checksum, whatever its header
// claims.
func aBlock(size, stored uint32, payload []byte) []byte {
	b := append([]byte(streamMagic), blockTree)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint32(b, stored)
	b = append(b, 0, 0, 0, 0)
	return mend(append(b, payload...))
}

// What a stream claims must not decide what its reader allocates.
func TestReaderAllocatesByWhatIsThere(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, maxBlock), nil) // a few kilobytes
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x98, 1, 0, 0}
	frame := func(p []byte) uint32 { return uint32(len(p)) }
	for _, c := range []struct {
		name   string
		stream []byte
	}{
		{"long block, nothing there", aBlock(maxBlock, maxBlock, nil)},
		{"too long", aBlock(maxBlock+1, frame(bomb), bomb)},
		{"longer stored than plain", aBlock(5, 1<<30, nil)},
		{"too well packed", aBlock(maxBlock, frame(bomb), bomb)},
		{"frame of more than the block", aBlock(frame(bomb)+1, frame(bomb), bomb)},
		{"frame of less than the block", aBlock(9000, 20, enc.EncodeAll(make([]byte, 300), nil)[:20])},
		{"huge window", aBlock(100, frame(window), window)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Restore(bytes.NewReader(c.stream))
			runtime.ReadMemStats(&after)
			if !errors.Is(err, errStream) {
				t.Fatalf("%v, want %v", err, errStream)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
				t.Errorf("%d bytes allocated for %d of input: %v", took, len(c.stream), err)
			}
		})
	}
}

// Data that hardly packs and data that packs too well are stored as they are.
func TestBlocksThatAreNotPacked(t *testing.T) {
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, p := range map[string][]byte{
		"noise": noise, "one byte": {7}, "zeros": make([]byte, 5<<20),
	} {
		var b bytes.Buffer
		w := newStreamWriter(&b)
		if err := errors.Join(w.block(1, p), w.close(3)); err != nil {
			t.Fatal(err)
		}
		if b.Len() < len(p) {
			t.Errorf("%s: %d bytes became %d", name, len(p), b.Len())
		}
		if _, got, err := newStreamReader(&b).next(); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes back, %v", name, len(got), err)
		}
	}
}

// Neighbouring nodes may each be as large as an entry of the log: no block may
// hold all of them.
func TestLargeNodesShareNoBlock(t *testing.T) {
	const nodeData, listLength = 700 << 10, 6000
	tr := newTree()
	for i := range 40 {
		var list []protocol.ACL
		for range listLength {
			list = append(list, protocol.ACL{Perms: protocol.PermRead, ID: protocol.ID{Scheme: "ip", ID: fmt.Sprintf("list %030d", i)}})
		}
		tr.insert(rootID, fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, nodeData), tr.internACL(list), 0, 1, 1)
	}
	want := plain(t, tr)
	stream := store(t, tr)
	r := newStreamReader(bytes.NewReader(stream))
	for {
		_, p, err := r.next()
		if err != nil {
			break
		}
		if len(p) > partSize+nodeData+100 {
			t.Fatalf("a block of %d bytes", len(p))
		}
	}
	got, err := load(stream)
	if err != nil {
		t.Fatal(err)
	}
	check(t, got, want)
}

func TestPiecesOfAGroupOutOfOrder(t *testing.T) {
	var g group
	tr := smallTree()
	tr.snapshot().copyGroup(&g)
	for _, c := range []struct {
		name   string
		pieces []uint64
		fits   bool
	}{
		{"ascending", []uint64{0b0010, 0b0100, 0b11000}, true},
		{"again", []uint64{0b0110, 0b0100}, false},
		{"back", []uint64{0b10010, 0b0100}, false},
		{"none", []uint64{0b0010, 0}, false},
		{"no root", []uint64{0b0100}, false},
	} {
		p := []byte{partNodes}
		for _, live := range c.pieces {
			p = appendGroup(p, &g, live)
		}
		l := newTreeLoader()
		for _, a := range g.acls {
			l.acls[a.id] = l.t.internACL(a.list)
		}
		if err := l.block(p); (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.fits && (l.slot(2) != 2 || l.slot(4) != 4 || l.slot(5) != 0) {
			t.Errorf("%s: slots %d %d %d", c.name, l.slot(2), l.slot(4), l.slot(5))
		}
	}
}

func TestPathSumGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := []byte(rapid.StringMatching(`(/[a-z]{1,20}){0,4}`).Draw(t, "path"))
		cut := rapid.IntRange(0, len(path)).Draw(t, "cut")
		if got, want := noPath.extend(path[:cut]).extend(path), noPath.extend(path); got != want {
			t.Fatalf("%q from %d on: %+v, want %+v", path, cut, got, want)
		}
		data := []byte(strings.Repeat("d", rapid.IntRange(0, 20).Draw(t, "data")))
		var r record
		r.setContent(noPath.extend(path), path, data)
		if want := crc32.ChecksumIEEE(append(path, data...)); r.crc != want || r.content != mixBytes(mixBytes(mixA, path), data) {
			t.Fatalf("%q: crc %x, want %x, content %x", path, r.crc, want, r.content)
		}
	})
}

// BenchmarkRestoreShapes loads wide (each node below the root) and deep (each below
// the one before) trees; a deep one must not cost the square of its depth.
func BenchmarkRestoreShapes(b *testing.B) {
	for _, shape := range []string{"wide", "deep"} {
		tr := newTree()
		parent := rootID
		for i := range 10_000 {
			id := tr.insert(parent, fmt.Sprintf("n%d", i), []byte("data"), aclOpen, 0, 1, 1)
			if shape == "deep" {
				parent = id
			}
		}
		stream := store(b, tr)
		b.Run(shape, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := load(stream); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReapable lists the due ones, none, of 100,000 TTL nodes.
func BenchmarkReapable(b *testing.B) {
	m := New()
	for i := range 100_000 {
		m.tree.insert(rootID, fmt.Sprint(i), nil, aclOpen, ttlMark|1000, 1, 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(m.Reapable(1001, 0, 10)) > 0 {
			b.Fatal("due too early")
		}
	}
}
