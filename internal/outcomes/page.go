package outcomes

import (
	"fmt"
	"os"
	"os/exec"
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
	if err := Rewrite(page, tableBegins+"\n", tableEnds, r.in); err != nil {
		return fmt.Errorf("write the row of %s: %w", r.Suite, err)
	}
	return nil
}

// in is a page's table with the row in it.
func (r Row) in(table string) string {
	rows := []string{r.String()}
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| suite ") && !strings.HasPrefix(line, "| --- ") &&
			!strings.HasPrefix(line, "| "+r.Suite+" |") {
			rows = append(rows, line)
		}
	}
	slices.Sort(rows)
	return "\n| suite | version | passed on ZooKeeper 3.9.4 | passed here | passed there, not here |\n| --- | --- | --- | --- | --- |\n" +
		strings.Join(rows, "\n") + "\n\n"
}

// Rewrite changes what stands between two marks of a page. Several processes may
// do so at once.
func Rewrite(page, begins, ends string, change func(old string) string) error {
	f, err := os.OpenFile(page, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the page: %w", err)
	}
	defer f.Close() // and with it goes the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", page, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	changed, err := Between(string(text), begins, ends, change)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.WriteFile(page, []byte(changed), 0o666); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// Between is text with what stands between two marks changed.
func Between(text, begins, ends string, change func(old string) string) (string, error) {
	before, rest, begun := strings.Cut(text, begins)
	old, after, ended := strings.Cut(rest, ends)
	if !begun || !ended {
		return "", fmt.Errorf("no lines %q and %q", strings.TrimSpace(begins), strings.TrimSpace(ends))
	}
	return before + begins + change(old) + ends + after, nil
}

// Revision is the commit of the tree, with a + where the code has changed since.
func Revision() string {
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	changed, err := exec.Command("git", "status", "--porcelain", "--", ":/*.go", ":/go.mod").Output()
	if err != nil || len(changed) > 0 {
		return strings.TrimSpace(string(commit)) + "+"
	}
	return strings.TrimSpace(string(commit))
}
