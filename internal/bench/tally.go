package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies counts durations in an HDR histogram of nanoseconds up to an hour,
// whose quantiles are less than 1% off. The zero value is empty. It is not safe
// for concurrent use.
type Latencies struct {
	histogram *hdrhistogram.Histogram // nil: empty
	longest   time.Duration
}

const longestCounted = time.Hour

// add counts d.
func (l *Latencies) add(d time.Duration) {
	if l.histogram == nil {
		l.histogram = hdrhistogram.New(1, int64(longestCounted), 2)
	}
	l.longest = max(l.longest, d)
	// Within the bounds there is no error.
	_ = l.histogram.RecordValue(int64(min(max(d, 1), longestCounted)))
}

// merge adds all that other has counted.
func (l *Latencies) merge(other *Latencies) {
	if other.histogram == nil {
		return
	}
	if l.histogram == nil {
		l.histogram = hdrhistogram.New(1, int64(longestCounted), 2)
	}
	l.longest = max(l.longest, other.longest)
	l.histogram.Merge(other.histogram)
}

// Count is how many durations were counted.
func (l *Latencies) Count() int64 {
	if l.histogram == nil {
		return 0
	}
	return l.histogram.TotalCount()
}

// Percentile is the duration that a share of percent did not exceed; 0 when
// nothing was counted.
func (l *Latencies) Percentile(percent float64) time.Duration {
	if l.histogram == nil {
		return 0
	}
	return min(time.Duration(l.histogram.ValueAtPercentile(percent)), l.longest)
}

// Max is the longest duration.
func (l *Latencies) Max() time.Duration { return l.longest }

// LatenciesOf counts durations.
func LatenciesOf(all []time.Duration) *Latencies {
	l := new(Latencies)
	for _, d := range all {
		l.add(d)
	}
	return l
}

// count is what came of the requests of one kind.
type count struct {
	Latencies
	errors  int64
	example error // the first of errors
}

// tally is what came of a session's requests since it was last taken.
type tally struct {
	kinds  [kindCount]*count // nil: none of it
	ok     int64
	unsent int64     // that were due at the end of the load, and found no room
	late   Latencies // of unsent, up to the end
}

func (t *tally) of(kind Kind) *count {
	if t.kinds[kind] == nil {
		t.kinds[kind] = new(count)
	}
	return t.kinds[kind]
}

// merge adds other to t.
func (t *tally) merge(other *tally) {
	for kind, c := range other.kinds {
		if c == nil {
			continue
		}
		sum := t.of(Kind(kind))
		sum.merge(&c.Latencies)
		sum.errors += c.errors
		if sum.example == nil {
			sum.example = c.example
		}
	}
	t.ok += other.ok
	t.unsent += other.unsent
	t.late.merge(&other.late)
}
