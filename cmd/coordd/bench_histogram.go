package main

import (
	"math"
	"math/bits"
	"time"
)

// histogramBits is the resolution: each power of two is cut into
// 1<<histogramBits linear buckets, so that a quantile is less than 1% too high.
const histogramBits = 7

// histogram counts durations in log-linear buckets of nanoseconds, as HDR
// histograms do, from 1 ns up to the longest time.Duration. The zero value is
// empty. It is not safe for concurrent use.
type histogram struct {
	count   int64
	longest time.Duration
	buckets [(64 - histogramBits) << histogramBits]int64
}

// bucketOf numbers the bucket of v without gaps: below 2<<histogramBits each
// value has its own.
func bucketOf(v uint64) int {
	if v < 2<<histogramBits {
		return int(v)
	}
	shift := bits.Len64(v) - histogramBits - 1
	return shift<<histogramBits + int(v>>shift)
}

// bucketTop is the highest value of bucket i.
func bucketTop(i int) uint64 {
	if i < 2<<histogramBits {
		return uint64(i)
	}
	shift := i>>histogramBits - 1
	return (uint64(i-shift<<histogramBits)+1)<<shift - 1
}

// add counts d; a negative one counts as 0.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.longest = max(h.longest, d)
	h.buckets[bucketOf(uint64(d))]++
}

// merge adds all that other has counted.
func (h *histogram) merge(other *histogram) {
	h.count += other.count
	h.longest = max(h.longest, other.longest)
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
}

// quantile is the shortest duration (rounded up to its bucket) that a share q
// of those counted, from 0 to 1, did not exceed; 0 when the histogram is empty.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(int64(math.Ceil(q*float64(h.count))), 1)
	for i, n := range h.buckets {
		rank -= n
		if rank <= 0 {
			return min(time.Duration(bucketTop(i)), h.longest)
		}
	}
	return h.longest
}
