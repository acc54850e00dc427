//go:build bench

package bench

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/outcomes"
)

// unit is how a figure is written.
type unit func(float64) string

func plain(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func perSecond(v float64) string { return fmt.Sprintf("%.0f/s", v) }

func seconds(v float64) string { return fmt.Sprintf("%.3g s", v) }

func milliseconds(v float64) string { return plain(v) + " ms" }

func microseconds(v float64) string {
	if v >= 1000 {
		return milliseconds(v / 1000)
	}
	return fmt.Sprintf("%.0f µs", v)
}

func bytes(v float64) string { return fmt.Sprintf("%.0f B", v) }

func mebibytes(v float64) string { return plain(v/(1<<20)) + " MiB" }

// line is one row with its figures, in cells.
type line struct {
	name, coordd, zookeeper, ratio, target, verdict, load, revision string
}

func (l line) String() string {
	return "| " + strings.Join([]string{l.name, l.coordd, l.zookeeper, l.ratio, l.target, l.verdict, l.load, l.revision}, " | ") + " |"
}

const head = "| | coordd | ZooKeeper | ratio | target | | cores of the load program | at |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"

// medianOf is a figure's median over rounds; false where it was not measured.
func medianOf(runs []figures, figure string) (float64, bool) {
	var all []float64
	for _, f := range runs {
		if v, ok := f[figure]; ok {
			all = append(all, v)
		}
	}
	if all == nil {
		return 0, false
	}
	return bench.Median(all), true
}

// newLine takes medians, each side's for itself.
func newLine(s *scenario, r row, runs map[kind][]figures) line {
	ours, measured := medianOf(runs[coordd], r.figure)
	theirs, compared := medianOf(runs[zookeeper], r.figure)
	l := line{name: s.rowName(r), coordd: r.unit(ours), zookeeper: "–", ratio: "–", target: "–", verdict: "–", load: "–", revision: outcomes.Revision()}
	ratio := 0.0
	if compared {
		l.zookeeper = r.unit(theirs)
		if theirs > 0 {
			ratio = ours / theirs
			l.ratio = fmt.Sprintf("%.3g", ratio)
		}
	}
	if own, ok := medianOf(runs[coordd], "load"); ok {
		l.load = fmt.Sprintf("%.2g", own)
		if other, ok := medianOf(runs[zookeeper], "load"); ok {
			l.load += fmt.Sprintf(", %.2g", other)
		}
	}
	met := false
	switch r.compare {
	case shown:
		return l
	case ratioAtLeast:
		l.target, met = fmt.Sprintf("≥ %g ×", r.target), compared && ratio >= r.target
	case ratioAtMost:
		l.target, met = fmt.Sprintf("≤ %g ×", r.target), compared && theirs > 0 && ratio <= r.target
	case atMost:
		l.target, met = "≤ "+r.limit(), ours <= r.scaledTarget()
	}
	l.verdict = "**missed**"
	if met && measured {
		l.verdict = "met"
	}
	return l
}

// scaledTarget is the target in the figure's own unit: bytes for mebibytes.
func (r row) scaledTarget() float64 {
	if r.unit(1<<20) == mebibytes(1<<20) {
		return r.target * (1 << 20)
	}
	return r.target
}

func (r row) limit() string { return r.unit(r.scaledTarget()) }

// inOrder sorts lines as the table of scenarios has them; what is no longer
// there is dropped.
func inOrder(lines []line) []line {
	place := make(map[string]int)
	for _, s := range scenarios() {
		for _, r := range s.rows {
			place[s.rowName(r)] = len(place) + 1
		}
	}
	lines = slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return place[l.name] == 0 })
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(place[a.name], place[b.name]) })
	return lines
}

func writeTable(lines []line) string {
	var b strings.Builder
	b.WriteString(head)
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

const (
	beginMark = "<!-- table: begin -->\n"
	endMark   = "<!-- table: end -->\n"
)

// mergePage puts lines into the table between the marks, over those of the
// same name, below a new text on how they were measured.
func mergePage(text, how string, lines []line) (string, error) {
	return outcomes.Between(text, beginMark, endMark, merge(how, lines))
}

func updatePage(path string, lines []line) error {
	return outcomes.Rewrite(path, beginMark, endMark, merge(howMeasured(), lines))
}

func merge(how string, lines []line) func(old string) string {
	return func(old string) string {
		merged, known := slices.Clone(lines), make(map[string]bool)
		for _, l := range lines {
			known[l.name] = true
		}
		for row := range strings.Lines(old) {
			cells := strings.Split(strings.TrimSpace(row), " | ")
			if len(cells) != 8 {
				continue
			}
			name := strings.TrimPrefix(cells[0], "| ")
			if !known[name] {
				merged = append(merged, line{name, cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], strings.TrimSuffix(cells[7], " |")})
			}
		}
		return how + "\n" + writeTable(inOrder(merged))
	}
}

