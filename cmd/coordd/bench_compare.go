package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/coordd/coordd/internal/bench"
)

// parseTargets takes the values of --compare; nil when there are none.
func parseTargets(values []string) ([]benchTarget, error) {
	// The flag itself splits at commas: what has no name is one more server.
	var targets []benchTarget
	var names, servers []string
	for _, v := range values {
		name, server, named := strings.Cut(v, "=")
		if !named && targets == nil || named && (name == "" || server == "") {
			return nil, fmt.Errorf("--compare: %q is not NAME=HOST:PORT or NAME=HOST:PORT,HOST:PORT", v)
		}
		if named {
			targets = append(targets, benchTarget{name: name})
			names = append(names, name)
		} else {
			server = v
		}
		t := &targets[len(targets)-1]
		t.servers = append(t.servers, server)
		servers = append(servers, server)
	}
	if doubled := twice(append(names, servers...)); doubled != "" {
		return nil, fmt.Errorf("--compare: %s is there twice", doubled)
	}
	if len(targets) == 1 {
		return nil, errors.New("--compare: there is nothing to compare with: give it twice or more")
	}
	return targets, nil
}

// benchComparison is all that a comparison prints; the JSON is its public face.
type benchComparison struct {
	Sessions    int           `json:"sessions"`
	Outstanding int           `json:"outstanding"`
	Size        int           `json:"size_bytes"`
	Keys        int           `json:"keys"`
	Loads       []*benchMatch `json:"loads"`
}

// benchMatch is one load at all targets.
type benchMatch struct {
	Op      string       `json:"op"`
	Targets []*benchSide `json:"targets"`
}

// benchSide is one load at one target.
type benchSide struct {
	Name    string   `json:"name"`
	Servers []string `json:"servers"`
	// Medians over the rounds, each figure for itself.
	OpsPerSecond float64 `json:"ops_per_second"`
	P50Us        float64 `json:"p50_us"`
	P99Us        float64 `json:"p99_us"`
	P999Us       float64 `json:"p99_9_us"`
	// Ratio is the first target's OpsPerSecond divided by this one's; 0 when
	// nothing was answered here.
	Ratio      float64        `json:"first_to_this"`
	Errors     int64          `json:"errors"` // of all rounds
	FirstError string         `json:"first_error,omitempty"`
	Rounds     []*benchResult `json:"rounds"`
}

// compare runs each load at one target after the other, --rounds times, so that
// what changes on the machine meanwhile meets all of them. A round before those
// does not count: a JVM compiles what it runs often. When ctx ends early,
// only loads that had all their rounds are in the result.
func (b *benchRun) compare(ctx context.Context) (comparison *benchComparison, err error) {
	sites := make([]*benchSite, len(b.targets))
	for i, t := range b.targets {
		if sites[i], err = b.begin(ctx, t); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		defer func() { err = errors.Join(err, sites[i].site.Remove()) }()
	}
	comparison = &benchComparison{Sessions: b.load.Sessions, Outstanding: b.load.Outstanding, Size: len(b.load.Data), Keys: b.keys}
	for _, mix := range b.loads {
		rounds := make([][]*benchResult, len(b.targets))
		for round := range b.rounds + 1 {
			for i, t := range b.targets {
				result, err := sites[i].measure(ctx, mix)
				if ctx.Err() != nil {
					return comparison, nil
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", t.name, err)
				}
				if round > 0 {
					rounds[i] = append(rounds[i], result)
				}
			}
		}
		comparison.Loads = append(comparison.Loads, newBenchMatch(mix.String(), b.targets, rounds))
	}
	return comparison, nil
}

// newBenchMatch sums up; rounds are by target.
func newBenchMatch(op string, targets []benchTarget, rounds [][]*benchResult) *benchMatch {
	m := &benchMatch{Op: op}
	for i, t := range targets {
		of := func(figure func(*benchResult) float64) float64 {
			var all []float64
			for _, r := range rounds[i] {
				all = append(all, figure(r))
			}
			return bench.Median(all)
		}
		side := &benchSide{
			Name: t.name, Servers: t.servers, Rounds: rounds[i],
			OpsPerSecond: of(func(r *benchResult) float64 { return r.OpsPerSecond }),
			P50Us:        of(func(r *benchResult) float64 { return r.P50Us }),
			P99Us:        of(func(r *benchResult) float64 { return r.P99Us }),
			P999Us:       of(func(r *benchResult) float64 { return r.P999Us }),
		}
		for _, r := range rounds[i] {
			side.Errors += r.Errors
			if side.FirstError == "" {
				side.FirstError = r.FirstError
			}
		}
		m.Targets = append(m.Targets, side)
		if side.OpsPerSecond > 0 {
			side.Ratio = m.Targets[0].OpsPerSecond / side.OpsPerSecond
		}
	}
	return m
}

func (c *benchComparison) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "%d sessions, %d outstanding, %d bytes, %d keys\n\n", c.Sessions, c.Outstanding, c.Size, c.Keys)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "op\ttarget\tops/s\tp50\tp99\tp99.9\terrors\tratio\tops/s of each round\t")
	for _, m := range c.Loads {
		for i, s := range m.Targets {
			ratio := "" // of the first to itself
			if i > 0 {
				ratio = fmt.Sprintf("%.2f", s.Ratio)
			}
			var rounds []string
			for _, r := range s.Rounds {
				rounds = append(rounds, fmt.Sprintf("%.0f", r.OpsPerSecond))
			}
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%s\t%s\t%s\t%d\t%s\t%s\t\n", m.Op, s.Name, s.OpsPerSecond,
				showUs(s.P50Us), showUs(s.P99Us), showUs(s.P999Us), s.Errors, ratio, strings.Join(rounds, " "))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if len(c.Loads) > 0 {
		fmt.Fprintf(w, "\nMedians of %d rounds in turn, after one that does not count; ratio is %s's ops/s to that target's.\n", len(c.Loads[0].Targets[0].Rounds), c.Loads[0].Targets[0].Name)
	}
	for _, m := range c.Loads {
		for _, s := range m.Targets {
			if s.FirstError != "" {
				fmt.Fprintf(w, "first error of %s at %s: %s\n", m.Op, s.Name, s.FirstError)
			}
		}
	}
	return nil
}
