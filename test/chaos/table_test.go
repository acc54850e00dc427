//go:build chaos

package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
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
	time.Sleep(time.Duration(1000+s.random(300)) * time.Millisecond)
	from := s.load.Now()
	failed := f.do(s)
	time.Sleep(f.lasts)
	if !f.whole {
		s.resumed(s.load.Now() - f.lasts)
	}
	s.recover()
	s.whole()
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

// line is one row of the table.
type line struct {
	name, kind string // what makes it that row
	cells      []string
}

func (l line) String() string {
	return "| " + l.name + " | " + l.kind + " | " + strings.Join(l.cells, " | ") + " |"
}

// columns are those of the load's figures, with the violations among them.
var columns = append(slices.Insert(slices.Clone(workload.Columns), 2, "violations"), "target")

var head = "| fault | | " + strings.Join(columns, " | ") + " |\n" + strings.Repeat("| --- ", len(columns)+2) + "|\n"

func join(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

func writesOfOthers(f workload.Figures) time.Duration { return f.Write.Others }

func newLines(f fault, results map[kind]outcome) (lines []line) {
	for _, k := range []kind{coordd, zookeeper} {
		o, ok := results[k]
		if !ok || len(o.rounds) == 0 {
			if k == zookeeper && f.alone {
				lines = append(lines, line{f.name, string(k), slices.Repeat([]string{"–"}, len(columns))})
			}
			continue
		}
		verdict := "–"
		if k == coordd {
			verdict = f.verdict(o, results[zookeeper])
		}
		cells := slices.Insert(workload.Cells(o.rounds), 2, fmt.Sprint(len(o.violations)))
		lines = append(lines, line{f.name, string(k), append(cells, verdict)})
	}
	return lines
}

// verdict compares coordd's outcome with the aim, and with ZooKeeper's.
func (f fault) verdict(o, theirs outcome) string {
	var missed []string
	check := func(met bool, what string) {
		if !met {
			missed = append(missed, what)
		}
	}
	median, longest := workload.Over(o.rounds, writesOfOthers)
	if len(theirs.rounds) > 0 {
		otherMedian, otherLongest := workload.Over(theirs.rounds, writesOfOthers)
		if f.aim.median > 0 {
			check(median.Seconds() <= f.aim.median*otherMedian.Seconds(), fmt.Sprintf("median ≤ %g × ZooKeeper's", f.aim.median))
		}
		if f.aim.longest > 0 {
			check(longest.Seconds() <= f.aim.longest*otherLongest.Seconds(), fmt.Sprintf("longest ≤ %g × ZooKeeper's", f.aim.longest))
		}
	}
	for _, r := range o.rounds {
		if f.aim.everybody {
			longest = max(longest, r.Write.Failed)
		}
	}
	if f.aim.gap > 0 {
		check(longest <= f.aim.gap, "≤ "+workload.Short(f.aim.gap))
	}
	for _, r := range o.rounds {
		if f.aim.unfailing {
			check(r.Refused+r.Unanswered == 0, "no failed request")
		}
		check(r.LossesAtOthers == 0, "no connection lost")
		check(r.WronglyExpired == 0, "none wrongly expired")
	}
	if slices.Sort(missed); len(missed) > 0 {
		return "**missed**: " + strings.Join(slices.Compact(missed), "; ")
	}
	return "met"
}

const (
	beginMark = "<!-- chaos: begin -->\n"
	endMark   = "<!-- chaos: end -->\n"
)

// mergePage puts lines into the table between the marks, in the order of faults,
// over those of the same name.
func mergePage(text, how string, lines []line) (string, error) {
	before, rest, found := strings.Cut(text, beginMark)
	old, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return "", errors.New("it has no marks for the table")
	}
	rows := map[[2]string]line{}
	for row := range strings.Lines(old) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), " | "); len(cells) == len(columns)+2 {
			l := line{strings.TrimSpace(cells[0]), cells[1], cells[2:]}
			last := len(l.cells) - 1
			l.cells[last] = strings.TrimSpace(l.cells[last])
			rows[[2]string{l.name, l.kind}] = l
		}
	}
	for _, l := range lines {
		rows[[2]string{l.name, l.kind}] = l
	}
	var merged []line
	for _, f := range allFaults() {
		for _, k := range []kind{coordd, zookeeper} {
			if l, ok := rows[[2]string{f.name, string(k)}]; ok {
				merged = append(merged, l)
			}
		}
	}
	return before + beginMark + how + "\n" + head + join(merged) + endMark + after, nil
}

func updatePage(path string, lines []line) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	merged, err := mergePage(string(text), howMeasured(), lines)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(merged), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func howMeasured() string {
	revision := "unknown"
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		revision = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("Last on %s, %d cores, coordd at %s, ZooKeeper 3.9.4: `make chaos`, `-faults '%s' -rounds %d`.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), revision, *chosen, *rounds)
}