// howMeasured names the machine, the versions and the command.
func howMeasured() string {
	said := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return "unknown"
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return strings.Join(strings.Fields(first), " ")
	}
	model := "unknown CPU"
	if cpuinfo, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, found := strings.Cut(string(cpuinfo), "model name"); found {
			value, _, _ := strings.Cut(rest, "\n")
			model = strings.Trim(value, "\t :")
		}
	}
	command := fmt.Sprintf("make bench ROUNDS=%d DURATION=%v", *rounds, *duration)
	if *chosen != "" {
		command += fmt.Sprintf(" ROW='%s'", *chosen)
	}
	return fmt.Sprintf("Last on %s: %s, %d cores; %s; %s. %s; ZooKeeper 3.9.4 on %s, `%s`; coordd built with %s.\nCommand: `%s`. The last column is the revision of coordd.\n",
		time.Now().UTC().Format("2006-01-02"), model, runtime.NumCPU(), said("uname", "-sr"), said("findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "-T", os.TempDir()),
		"Data in "+os.TempDir(), said("java", "-version"), strings.TrimSpace(os.Getenv("SERVER_JVMFLAGS")), runtime.Version(), command)
}

func TestLines(t *testing.T) {
	s := &scenario{name: "get"}
	runs := map[kind][]figures{
		coordd:    {{"ops": 300, "load": 0.5, "mem": 2 << 20}, {"ops": 100, "mem": 2 << 20}, {"ops": 900, "mem": 2 << 20}},
		zookeeper: {{"ops": 100, "load": 0.25}, {"ops": 50}, {"ops": 2000}},
	}
	for want, r := range map[string]row{
		"| get: a | 300/s | 100/s | 3 | ≥ 3 × | met | 0.5, 0.25 |":          {"a", "ops", perSecond, ratioAtLeast, 3},
		"| get: b | 300/s | 100/s | 3 | ≥ 3.1 × | **missed** | 0.5, 0.25 |": {"b", "ops", perSecond, ratioAtLeast, 3.1},
		"| get: c | 300/s | 100/s | 3 | ≤ 3 × | met | 0.5, 0.25 |":          {"c", "ops", perSecond, ratioAtMost, 3},
		"| get: d | 2 MiB | – | – | ≤ 2 MiB | met | 0.5, 0.25 |":            {"d", "mem", mebibytes, atMost, 2},
		"| get: e | 2 MiB | – | – | ≤ 1.9 MiB | **missed** | 0.5, 0.25 |":   {"e", "mem", mebibytes, atMost, 1.9},
		"| get: f | 2 MiB | – | – | ≤ 0.5 × | **missed** | 0.5, 0.25 |":     {"f", "mem", mebibytes, ratioAtMost, 0.5},
		"| get: g | 300/s | 100/s | 3 | – | – | 0.5, 0.25 |":                {"g", "ops", perSecond, shown, 0},
		"| get: h | 0 | – | – | ≤ 5 | **missed** | 0.5, 0.25 |":             {"h", "none", plain, atMost, 5},
	} {
		if got := newLine(s, r, runs).String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestMergePage(t *testing.T) {
	var all []line
	for _, s := range scenarios() {
		for _, r := range s.rows {
			all = append(all, line{s.rowName(r), "1", "2", "3", "4", "met", "5", "old"})
		}
	}
	names := make(map[string]bool)
	for _, l := range all {
		if names[l.name] {
			t.Errorf("%s is there twice", l.name)
		}
		names[l.name] = true
	}
	page := "before\n" + beginMark + "gone\n" + head + "| a row of the past | 1 | 2 | 3 | 4 | met | 5 | x |\n" + endMark + "after\n"
	page, err := mergePage(page, "first", []line{all[2], all[0]})
	if err != nil {
		t.Fatal(err)
	}
	fresh := all[2]
	fresh.revision = "new"
	page, err = mergePage(page, "second", []line{all[1], fresh})
	want := "before\n" + beginMark + "second\n" + head + all[0].String() + "\n" + all[1].String() + "\n" + fresh.String() + "\n" + endMark + "after\n"
	if err != nil || page != want {
		t.Errorf("%v\n%s\nwant\n%s", err, page, want)
	}
	if _, err := mergePage("nothing", "", nil); err == nil {
		t.Error("a page without marks was taken")
	}
}
