package metrics

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// value is what the table needs of a field: its samples for mntr and for
// Prometheus, and its type in Prometheus' words.
type value interface {
	reset()
	mntr(name string, emit func(name, value string))
	prometheus(name string, emit func(family, kind, name, value string))
}

// Counter only grows, but for a reset. The zero value counts from zero.
type Counter struct{ n atomic.Int64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n, which is not negative.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Load is the count.
func (c *Counter) Load() int64 { return c.n.Load() }

func (c *Counter) reset() { c.n.Store(0) }

func (c *Counter) mntr(name string, emit func(name, value string)) { emit(name, integer(c.Load())) }

func (c *Counter) prometheus(name string, emit func(family, kind, name, value string)) {
	emit(name, "counter", name, integer(c.Load()))
}

// Gauge is a number that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Set makes it n.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Load is the number.
func (g *Gauge) Load() int64 { return g.n.Load() }

func (g *Gauge) reset() { g.n.Store(0) }

func (g *Gauge) mntr(name string, emit func(name, value string)) { emit(name, integer(g.Load())) }

func (g *Gauge) prometheus(name string, emit func(family, kind, name, value string)) {
	emit(name, "gauge", name, integer(g.Load()))
}

// Ratio is a number between 0 and 1.
type Ratio struct{ bits atomic.Uint64 }

// Set makes it f.
func (r *Ratio) Set(f float64) { r.bits.Store(math.Float64bits(f)) }

// Load is the number.
func (r *Ratio) Load() float64 { return math.Float64frombits(r.bits.Load()) }

func (r *Ratio) reset() { r.Set(0) }

func (r *Ratio) mntr(name string, emit func(name, value string)) { emit(name, JavaDouble(r.Load())) }

func (r *Ratio) prometheus(name string, emit func(family, kind, name, value string)) {
	emit(name, "gauge", name, JavaDouble(r.Load()))
}

// Seconds sums up time and shows it in seconds.
type Seconds struct{ ns atomic.Int64 }

// Add adds d, which is not negative.
func (s *Seconds) Add(d time.Duration) { s.ns.Add(int64(d)) }

// Load is the sum.
func (s *Seconds) Load() time.Duration { return time.Duration(s.ns.Load()) }

func (s *Seconds) reset() { s.ns.Store(0) }

func (s *Seconds) mntr(name string, emit func(name, value string)) {
	emit(name, JavaDouble(s.Load().Seconds()))
}

func (s *Seconds) prometheus(name string, emit func(family, kind, name, value string)) {
	emit(name, "counter", name, JavaDouble(s.Load().Seconds()))
}

// spread holds count, sum, least and greatest of what was observed. An
// observation during a reset may be lost or half seen, as in ZooKeeper.
type spread struct{ count, sum, min, max atomic.Int64 }

// Observe takes in n, which is not negative.
func (s *spread) Observe(n int64) {
	s.count.Add(1)
	s.sum.Add(n)
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

// ObserveSince takes in the milliseconds since start.
func (s *spread) ObserveSince(start time.Time) { s.Observe(max(0, time.Since(start).Milliseconds())) }

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

func (l *Latency) prometheus(name string, emit func(family, kind, name, value string)) {
	l.mntr(name, func(name, value string) { emit(name, "gauge", name, value) })
}

// Summary is ZooKeeper's basic summary; it has no quantiles.
type Summary struct{ spread }

func (s *Summary) mntr(name string, emit func(name, value string)) {
	emit("avg_"+name, JavaDouble(s.Avg()))
	emit("min_"+name, integer(s.Min()))
	emit("max_"+name, integer(s.Max()))
	emit("cnt_"+name, integer(s.Count()))
	emit("sum_"+name, integer(s.Sum()))
}

func (s *Summary) prometheus(name string, emit func(family, kind, name, value string)) {
	emit(name, "summary", name+"_count", integer(s.Count()))
	emit(name, "summary", name+"_sum", integer(s.Sum()))
}

// Sizes shows as last_, min_ and max_ in front of its name, each -1 before the
// first observation (ZooKeeper's BufferStats).
type Sizes struct{ last, min, max atomic.Int64 }

// Observe takes in a size in bytes.
func (s *Sizes) Observe(n int) {
	size := int64(n)
	s.last.Store(size)
	for old := s.min.Load(); old < 0 || size < old; old = s.min.Load() {
		if s.min.CompareAndSwap(old, size) {
			break
		}
	}
	for old := s.max.Load(); size > old; old = s.max.Load() {
		if s.max.CompareAndSwap(old, size) {
			break
		}
	}
}

// Load is the last size, the least and the greatest, each -1 if there was none.
func (s *Sizes) Load() (last, least, greatest int64) {
	return s.last.Load(), s.min.Load(), s.max.Load()
}

func (s *Sizes) reset() {
	s.last.Store(-1)
	s.min.Store(-1)
	s.max.Store(-1)
}

func (s *Sizes) mntr(name string, emit func(name, value string)) {
	emit("last_"+name, integer(s.last.Load()))
	emit("min_"+name, integer(s.min.Load()))
	emit("max_"+name, integer(s.max.Load()))
}

func (s *Sizes) prometheus(name string, emit func(family, kind, name, value string)) {
	s.mntr(name, func(name, value string) { emit(name, "gauge", name, value) })
}

func integer(n int64) string { return strconv.FormatInt(n, 10) }

// JavaDouble writes a finite number as Java's Double.toString does, for scripts
// that were written against ZooKeeper: 0.0, 3.5538, 5.0E-4.
func JavaDouble(f float64) string {
	if a := math.Abs(f); f == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent) // always a number
	return mantissa + "E" + strconv.Itoa(n)
}
