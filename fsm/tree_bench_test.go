package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

const benchNodes = 1_000_000

// benchTree has a million nodes with 28-character paths and 100 bytes of data,
// a thousand in a directory.
func benchTree(b *testing.B) *tree {
	tr := newTree()
	data := bytes.Repeat([]byte("d"), 100)
	for i := range benchNodes {
		dir := tr.lookup(benchPath(i)[:13])
		if dir == 0 {
			dir = tr.insert(rootID, benchPath(i)[1:13], data, aclOpen, 0, 1, 1)
		}
		tr.insert(dir, benchPath(i)[14:], data, aclOpen, 0, int64(i), int64(i))
		tr.quiesce()
	}
	if n := len(benchPath(0)); n != 28 {
		b.Fatalf("paths of %d characters", n)
	}
	return tr
}

func benchPath(i int) string { return fmt.Sprintf("/directory%03d/node%010d", i/1000, i) }

func BenchmarkMillionNodes(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		tr := benchTree(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytesEach := float64(after.HeapAlloc-before.HeapAlloc) / float64(tr.count())
		b.ReportMetric(bytesEach, "heapB/znode")
		if bytesEach > 300 {
			b.Errorf("%.0f bytes of heap a znode, at most 300", bytesEach)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	tr := benchTree(b)
	paths := make([]string, 1<<12)
	for i := range paths {
		paths[i] = benchPath(rand.IntN(benchNodes))
	}
	i := 0
	for b.Loop() {
		if tr.lookup(paths[i&(len(paths)-1)]) == 0 {
			b.Fatal("missing")
		}
		i++
	}
}

func BenchmarkSetData(b *testing.B) {
	tr := benchTree(b)
	data := bytes.Repeat([]byte("n"), 100)
	for b.Loop() {
		id := nodeID(5 + rand.IntN(benchNodes))
		tr.setData(id, data)
		tr.update(id, func(r *record) { r.version++ })
	}
}

func BenchmarkSnapshot(b *testing.B) {
	tr := benchTree(b)
	for b.Loop() {
		b.SetBytes(int64(len(store(b, tr))))
	}
}

func BenchmarkRestore(b *testing.B) {
	stream := store(b, benchTree(b))
	for b.Loop() {
		if _, err := load(stream); err != nil {
			b.Fatal(err)
		}
	}
}
