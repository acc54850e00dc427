package suites

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/outcomes"
)

// Short names of outcomes.
const (
	pass = outcomes.Pass
	skip = outcomes.Skip
	fail = outcomes.Fail
)

type results = outcomes.Outcomes

// pytestName is a test's name as pytest calls it, module.py::Class::test.
func pytestName(class, name string) string {
	module, class, _ := strings.Cut(class, ".")
	if class == "" {
		return module + ".py::" + name
	}
	return module + ".py::" + strings.ReplaceAll(class, ".", "::") + "::" + name
}

// readTest2JSON reads what `go tool test2json` writes, as readJUnit does. A test
// that started and did not end, since the process died, has failed.
func readTest2JSON(r io.Reader) (o results, reasons map[string]string, err error) {
	o, reasons = results{}, map[string]string{}
	running := map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, nil, fmt.Errorf("read test2json's report: %w", err)
		}
		if event.Test == "" {
			continue
		}
		switch event.Action {
		case "run":
			running[event.Test] = true
		case "output":
			reasons[event.Test] += event.Output
		case pass, skip, fail:
			delete(running, event.Test)
			o.Add(event.Test, event.Action)
		}
	}
	for test := range running {
		o.Add(test, fail)
	}
	return o, reasons, lines.Err()
}

// readLibtest reads what the tests of a Rust crate print. Behind the last of them
// stands what those that failed printed.
func readLibtest(r io.Reader) (o results, reasons map[string]string, err error) {
	o, reasons = results{}, map[string]string{}
	outcome := map[string]string{"ok": pass, "ignored": skip, "FAILED": fail}
	var failed string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "---- "); ok {
			failed, _, _ = strings.Cut(name, " ")
			continue
		}
		name, said, ok := strings.Cut(strings.TrimPrefix(line, "test "), " ... ")
		if ok && strings.HasPrefix(line, "test ") && outcome[said] != "" {
			name, _, _ = strings.Cut(name, " - ") // "should panic"
			o.Add(name, outcome[said])
		} else if failed != "" {
			reasons[failed] += line + "\n"
		}
	}
	return o, reasons, lines.Err()
}

// cppUnitName begins what CppUnit's BriefTestProgressListener says of a test. A
// log line may follow at once, with a date or "Log Message" at its start.
var cppUnitName = regexp.MustCompile(`(\w+::test\w+?)(?:\d{4}-|Log Message|\W)`)

// readCppUnit reads what a program with CppUnit tests prints. The programs print
// lines of their own in between. A test that did not end, since the process died,
// has failed, and so has one that ended otherwise than with OK.
func readCppUnit(text string) (o results, reasons map[string]string) {
	o, reasons = results{}, map[string]string{}
	names := cppUnitName.FindAllStringSubmatchIndex(text, -1)
	for i, at := range names {
		end := len(text)
		if i+1 < len(names) {
			end = names[i+1][2]
		}
		name, said := text[at[2]:at[3]], text[at[3]:end]
		if strings.Contains(said, " : OK\n") {
			o.Add(name, pass)
			continue
		}
		o.Add(name, fail)
		reasons[name] += said + text[max(end, len(text)-2000):] // the sentences stand at the end
	}
	return o, reasons
}

// verdict is what is wrong with got, a sentence each. later are the tests of
// the suite that are not to pass yet, with the reason.
func verdict(want, got results, later map[string]string) []string {
	var wrong []string
	tests, outcome := outcomes.Regressions(want, got, later)
	for i, test := range tests {
		wrong = append(wrong, fmt.Sprintf("%s: %s, and passes on ZooKeeper", test, outcome[i]))
	}
	for _, test := range slices.Sorted(maps.Keys(later)) {
		if got[test] == pass {
			wrong = append(wrong, fmt.Sprintf("%s: passes now; take it out of later.txt", test))
		}
	}
	if g, w := got.Count(skip), want.Count(skip); g > w {
		wrong = append(wrong, fmt.Sprintf("%d tests skipped, %d on ZooKeeper", g, w))
	}
	return wrong
}

