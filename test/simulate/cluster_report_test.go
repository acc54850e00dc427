//go:build simulate

package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/internal/history"
)

// shownLines is how much of a schedule and of a history is shown, from the end.
const shownLines = 60

// account says what went wrong in a seed, and what had been done to it.
func (r *result) account() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d violations:\n", r.seed, len(r.wrong))
	for _, w := range r.wrong {
		fmt.Fprintf(&b, "  %s\n", w)
	}
	fmt.Fprintf(&b, "schedule:\n")
	for _, l := range r.lines[max(0, len(r.lines)-shownLines):] {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	fmt.Fprintf(&b, "the clients' last operations:\n")
	for _, op := range r.tail {
		fmt.Fprintf(&b, "  %s\n", op)
	}
	return b.String()
}

// report is what became of all seeds.
type report struct {
	seeds, faulted, wrong int
	length, quiet         time.Duration
	operations            [3]int
	faults                map[string]int
}

func (s *report) add(r result) {
	s.seeds++
	s.wrong += len(r.wrong)
	s.length += r.length
	s.quiet = max(s.quiet, r.quiet)
	for i, n := range r.operations {
		s.operations[i] += n
	}
	if s.faults == nil {
		s.faults = map[string]int{}
	}
	for name, n := range r.faults {
		s.faults[name] += n
		s.faulted += n
	}
}

func (s *report) text(took time.Duration) string {
	var b strings.Builder
	total := s.operations[0] + s.operations[1] + s.operations[2]
	fmt.Fprintf(&b, "clusters: %d seeds, %v simulated in %v, %d operations (%d ok, %d failed, %d unknown), %d a real second\n",
		s.seeds, s.length.Round(time.Second), took.Round(time.Second), total,
		s.operations[history.OK], s.operations[history.Failed], s.operations[history.Unknown], int(float64(total)/took.Seconds()))
	fmt.Fprintf(&b, "%d faults, the longest simulated time without one %v; %d violations\n", s.faulted, s.quiet.Round(time.Millisecond), s.wrong)
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, "  %6d %s\n", s.faults[name], name)
	}
	return b.String()
}
