//go:build differential

package differential

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxDifferences is how many programs with differences a profile shows.
const maxDifferences = 6

// pair is two servers, or ensembles, under comparison.
type pair struct {
	t     *testing.T
	start [2]func(t *testing.T) *side
	sides [2]*side
}

// tally is what the programs of a profile, or of all, have done.
type tally struct {
	programs, requests, differences int
	took                            time.Duration
	answers                         answers
}

func (s tally) String() string {
	return fmt.Sprintf("%d programs, %d requests in %v, %.0f/s, %d differences",
		s.programs, s.requests, s.took.Round(time.Second), float64(s.requests)/max(s.took.Seconds(), 0.001), s.differences)
}

func (s *tally) add(more tally) {
	s.programs += more.programs
	s.requests += more.requests
	s.differences += more.differences
	s.took += more.took
	s.answers.merge(more.answers)
}

func (p *pair) restart() {
	var started sync.WaitGroup
	for i := range p.sides {
		if p.sides[i] != nil {
			p.sides[i].stop()
		}
		started.Go(func() { p.sides[i] = p.start[i](p.t) })
	}
	started.Wait()
	for _, s := range p.sides {
		if s == nil {
			p.t.FailNow() // it has said why
		}
	}
}

// ran is what both sides have made of a program.
type ran struct {
	outs  [2]*outcome
	texts [2]transcript
}

// run runs a program on both sides at once and compares. A program with waits
// starts again when the machine was too busy for it.
func (p *pair) run(prog *program) (*difference, ran, error) {
	const tries = 8
	var r ran
	for range tries {
		var errs [2]error
		var done sync.WaitGroup
		for i, s := range p.sides {
			done.Go(func() { r.outs[i], errs[i] = s.run(prog) })
		}
		done.Wait()
		for _, err := range errs {
			if err != nil {
				return nil, ran{}, err
			}
		}
		if !r.outs[0].stalled && !r.outs[1].stalled {
			for i, out := range r.outs {
				r.texts[i] = transcribe(prog, out)
			}
			return compare(prog, r.texts[0], r.texts[1]), r, nil
		}
	}
	return nil, ran{}, fmt.Errorf("the machine is too busy: %d times more than %v between two waits, or a request late that was not to be", tries, busyFor)
}

// runSeeds runs the programs of n seeds, and reports what differs. It ends
// early when the time is over.
func (p *pair) runSeeds(first uint64, n int, s shape, until time.Time) tally {
	p.restart()
	began, seen, sum := time.Now(), map[string]bool{}, tally{answers: answers{}}
	for seed := first; seed < first+uint64(n) && sum.differences < maxDifferences; seed++ {
		if !until.IsZero() && time.Now().After(until) {
			break
		}
		prog := generate(seed, s)
		d, r, err := p.run(prog)
		sum.programs++
		sum.requests += prog.requests()
		if err != nil {
			p.t.Errorf("seed %d: %v", seed, err)
			sum.differences++
			p.restart()
			continue
		}
		for i, out := range r.outs {
			sum.answers.count(i, prog, out)
		}
		if d != nil {
			if seen[d.kind] {
				p.t.Errorf("seed %d: again %s at step %d", seed, d.kind, d.step)
			} else {
				p.report(prog, d)
			}
			seen[d.kind] = true
			sum.differences++
			p.restart()
		}
	}
	sum.took = time.Since(began)
	return sum
}

// report shrinks a program that shows a difference and prints it.
func (p *pair) report(prog *program, d *difference) {
	small := p.shrink(prog, d)
	d2, r, err := p.run(small)
	if err != nil || d2 == nil {
		d2 = d // it does not show every time
	}
	var b strings.Builder
	fmt.Fprintf(&b, "difference (%s), seed %d, %d of %d steps:\n", d2.kind, prog.seed, len(small.steps), len(prog.steps))
	const shown = 40
	for i := range small.steps {
		if i < d2.step-shown || d2.step < 0 && i < len(small.steps)-shown {
			continue
		}
		fmt.Fprintf(&b, "%3d %s\n", i, short(small.steps[i].String()))
		for side, t := range r.texts {
			for _, lines := range t.streams {
				for _, l := range lines {
					if l.step == i {
						fmt.Fprintf(&b, "      %s: %s\n", p.sides[side].name, short(l.text))
					}
				}
			}
		}
	}
	fmt.Fprintf(&b, "in %s, step %d:\n  %s: %s\n  %s: %s\n", d2.where, d2.step, p.sides[0].name, short(d2.texts[0]), p.sides[1].name, short(d2.texts[1]))
	p.t.Error(b.String())
}

// shrink drops steps for as long as the same kind of difference stays.
func (p *pair) shrink(prog *program, d *difference) *program {
	deadline := time.Now().Add(20 * time.Second)
	small := prog
	if d.step >= 0 && d.step+1 < len(prog.steps) {
		if q := prog.with(prog.steps[:d.step+1]); p.shows(q, d) {
			small = q
		}
	}
	for size := len(small.steps) / 2; size > 0; size /= 2 {
		for at := 0; at < len(small.steps); {
			if time.Now().After(deadline) {
				return small
			}
			q := prog.with(slices.Concat(small.steps[:at], small.steps[min(at+size, len(small.steps)):]))
			if p.shows(q, d) {
				small = q
			} else {
				at += size
			}
		}
	}
	return small
}

func (p *pair) shows(q *program, d *difference) bool {
	found, _, err := p.run(q)
	if err != nil {
		p.restart()
		return false
	}
	return found != nil && found.kind == d.kind
}
