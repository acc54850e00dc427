package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Most of the heap is znodes, which live long: little head room is enough.
	// With a large heap each collection takes so long that it gets more.
	smallHeapPercent = 10
	largeHeapPercent = 25
	largeHeap        = 768 << 20

	// ballastSize gives the smallest heap head room of 6 MiB; without, a server
	// with few znodes would collect a hundred times a second.
	ballastSize = 64 << 20
)

// tuneCollector sets how much the heap may grow between two collections, for as
// long as the process lives. The ballast is never touched, so it costs address
// space alone, and the collector counts it as live.
func tuneCollector() {
	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 0
	for {
		metrics.Read(live)
		if p := collectorPercent(live[0].Value.Uint64(), percent); p != percent {
			debug.SetGCPercent(p)
			percent = p
		}
		time.Sleep(10 * time.Second)
	}
}

// collectorPercent is the setting for so many live bytes; it stays what it is
// near the border.
func collectorPercent(live uint64, now int) int {
	const border = 64 << 20
	switch {
	case live > largeHeap+border, live > largeHeap-border && now == largeHeapPercent:
		return largeHeapPercent
	}
	return smallHeapPercent
}
