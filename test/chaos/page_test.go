//go:build chaos

package chaos

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/outcomes"
	"github.com/coordd/coordd/internal/workload"
)

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
	return outcomes.Between(text, beginMark, endMark, merge(how, lines))
}

func updatePage(path string, lines []line) error {
	return outcomes.Rewrite(path, beginMark, endMark, merge(howMeasured(), lines))
}

func merge(how string, lines []line) func(old string) string {
	return func(old string) string {
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
		return how + "\n" + head + join(merged)
	}
}

func howMeasured() string {
	return fmt.Sprintf("Last on %s, %d cores, coordd at %s, ZooKeeper 3.9.4: `make chaos`, `-faults '%s' -rounds %d`.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), outcomes.Revision(), *chosen, *rounds)
}

func TestVerdict(t *testing.T) {
	const ms = time.Millisecond
	rounds := func(all ...workload.Figures) outcome { return outcome{rounds: all} }
	gap := func(others, failed time.Duration) workload.Figures {
		return workload.Figures{Write: workload.Gap{Others: others * ms, Failed: failed * ms}}
	}
	theirs := rounds(gap(1000, 0), gap(2000, 0), gap(1000, 0))
	for _, tt := range []struct {
		name string
		aim  aim
		o    outcome
		want string
	}{
		{"no aim", aim{}, rounds(gap(5000, 5000)), "met"},
		{"median", aim{median: 0.1}, rounds(gap(100, 0), gap(5000, 0), gap(100, 0)), "met"},
		{"median", aim{median: 0.1}, rounds(gap(101, 0), gap(0, 0), gap(5000, 0)), "**missed**: median ≤ 0.1 × ZooKeeper's"},
		{"longest", aim{longest: 0.5}, rounds(gap(1000, 0), gap(0, 0)), "met"},
		{"longest", aim{longest: 0.5}, rounds(gap(1001, 0), gap(0, 0)), "**missed**: longest ≤ 0.5 × ZooKeeper's"},
		{"gap", aim{gap: 50 * ms}, rounds(gap(50, 60), gap(0, 0)), "met"},
		{"gap", aim{gap: 50 * ms}, rounds(gap(51, 0)), "**missed**: ≤ 50 ms"},
		{"gap of everybody", aim{gap: 50 * ms, everybody: true}, rounds(gap(50, 0), gap(50, 60)), "**missed**: ≤ 50 ms"},
		{"requests", aim{}, rounds(workload.Figures{Unanswered: 1}), "met"},
		{"requests", aim{unfailing: true}, rounds(workload.Figures{Unanswered: 1}), "**missed**: no failed request"},
		{"requests", aim{unfailing: true}, rounds(workload.Figures{Refused: 1}), "**missed**: no failed request"},
		{"connections", aim{}, rounds(workload.Figures{LossesAtOthers: 1}, workload.Figures{LossesAtOthers: 1}), "**missed**: no connection lost"},
		{"sessions", aim{}, rounds(workload.Figures{WronglyExpired: 1}), "**missed**: none wrongly expired"},
	} {
		if got := (fault{aim: tt.aim}).verdict(tt.o, theirs); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMergePage(t *testing.T) {
	var all []line
	for _, f := range allFaults() {
		all = append(all, newLines(f, map[kind]outcome{coordd: {rounds: make([]workload.Figures, 1)}, zookeeper: {rounds: make([]workload.Figures, 2)}})...)
	}
	page := "before\n" + beginMark + "gone\n" + head + strings.Replace(all[0].String(), "none", "a fault of the past", 1) + "\n" + endMark + "after\n"
	page, err := mergePage(page, "first", []line{all[2], all[0]})
	if err != nil {
		t.Fatal(err)
	}
	fresh := all[2]
	fresh.cells = slices.Clone(fresh.cells)
	fresh.cells[0] = "99"
	page, err = mergePage(page, "second", []line{all[1], fresh})
	want := "before\n" + beginMark + "second\n" + head + all[0].String() + "\n" + all[1].String() + "\n" + fresh.String() + "\n" + endMark + "after\n"
	if err != nil || page != want {
		t.Errorf("%v\n%s\nwant\n%s", err, page, want)
	}
	if _, err := mergePage("nothing", "", nil); err == nil {
		t.Error("a page without marks was taken")
	}
}
