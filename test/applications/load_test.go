//go:build applications

package applications

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds a wait that is not the test's subject: on a busy machine a JVM
// needs a minute to start.
const patience = 3 * time.Minute

// load is an application's client that writes the numbers from 0, one after the
// other, until SIGTERM. It prints "MILLISECONDS written N" or "MILLISECONDS failed N
// REASON" for each.
type load struct {
	*program
	read chan struct{} // closed when all it printed is in answers, or err is set

	mu      sync.Mutex
	answers []answer
	err     error
}

// answer is what was learned of one write.
type answer struct {
	at      time.Time
	number  int
	failure string // empty when the write was acknowledged
}

func startLoad(t *testing.T, c command) *load {
	t.Helper()
	l := &load{program: c.startPiped(t), read: make(chan struct{})}
	go func() {
		defer close(l.read)
		lines := bufio.NewScanner(l.stdout)
		for lines.Scan() {
			a, err := parseAnswer(lines.Text())
			l.mu.Lock()
			if err != nil {
				l.err = err
			} else {
				l.answers = append(l.answers, a)
			}
			l.mu.Unlock()
		}
	}()
	return l
}

func parseAnswer(line string) (answer, error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 3 {
		return answer{}, fmt.Errorf("parse the load's %q: too short", line)
	}
	ms, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return answer{}, fmt.Errorf("parse the load's %q: %w", line, err)
	}
	number, err := strconv.Atoi(fields[2])
	if err != nil {
		return answer{}, fmt.Errorf("parse the load's %q: %w", line, err)
	}
	a := answer{at: time.UnixMilli(ms), number: number}
	if fields[1] != "written" {
		a.failure = line
	}
	return a, nil
}

// since returns the answers after a moment.
func (l *load) since(t *testing.T, start time.Time) []answer {
	t.Helper()
	l.alive(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		t.Fatal(l.err)
	}
	i := len(l.answers)
	for i > 0 && l.answers[i-1].at.After(start) {
		i--
	}
	return slices.Clone(l.answers[i:])
}

// acknowledged returns the times of the writes after a moment that were.
func (l *load) acknowledged(t *testing.T, start time.Time) []time.Time {
	t.Helper()
	var at []time.Time
	for _, a := range l.since(t, start) {
		if a.failure == "" {
			at = append(at, a.at)
		}
	}
	return at
}

// awaitWrites waits until n more writes are acknowledged.
func (l *load) awaitWrites(t *testing.T, n int, timeout time.Duration) {
	t.Helper()
	start := time.Now()
	eventually(t, timeout, fmt.Sprintf("%d more writes", n), func() error {
		if got := len(l.acknowledged(t, start)); got < n {
			return fmt.Errorf("%d were acknowledged", got)
		}
		return nil
	})
}

// longestWait is the longest time from a moment on in which no write was
// acknowledged.
func (l *load) longestWait(t *testing.T, start time.Time) time.Duration {
	t.Helper()
	var longest time.Duration
	for _, at := range append(l.acknowledged(t, start), time.Now()) {
		longest = max(longest, at.Sub(start))
		start = at
	}
	return longest
}

// end stops it after the write it is at.
func (l *load) end(t *testing.T) {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("end %s: %v", l.name, err)
	}
	select {
	case <-l.read:
	case <-time.After(patience):
		t.Fatalf("%s did not end within %v of SIGTERM", l.name, patience)
	}
}

// check compares what the application says is there, a number a line, with what
// it has acknowledged. Of a failed write nobody knows.
func (l *load) check(t *testing.T, found string) {
	t.Helper()
	there := map[int]int{}
	for _, line := range strings.Fields(found) {
		number, err := strconv.Atoi(line)
		if err != nil {
			t.Fatalf("parse what is there: %v", err)
		}
		there[number]++
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		t.Fatal(l.err)
	}
	written := map[int]bool{} // false: only failed
	failures := 0
	for i, a := range l.answers {
		written[a.number] = written[a.number] || a.failure == ""
		if a.failure != "" {
			failures++
			if i == 0 || l.answers[i-1].failure == "" {
				t.Log(a.failure) // those that follow say much the same
			}
		}
	}
	acknowledged := 0
	for number, ok := range written {
		if ok {
			acknowledged++
		}
		if ok && there[number] == 0 {
			t.Errorf("%d is lost", number)
		}
	}
	for number, times := range there {
		if _, known := written[number]; !known || times > 1 {
			t.Errorf("%d is there %d times, written by the load: %v", number, times, known)
		}
	}
	t.Logf("%s: %d writes acknowledged, %d attempts failed, %d found", l.name, acknowledged, failures, len(there))
}
