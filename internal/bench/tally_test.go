package bench

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Percentiles agree with sorting to 1%, however what was counted is spread
// over two histograms.
func TestPercentileAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Minute)), 1, 200).Draw(t, "durations")
		percent := rapid.Float64Range(0.1, 100).Draw(t, "percent")
		var a, b Latencies
		for i, n := range all {
			if i%3 == 0 {
				a.add(time.Duration(n))
			} else {
				b.add(time.Duration(n))
			}
		}
		a.merge(&b)
		slices.Sort(all)
		rank := func(percent float64) int64 {
			return all[min(max(int(math.Ceil(percent/100*float64(len(all)))), 1), len(all))-1]
		}
		// The library rounds ranks its own way.
		low, high := rank(percent-50/float64(len(all))-1e-6), rank(percent+50/float64(len(all))+1e-6)
		got := float64(a.Percentile(percent))
		if got < float64(low)*0.99 || got > float64(high)*1.01 {
			t.Fatalf("percentile %v: %v, want %d to %d", percent, got, low, high)
		}
		if a.Count() != int64(len(all)) || int64(a.Max()) != all[len(all)-1] {
			t.Fatalf("count %d, max %v", a.Count(), a.Max())
		}
	})
}

func TestLatenciesAtTheEdges(t *testing.T) {
	var none Latencies
	if none.Count() != 0 || none.Percentile(50) != 0 || none.Max() != 0 {
		t.Error("an empty one counts something")
	}
	l := LatenciesOf([]time.Duration{-5, 0, 2 * time.Hour})
	if l.Count() != 3 || l.Percentile(50) != 1 || l.Max() != 2*time.Hour || l.Percentile(100) < 59*time.Minute {
		t.Errorf("%d counted, median %v, max %v, highest %v", l.Count(), l.Percentile(50), l.Max(), l.Percentile(100))
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		all  []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := Median(tc.all); got != tc.want {
			t.Errorf("%v: %v", tc.all, got)
		}
	}
}