func TestVerdict(t *testing.T) {
	want := results{"a": pass, "b": pass, "c": fail, "d": skip, "tls": pass}
	later := map[string]string{"tls": "TLS"}
	for name, test := range map[string]struct {
		got   results
		wrong string
	}{
		"the same":       {results{"a": pass, "b": pass, "c": fail, "d": skip, "tls": fail}, ""},
		"better":         {results{"a": pass, "b": pass, "c": pass, "d": pass, "tls": fail, "new": pass}, ""},
		"fails":          {results{"a": fail, "b": pass, "d": skip}, "a: fail, and passes on ZooKeeper"},
		"skipped":        {results{"a": pass, "b": skip}, "b: skip, and passes on ZooKeeper"},
		"missing":        {results{"a": pass}, "b: missing, and passes on ZooKeeper"},
		"more skips":     {results{"a": pass, "b": pass, "c": skip, "d": skip}, "2 tests skipped, 1 on ZooKeeper"},
		"later, but now": {results{"a": pass, "b": pass, "tls": pass}, "tls: passes now; take it out of later.txt"},
	} {
		if got := strings.Join(verdict(want, test.got, later), "; "); got != test.wrong {
			t.Errorf("%s: %q, want %q", name, got, test.wrong)
		}
	}
}

func TestPytestName(t *testing.T) {
	for want, of := range map[string][2]string{
		"test_a.py::TestA::test_x":   {"test_a.TestA", "test_x"},
		"test_b.py::test_y[1]":       {"test_b", "test_y[1]"},
		"test_c.py::A::B::test_deep": {"test_c.A.B", "test_deep"},
	} {
		if got := pytestName(of[0], of[1]); got != want {
			t.Errorf("%v: %s, want %s", of, got, want)
		}
	}
}

func TestReadTest2JSON(t *testing.T) {
	var report bytes.Buffer
	for _, line := range []string{
		`{"Action":"run","Test":"TestA"}`, `{"Action":"output","Test":"TestA","Output":"why\n"}`, `{"Action":"fail","Test":"TestA"}`,
		`{"Action":"run","Test":"TestB/x"}`, `{"Action":"pass","Test":"TestB/x"}`, `{"Action":"run","Test":"TestPanics"}`, `{"Action":"fail"}`,
	} {
		report.WriteString(line + "\n")
	}
	o, reasons, err := readTest2JSON(&report)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(o, results{"TestA": fail, "TestB/x": pass, "TestPanics": fail}) || reasons["TestA"] != "why\n" {
		t.Errorf("got %v, %v", o, reasons)
	}
}

func TestReadLibtest(t *testing.T) {
	o, reasons, err := readLibtest(strings.NewReader(`
running 4 tests
test test_a ... ok
test test_b::case_1 - should panic ... FAILED
test test_slow has been running for over 60 seconds
test test_c ... ignored

failures:

---- test_b::case_1 stdout ----
thread panicked
why

failures:
    test_b::case_1

test result: FAILED. 1 passed; 1 failed
`))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(o, results{"test_a": pass, "test_b::case_1": fail, "test_c": skip}) || !strings.HasPrefix(reasons["test_b::case_1"], "thread panicked\nwhy\n") {
		t.Errorf("got %v, %v", o, reasons)
	}
}

func TestReadCppUnit(t *testing.T) {
	o, reasons := readCppUnit(`
Running
Zookeeper_a::testOne : elapsed 0 : OK
Zookeeper_a::testLogs2022-01-01 12:00:00 connected
 : elapsed 1212 : OK
Zookeeper_a::testLogCallbackLog Message Received
 : elapsed 2 : OK
Zookeeper_a::testTwo : assertion : elapsed 3
Zookeeper_a::testThree server started
tests/TestA.cc:12: : equality assertion failed
`)
	want := results{"Zookeeper_a::testOne": pass, "Zookeeper_a::testLogs": pass, "Zookeeper_a::testLogCallback": pass, "Zookeeper_a::testTwo": fail, "Zookeeper_a::testThree": fail}
	if !maps.Equal(o, want) || !strings.Contains(reasons["Zookeeper_a::testTwo"], "equality assertion") {
		t.Errorf("got %v, %v", o, reasons)
	}
}
