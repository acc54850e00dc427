package bench

import (
	"slices"
	"time"
)

// Line are the figures of some requests: all of a load, those of one kind, or
// those of one server's sessions.
type Line struct {
	Requests     int64   `json:"requests"` // answered with OK
	Errors       int64   `json:"errors"`
	OpsPerSecond float64 `json:"ops_per_second"`
	P50Us        float64 `json:"p50_us"`
	P90Us        float64 `json:"p90_us"`
	P99Us        float64 `json:"p99_us"`
	P999Us       float64 `json:"p99_9_us"`
	MaxUs        float64 `json:"max_us"`
}

// Result is what came of a load, or of a part of it.
type Result struct {
	Mix     string  `json:"op"`
	Seconds float64 `json:"seconds"`
	Line
	// Unsent are requests of an open loop that were due before the end and
	// found no room; they are in the latencies with the time they had waited.
	Unsent     int64  `json:"unsent,omitempty"`
	FirstError string `json:"first_error,omitempty"`
	// StallUs is the longest time in which no session got an answer; GapUs are
	// the longest such times of each session alone: their median and maximum.
	StallUs     float64       `json:"stall_us"`
	GapMedianUs float64       `json:"gap_median_us"`
	GapMaxUs    float64       `json:"gap_max_us"`
	Kinds       []KindLine    `json:"by_op,omitempty"` // of a mix
	PerServer   []*ServerLine `json:"per_server"`
}

// KindLine are the requests of one kind.
type KindLine struct {
	Op string `json:"op"`
	Line
}

// ServerLine are the sessions that began at one server.
type ServerLine struct {
	Server string `json:"server"`
	Line
	// FsyncsPer1000 is the number of this server's fsyncs for 1,000 requests at
	// all servers; nil where it is not known.
	FsyncsPer1000 *float64 `json:"fsyncs_per_1000_ops"`
}

// Us is a duration in microseconds.
func Us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func newLine(l *Latencies, ok, errors int64, elapsed time.Duration) Line {
	return Line{
		Requests: ok, Errors: errors,
		OpsPerSecond: float64(ok) / max(elapsed.Seconds(), 1e-9),
		P50Us:        Us(l.Percentile(50)), P90Us: Us(l.Percentile(90)), P99Us: Us(l.Percentile(99)),
		P999Us: Us(l.Percentile(99.9)), MaxUs: Us(l.Max()),
	}
}

// line sums all kinds up.
func (t *tally) line(elapsed time.Duration) (line Line, firstError error) {
	var all Latencies
	var errors int64
	for _, c := range t.kinds {
		if c == nil {
			continue
		}
		all.merge(&c.Latencies)
		errors += c.errors
		if firstError == nil {
			firstError = c.example
		}
	}
	all.merge(&t.late)
	return newLine(&all, t.ok, errors, elapsed), firstError
}

// Take gives what was counted since the load began, or since the last Take,
// and begins to count anew.
func (r *Running) Take() *Result {
	end := r.ended
	if end == 0 {
		end = r.now()
	}
	elapsed := end - r.taken
	r.taken = end
	load := r.load
	result := &Result{Mix: load.Mix.String(), Seconds: elapsed.Seconds()}
	var all tally
	perServer := make([]tally, len(load.Servers))
	var gaps []float64
	for i, s := range r.sessions {
		s.mu.Lock()
		own := s.tally
		s.tally = tally{}
		gap := max(s.gap, end-s.lastOK)
		s.gap = 0
		s.mu.Unlock()
		gaps = append(gaps, Us(gap))
		all.merge(&own)
		perServer[i%len(perServer)].merge(&own)
	}
	var err error
	if result.Line, err = all.line(elapsed); err != nil {
		result.FirstError = err.Error()
	}
	result.Unsent = all.unsent
	result.StallUs = Us(max(time.Duration(r.stall.Swap(0)), end-time.Duration(r.last.Load())))
	result.GapMedianUs, result.GapMaxUs = Median(gaps), slices.Max(gaps)
	if len(load.Mix) > 1 || all.kinds[Delete] != nil {
		for kind, c := range all.kinds {
			if c != nil {
				result.Kinds = append(result.Kinds, KindLine{Kind(kind).String(), newLine(&c.Latencies, c.Count(), c.errors, elapsed)})
			}
		}
	}
	for i, server := range load.Servers {
		line, _ := perServer[i].line(elapsed)
		result.PerServer = append(result.PerServer, &ServerLine{Server: server, Line: line})
	}
	return result
}

// Median of a list that is not empty; the mean of the middle two if there are.
func Median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}
