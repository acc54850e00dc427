package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxKeys bounds the keys of a set, and maxKey the bytes of one: clients
	// choose the names of znodes. What is beyond is counted under rest.
	maxKeys = 256
	maxKey  = 128
	// rest is no namespace, whose names have no slash.
	rest = "/"
)

// keyed holds values by key. Finding one that is there neither locks nor
// allocates.
type keyed[T any] struct {
	all atomic.Pointer[map[string]*T] // never changed, only replaced
	mu  sync.Mutex                    // held to replace it
}

// at is the value of key, or of rest if there are too many; fresh makes one.
func (k *keyed[T]) at(key string, fresh func() *T) *T {
	if all := k.all.Load(); all != nil {
		if v := (*all)[key]; v != nil {
			return v
		}
		if v := (*all)[rest]; v != nil && (len(*all) > maxKeys || len(key) > maxKey) {
			return v
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]*T{}
	if old := k.all.Load(); old != nil {
		all = *old
	}
	if len(all) >= maxKeys || len(key) > maxKey {
		key = rest
	}
	if v := all[key]; v != nil {
		return v
	}
	all = maps.Clone(all)
	v := fresh()
	all[strings.Clone(key)] = v // the path it is part of is not kept
	k.all.Store(&all)
	return v
}

func (k *keyed[T]) reset() { k.all.Store(nil) }

// each calls fn for all, in the order of keys.
func (k *keyed[T]) each(fn func(key string, v *T)) {
	all := k.all.Load()
	if all == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(*all)) {
		fn(key, (*all)[key])
	}
}

// label is a key as Prometheus' label.
func label(key string) string {
	key = strings.ToValidUTF8(key, "\uFFFD")
	return `key="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(key) + `"`
}

// CounterSet is counters by key. The number of keys is bounded: what is beyond
// is counted under the key "/".
type CounterSet struct{ keyed keyed[Counter] }

// Add adds n, which is not negative, to the counter of key.
func (s *CounterSet) Add(key string, n int64) {
	s.keyed.at(key, func() *Counter { return &Counter{} }).Add(n)
}

func (s *CounterSet) reset() { s.keyed.reset() }

func (s *CounterSet) kind() string { return "counter" }

func (s *CounterSet) mntr(name string, emit func(name, value string)) {
	s.keyed.each(func(key string, c *Counter) { emit(key+"_"+name, integer(c.Load())) })
}

func (s *CounterSet) prometheus(name string, emit func(sample)) {
	s.keyed.each(func(key string, c *Counter) { emit(sample{family: name, labels: label(key), value: float64(c.Load())}) })
}

// SummarySet is summaries by key. The number of keys is bounded: what is beyond
// is observed under the key "/".
type SummarySet struct{ keyed keyed[Summary] }

// Observe takes in n, which is not negative, under key.
func (s *SummarySet) Observe(key string, n int64) { s.observe(key, n, 1) }

func (s *SummarySet) observe(key string, n, times int64) {
	s.keyed.at(key, freshSummary).observe(n, times)
}

func freshSummary() *Summary {
	s := &Summary{}
	s.reset()
	return s
}

func (s *SummarySet) reset() { s.keyed.reset() }

func (s *SummarySet) kind() string { return "summary" }

func (s *SummarySet) mntr(name string, emit func(name, value string)) {
	s.keyed.each(func(key string, v *Summary) { v.mntr(key+"_"+name, emit) })
}

func (s *SummarySet) prometheus(name string, emit func(sample)) {
	s.keyed.each(func(key string, v *Summary) { v.samples(name, label(key), emit, 0.5) })
}

// GaugeSet is gauges by key, which are replaced all at once.
type GaugeSet struct {
	all atomic.Pointer[map[string]int64]
}

// Set replaces all; the map must not be changed after it.
func (s *GaugeSet) Set(all map[string]int64) { s.all.Store(&all) }

func (s *GaugeSet) reset() { s.all.Store(nil) }

func (s *GaugeSet) kind() string { return "gauge" }

func (s *GaugeSet) each(fn func(key string, n int64)) {
	all := s.all.Load()
	if all == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(*all)) {
		fn(key, (*all)[key])
	}
}

func (s *GaugeSet) mntr(name string, emit func(name, value string)) {
	s.each(func(key string, n int64) { emit(key+"_"+name, integer(n)) })
}

func (s *GaugeSet) prometheus(name string, emit func(sample)) {
	s.each(func(key string, n int64) { emit(sample{family: name, labels: label(key), value: float64(n)}) })
}
