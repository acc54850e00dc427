package metrics

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Numbers below exact have a bucket each; above, each doubling has steps
	// buckets, so that a quantile is off by 3 % at most.
	exact = 32
	steps = exact / 2
	// topBits is the length of the largest number told apart from larger ones.
	topBits = 32
	buckets = exact + (topBits-5)*steps

	// Prometheus is shown the quantiles of what came within memory, give or
	// take the age of one snapshot; io.prometheus.client.Summary remembers as
	// long, in as many steps.
	memory = 10 * time.Minute
	age    = memory / 5
)

// histogram counts numbers by their size. Observing is one atomic addition.
type histogram struct {
	n [buckets]atomic.Int64

	mu   sync.Mutex
	past []snapshot // what recent has seen, oldest first; guarded by mu
}

// snapshot is a histogram as it once was. Most buckets are empty.
type snapshot struct {
	at time.Time
	n  map[int]int64
}

func (h *histogram) observe(n, times int64) { h.n[bucketOf(n)].Add(times) }

// bucketOf is the bucket of n; negative numbers count as zero.
func bucketOf(n int64) int {
	switch {
	case n < exact:
		return int(max(n, 0))
	case n >= 1<<topBits:
		return buckets - 1
	}
	shift := bits.Len64(uint64(n)) - 5
	return exact + (shift-1)*steps + int(n>>shift) - steps
}

// middle is the number that stands for all in a bucket.
func middle(bucket int) float64 {
	if bucket < exact {
		return float64(bucket)
	}
	shift := (bucket-exact)/steps + 1
	low := int64((bucket-exact)%steps+steps) << shift
	return float64(low) + float64(int64(1)<<shift-1)/2
}

func (h *histogram) counts() *[buckets]int64 {
	var all [buckets]int64
	for i := range h.n {
		all[i] = h.n[i].Load()
	}
	return &all
}

// recent counts what came lately: since the youngest snapshot that is old
// enough, or since the start. Snapshots are taken here, so who asks less often
// than every ten minutes is told of all since the last time.
func (h *histogram) recent(now time.Time) *[buckets]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.counts()
	for len(h.past) > 1 && now.Sub(h.past[1].at) >= memory {
		h.past = h.past[1:]
	}
	last := len(h.past) - 1
	var base map[int]int64
	if last >= 0 && now.Sub(h.past[0].at) >= memory {
		base = h.past[0].n
	}
	if last < 0 || now.Sub(h.past[last].at) >= age {
		s := snapshot{now, map[int]int64{}}
		for i, n := range all {
			if n != 0 {
				s.n[i] = n
			}
		}
		h.past = append(h.past, s)
	}
	for i, n := range base {
		all[i] -= n
	}
	return all
}

func (h *histogram) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.n {
		h.n[i].Store(0)
	}
	h.past = nil
}

// quantile is the number that a share q of those counted does not exceed; NaN
// if there are none.
func quantile(n *[buckets]int64, q float64) float64 {
	total := int64(0)
	for _, k := range n {
		total += k
	}
	rank := int64(math.Ceil(q * float64(total)))
	for i, k := range n {
		if rank -= k; rank <= 0 && k > 0 {
			return middle(i)
		}
	}
	return math.NaN()
}
