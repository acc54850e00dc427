package outcomes

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Lines of a page between which its table of suites stands.
const (
	tableBegins = "<!-- suites begin: written by make conformance -->"
	tableEnds   = "<!-- suites end -->"
)

// Row is what a page says of one suite.
type Row struct {
	Suite   string // as a reader knows it; one row each
	Version string
	There   Outcomes // on a real ZooKeeper 3.9.4
	Here    Outcomes
	List    string // file that says why some pass there and not here, a link on the page
}

func (r Row) String() string {
	missing := 0
	for test, outcome := range r.There {
		if outcome == Pass && r.Here[test] != Pass {
			missing++
		}
	}
	not := "none"
	if missing > 0 {
		not = fmt.Sprintf("[%d](%s)", missing, r.List)
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %s |", r.Suite, r.Version, r.There.Count(Pass), r.Here.Count(Pass), not)
}

// Write puts the row into the table of a page, in place of the suite's row before,
// or in the order of the alphabet. Several processes may do so at once.
func (r Row) Write(page string) error {
	f, err := os.OpenFile(page, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("write the row of %s: %w", r.Suite, err)
	}
	defer f.Close() // and with it goes the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", page, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("write the row of %s: %w", r.Suite, err)
	}
	changed, err := r.in(string(text))
	if err != nil {
		return fmt.Errorf("write the row of %s into %s: %w", r.Suite, page, err)
	}
	if err := os.WriteFile(page, []byte(changed), 0o666); err != nil {
		return fmt.Errorf("write the row of %s: %w", r.Suite, err)
	}
	return nil
}

// in is a page's text with the row in its table.
func (r Row) in(text string) (string, error) {
	before, rest, begins := strings.Cut(text, tableBegins+"\n")
	table, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", fmt.Errorf("no lines %q and %q", tableBegins, tableEnds)
	}
	rows := []string{r.String()}
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| suite ") && !strings.HasPrefix(line, "| --- ") &&
			!strings.HasPrefix(line, "| "+r.Suite+" |") {
			rows = append(rows, line)
		}
	}
	slices.Sort(rows)
	return before + tableBegins + "\n\n" +
		"| suite | version | passed on ZooKeeper 3.9.4 | passed here | passed there, not here |\n| --- | --- | --- | --- | --- |\n" +
		strings.Join(rows, "\n") + "\n\n" + tableEnds + after, nil
}
