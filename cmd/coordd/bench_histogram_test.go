package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBuckets(t *testing.T) {
	tests := []struct {
		v      uint64
		bucket int
		top    uint64
	}{
		{0, 0, 0},
		{1, 1, 1},
		{255, 255, 255},
		{256, 256, 257},
		{257, 256, 257},
		{258, 257, 259},
		{511, 383, 511},
		{512, 384, 515},
		{1_000_000, 1780, 1_003_519},
		{math.MaxInt64, len(histogram{}.buckets) - 1, math.MaxInt64},
	}
	for _, tt := range tests {
		i := bucketOf(tt.v)
		if i != tt.bucket || bucketTop(i) != tt.top {
			t.Errorf("%d: bucket %d up to %d, want %d up to %d", tt.v, i, bucketTop(i), tt.bucket, tt.top)
		}
	}
	for i := range len(histogram{}.buckets) - 1 {
		if bucketOf(bucketTop(i)) != i || bucketOf(bucketTop(i)+1) != i+1 {
			t.Fatalf("bucket %d does not end at %d", i, bucketTop(i))
		}
	}
}

func TestQuantile(t *testing.T) {
	tests := []struct {
		name   string
		counts []time.Duration
		q      float64
		want   time.Duration
	}{
		{"empty", nil, 0.5, 0},
		{"one", []time.Duration{100}, 0.999, 100},
		{"one long, not above the longest", []time.Duration{time.Second}, 0.5, time.Second},
		{"median of two is the lower", []time.Duration{10, 20}, 0.5, 10},
		{"median of three", []time.Duration{30, 10, 20}, 0.5, 20},
		{"lowest", []time.Duration{30, 10, 20}, 0, 10},
		{"highest", []time.Duration{30, 10, 20}, 1, 30},
		{"negative counts as 0", []time.Duration{-5}, 0.5, 0},
	}
	for _, tt := range tests {
		var h histogram
		for _, d := range tt.counts {
			h.add(d)
		}
		if got := h.quantile(tt.q); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestQuantileAgreesWithSorting: less than 1% above the true quantile, never
// below it, however the counts were spread over two histograms.
func TestQuantileAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Minute)), 1, 200).Draw(t, "counts")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var a, b histogram
		for i, n := range counts {
			if i%3 == 0 {
				a.add(time.Duration(n))
			} else {
				b.add(time.Duration(n))
			}
		}
		a.merge(&b)
		slices.Sort(counts)
		exact := counts[max(int(math.Ceil(q*float64(len(counts)))), 1)-1]
		got := int64(a.quantile(q))
		if got < exact || got-exact > exact/100 {
			t.Fatalf("quantile %v: %d, want %d", q, got, exact)
		}
	})
}
