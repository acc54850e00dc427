package watch

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/coordd/coordd/protocol"
)

// sink is a watcher that forgets.
type sink struct{ frames int }

func (s *sink) Notify([]byte)               { s.frames++ }
func (s *sink) CanRead([]protocol.ACL) bool { return true }

// BenchmarkFire100k fires 100,000 watches of as many connections on one path;
// setting them is not counted.
func BenchmarkFire100k(b *testing.B) {
	m := New()
	handles := make([]*Handle, 100_000)
	for i := range handles {
		handles[i] = m.Register(&sink{}, int64(i))
	}
	e := &Event{Type: protocol.NodeDataChanged, Path: "/config"}
	for b.Loop() {
		b.StopTimer()
		for _, h := range handles {
			m.Add(h, "/config", Data)
		}
		b.StartTimer()
		m.Dispatch(e)
	}
}

func BenchmarkDispatchUnwatched(b *testing.B) {
	m := New()
	m.Add(m.Register(&sink{}, 1), "/x", PersistentRecursive)
	e := &Event{Type: protocol.NodeDataChanged, Path: "/some/where/in/the/tree"}
	for b.Loop() {
		m.Dispatch(e)
	}
}

func BenchmarkAddFire(b *testing.B) {
	m := New()
	h := m.Register(&sink{}, 1)
	e := &Event{Type: protocol.NodeDataChanged, Path: "/some/where"}
	for b.Loop() {
		m.Add(h, e.Path, Data)
		m.Dispatch(e)
	}
}

// BenchmarkMemory reports the heap that a watch takes: of 100 connections on
// the same 5,000 paths, and each on paths of its own (without the paths'
// bytes).
func BenchmarkMemory(b *testing.B) {
	const conns, each = 100, 5_000
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			paths := make([]string, each*conns)
			for i := range paths {
				paths[i] = fmt.Sprintf("/services/group%04d/node%06d", i%1000, i)
			}
			for b.Loop() {
				before := heap()
				m := New()
				for c := range conns {
					h := m.Register(&sink{}, int64(c))
					for i := range each {
						if !shared {
							i += c * each
						}
						m.Add(h, paths[i], Data)
					}
				}
				b.ReportMetric(float64(heap()-before)/(conns*each), "B/watch")
				runtime.KeepAlive(m)
			}
			runtime.KeepAlive(paths)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
