package metrics

import (
	"math"
	"strconv"
	"sync/atomic"
	"time"
)

// spread holds count, sum, least and greatest of what was observed. An
// observation during a reset may be lost or half seen, as in ZooKeeper.
type spread struct{ count, sum, min, max atomic.Int64 }

// Observe takes in n, which is not negative.
func (s *spread) Observe(n int64) { s.observe(n, 1) }

// observe takes in n times times.
func (s *spread) observe(n, times int64) {
	s.count.Add(times)
	s.sum.Add(n * times)
	for old := s.min.Load(); n < old; old = s.min.Load() {
		if s.min.CompareAndSwap(old, n) {
			break
		}
	}
	for old := s.max.Load(); n > old; old = s.max.Load() {
		if s.max.CompareAndSwap(old, n) {
			break
		}
	}
}

// Count is how many observations there were.
func (s *spread) Count() int64 { return s.count.Load() }

// Sum is the sum of all observations.
func (s *spread) Sum() int64 { return s.sum.Load() }

// Min is the least observation, 0 without any.
func (s *spread) Min() int64 {
	if n := s.min.Load(); n != math.MaxInt64 {
		return n
	}
	return 0
}

// Max is the greatest observation, 0 without any.
func (s *spread) Max() int64 { return s.max.Load() }

// Avg is the mean to four decimals, 0 without any (AvgMinMaxCounter.getAvg).
func (s *spread) Avg() float64 {
	n := s.count.Load()
	if n == 0 {
		return 0
	}
	return math.Floor(float64(s.sum.Load())/float64(n)*1e4+0.5) / 1e4
}

func (s *spread) reset() {
	s.count.Store(0)
	s.sum.Store(0)
	s.min.Store(math.MaxInt64)
	s.max.Store(0)
}

// Latency shows as avg_, min_ and max_ in front of its name.
type Latency struct{ spread }

func (l *Latency) mntr(name string, emit func(name, value string)) {
	emit("avg_"+name, JavaDouble(l.Avg()))
	emit("min_"+name, integer(l.Min()))
	emit("max_"+name, integer(l.Max()))
}

func (l *Latency) prometheus(name string, emit func(sample)) {
	emit(sample{family: "avg_" + name, value: l.Avg()})
	emit(sample{family: "min_" + name, value: float64(l.Min())})
	emit(sample{family: "max_" + name, value: float64(l.Max())})
}

func (l *Latency) kind() string { return "gauge" }

// Summary is ZooKeeper's basic summary: for mntr without quantiles, for
// Prometheus with the median.
type Summary struct {
	spread
	histogram histogram
}

// Observe takes in n, which is not negative.
func (s *Summary) Observe(n int64) { s.observe(n, 1) }

func (s *Summary) observe(n, times int64) {
	s.spread.observe(n, times)
	s.histogram.observe(n, times)
}

// ObserveSince takes in the milliseconds since start.
func (s *Summary) ObserveSince(start time.Time) {
	s.Observe(max(0, time.Since(start).Milliseconds()))
}

func (s *Summary) reset() {
	s.spread.reset()
	s.histogram.reset()
}

func (s *Summary) kind() string { return "summary" }

func (s *Summary) mntr(name string, emit func(name, value string)) {
	emit("avg_"+name, JavaDouble(s.Avg()))
	emit("min_"+name, integer(s.Min()))
	emit("max_"+name, integer(s.Max()))
	emit("cnt_"+name, integer(s.Count()))
	emit("sum_"+name, integer(s.Sum()))
}

func (s *Summary) prometheus(name string, emit func(sample)) { s.samples(name, "", emit, 0.5) }

// samples emits the quantiles, count and sum. labels go in front of the
// quantile's.
func (s *Summary) samples(name, labels string, emit func(sample), quantiles ...float64) {
	recent := s.histogram.recent(time.Now())
	for _, q := range quantiles {
		label := `quantile="` + strconv.FormatFloat(q, 'g', -1, 64) + `"`
		if labels != "" {
			label = labels + "," + label
		}
		emit(sample{name, "", label, quantile(recent, q)})
	}
	emit(sample{name, "_count", labels, float64(s.Count())})
	emit(sample{name, "_sum", labels, float64(s.Sum())})
}

// Percentiles is ZooKeeper's advanced summary: a Summary with more quantiles,
// for mntr since the start, for Prometheus of the last minutes.
type Percentiles struct{ Summary }

func (p *Percentiles) mntr(name string, emit func(name, value string)) {
	p.Summary.mntr(name, emit)
	all := p.histogram.counts()
	for _, q := range []struct {
		prefix string
		q      float64
	}{{"p50_", 0.5}, {"p95_", 0.95}, {"p99_", 0.99}, {"p999_", 0.999}} {
		n := int64(0)
		if f := quantile(all, q.q); !math.IsNaN(f) {
			n = int64(math.Round(f))
		}
		emit(q.prefix+name, integer(n))
	}
}

func (p *Percentiles) prometheus(name string, emit func(sample)) {
	p.samples(name, "", emit, 0.5, 0.9, 0.99)
}
