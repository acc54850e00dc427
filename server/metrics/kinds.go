package metrics

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// value is what the table needs of a field: its samples for mntr and for
// Prometheus.
type value interface {
	reset()
	// kind is the type in Prometheus' words.
	kind() string
	mntr(name string, emit func(name, value string))
	prometheus(name string, emit func(sample))
}

// sample is one number on the page for Prometheus. Its name is family and
// suffix; labels stand between braces, or nowhere if empty.
type sample struct {
	family, suffix, labels string
	value                  float64
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

func (c *Counter) prometheus(name string, emit func(sample)) {
	emit(sample{family: name, value: float64(c.Load())})
}

func (c *Counter) kind() string { return "counter" }

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

func (g *Gauge) prometheus(name string, emit func(sample)) {
	emit(sample{family: name, value: float64(g.Load())})
}

func (g *Gauge) kind() string { return "gauge" }

// Real is a number that need not be whole.
type Real struct{ bits atomic.Uint64 }

// Set makes it f.
func (r *Real) Set(f float64) { r.bits.Store(math.Float64bits(f)) }

// Load is the number.
func (r *Real) Load() float64 { return math.Float64frombits(r.bits.Load()) }

func (r *Real) reset() { r.Set(0) }

func (r *Real) mntr(name string, emit func(name, value string)) { emit(name, JavaDouble(r.Load())) }

func (r *Real) prometheus(name string, emit func(sample)) {
	emit(sample{family: name, value: r.Load()})
}

func (r *Real) kind() string { return "gauge" }

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

func (s *Seconds) prometheus(name string, emit func(sample)) {
	emit(sample{family: name, value: s.Load().Seconds()})
}

func (s *Seconds) kind() string { return "counter" }

// Set makes the sum d, for what is summed up elsewhere.
func (s *Seconds) Set(d time.Duration) { s.ns.Store(int64(d)) }

// Sizes shows as last_, min_ and max_ in front of its name, each -1 before the
// first observation (ZooKeeper's BufferStats).
type Sizes struct{ last, min, max atomic.Int64 }

// Observe takes in a size in bytes.
func (s *Sizes) Observe(n int) {
	size := int64(n)
	s.observe(size, size, size)
}

// observe takes in several sizes at once.
func (s *Sizes) observe(last, least, greatest int64) {
	s.last.Store(last)
	for old := s.min.Load(); old < 0 || least < old; old = s.min.Load() {
		if s.min.CompareAndSwap(old, least) {
			break
		}
	}
	for old := s.max.Load(); greatest > old; old = s.max.Load() {
		if s.max.CompareAndSwap(old, greatest) {
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

func (s *Sizes) prometheus(name string, emit func(sample)) {
	last, least, greatest := s.Load()
	emit(sample{family: "last_" + name, value: float64(last)})
	emit(sample{family: "min_" + name, value: float64(least)})
	emit(sample{family: "max_" + name, value: float64(greatest)})
}

func (s *Sizes) kind() string { return "gauge" }

func integer(n int64) string { return strconv.FormatInt(n, 10) }

// JavaDouble writes a number as Java's Double.toString does, for scripts that
// were written against ZooKeeper: 0.0, 3.5538, 5.0E-4, NaN.
func JavaDouble(f float64) string {
	if math.IsNaN(f) {
		return "NaN"
	}
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
