//go:build chaos

package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/workload"
)

var (
	chosen           = flag.String("faults", "", "regexp of the faults of TestFaults; none: a short form, of coordd alone")
	withoutZooKeeper = flag.Bool("without-zookeeper", false, "TestFaults runs coordd alone")
	page             = flag.String("page", "", "the page whose table gets what TestFaults measures")
)

// jvm gives ZooKeeper what an operator gives it: zkprocess saves memory for
// tests.
const jvm = "-Xmx1g -XX:-UseSerialGC -XX:+UseG1GC -XX:TieredStopAtLevel=4 "

// outcome is what came of one fault.
type outcome struct {
	rounds     []workload.Figures
	violations []string
}

// TestFaults does one fault after the other to three servers under load, of
// coordd and of ZooKeeper, and shows what the clients had of it. Clients that
// see what must not be fail it; times that are missed are shown.
func TestFaults(t *testing.T) {
	t.Setenv("SERVER_JVMFLAGS", jvm+os.Getenv("SERVER_JVMFLAGS"))
	wanted, err := regexp.Compile(*chosen)
	if err != nil {
		t.Fatalf("-faults: %v", err)
	}
	random := newRandom(t)
	kinds := []kind{coordd, zookeeper}
	if *withoutZooKeeper || *chosen == "" {
		kinds = kinds[:1]
	}
	var lines []line
	for _, f := range allFaults() {
		if *chosen == "" && !f.brief || !wanted.MatchString(f.name) {
			continue
		}
		n := *rounds
		switch {
		case *chosen == "" && f.few:
			n = 1
		case *chosen == "":
			n = 2
		case f.few:
			n = max(1, n/6)
		}
		results := map[kind]outcome{}
		for _, k := range kinds {
			if k == zookeeper && f.alone {
				continue
			}
			t.Run(fmt.Sprintf("%s of %s", f.name, k), func(t *testing.T) {
				o := suffer(t, k, f, n, random.IntN, random.Uint64())
				results[k] = o
				for _, v := range o.violations {
					t.Logf("violation: %s", v)
				}
				if k == coordd && len(o.violations) > 0 {
					t.Errorf("%d violations", len(o.violations))
				}
			})
		}
		for _, l := range newLines(f, results) {
			t.Log(l)
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("-faults %s: no fault is called that", *chosen)
	}
	t.Logf("\n%s%s", head, join(lines))
	if *page != "" {
		if err := updatePage(*page, lines); err != nil {
			t.Error(err)
		}
	}
}

// suffer does a fault to servers again and again.
func suffer(t *testing.T, k kind, f fault, rounds int, random func(int) int, seed uint64) outcome {
	s := newSite(t, k, f, random)
	var addrs []string
	for _, server := range s.servers {
		addrs = append(addrs, server.Addr())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	load, err := workload.Start(ctx, workload.Options{Servers: addrs, Clients: 6, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	s.load = load
	stopped := false
	defer func() {
		if !stopped { // the test failed; its goroutines end with it
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			s.recover()
			_, _ = load.Stop(ended)
		}
	}()
	var o outcome
	for round := range rounds {
		figures := s.round(f)
		o.rounds = append(o.rounds, figures)
		t.Logf("round %d: %+v", round, figures)
	}
	load.Calm()
	stopped = true
	ending, cancelEnding := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancelEnding()
	h, err := load.Stop(ending)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range history.Check(h) {
		s.violation(v.String())
	}
	o.violations = s.violations
	return o
}

// round does a fault once and measures until all is as it was.
func (s *site) round(f fault) workload.Figures {
	s.t.Helper()
	s.whole()
	s.load.Home()
	s.whole()
	s.resumed(s.load.Now()) // a server that was cut off may lag behind for a while
	time.Sleep(time.Duration(1000+s.random(300)) * time.Millisecond)
	from := s.load.Now()
	failed := f.do(s)
	time.Sleep(f.lasts)
	if !f.whole {
		s.resumed(s.load.Now() - f.lasts)
	}
	s.recover()
	s.whole()
	s.resumed(s.load.Now())
	time.Sleep(time.Second)
	h := s.load.Snapshot()
	return workload.Measure(&h, from, s.load.Now(), func(server int) bool { return slices.Contains(failed, server) })
}

// resumed waits until each client has written what it began behind a moment, or
// a while has passed: some servers keep clients that they do not serve.
func (s *site) resumed(since time.Duration) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		h := s.load.Snapshot()
		wrote := map[int]bool{}
		for i := len(h.Ops) - 1; i >= 0 && h.Ops[i].Ended > since; i-- {
			if op := &h.Ops[i]; op.Client >= 0 && op.Kind == history.Write && op.Outcome == history.OK && op.Began > since {
				wrote[op.Client] = true
			}
		}
		if len(wrote) == 6 {
			return
		}
	}
	s.t.Logf("%s: some clients have not written for %v", s.kind, patience)
}

func (s *site) violation(what string) { s.violations = append(s.violations, what) }
