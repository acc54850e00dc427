package suites

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Outcomes of a test, from good to bad.
const (
	pass = "pass"
	skip = "skip"
	fail = "fail"
)

// outcomes are the results of one run of a suite, by the test's name.
type outcomes map[string]string

// add notes an outcome; the worst counts, since pytest reports a test whose
// teardown fails a second time.
func (o outcomes) add(test, outcome string) {
	order := []string{pass, skip, fail}
	if slices.Index(order, outcome) >= slices.Index(order, o[test]) {
		o[test] = outcome
	}
}

func (o outcomes) count(outcome string) int {
	n := 0
	for _, have := range o {
		if have == outcome {
			n++
		}
	}
	return n
}

// String has a line a test, sorted.
func (o outcomes) String() string {
	var b strings.Builder
	for _, test := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s %s\n", o[test], test)
	}
	return b.String()
}

// parseOutcomes reads what String writes.
func parseOutcomes(text string) (outcomes, error) {
	o := outcomes{}
	for line := range strings.Lines(text) {
		outcome, test, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !slices.Contains([]string{pass, skip, fail}, outcome) {
			return nil, fmt.Errorf("read outcomes: line %q", line)
		}
		o[test] = outcome
	}
	return o, nil
}

// readJUnit reads the XML that pytest writes. A test is named as pytest calls
// it, module.py::Class::test, and reasons has what it says about those that failed.
func readJUnit(r io.Reader) (o outcomes, reasons map[string]string, err error) {
	type outcome struct {
		Text string `xml:",chardata"`
	}
	var report struct {
		Cases []struct {
			Class   string   `xml:"classname,attr"`
			Name    string   `xml:"name,attr"`
			Failure *outcome `xml:"failure"`
			Error   *outcome `xml:"error"`
			Skipped *outcome `xml:"skipped"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.NewDecoder(r).Decode(&report); err != nil {
		return nil, nil, fmt.Errorf("read pytest's report: %w", err)
	}
	o, reasons = outcomes{}, map[string]string{}
	for _, c := range report.Cases {
		module, class, _ := strings.Cut(c.Class, ".")
		test := module + ".py::"
		if class != "" {
			test += strings.ReplaceAll(class, ".", "::") + "::"
		}
		test += c.Name
		switch {
		case c.Failure != nil:
			o.add(test, fail)
			reasons[test] += c.Failure.Text
		case c.Error != nil:
			o.add(test, fail)
			reasons[test] += c.Error.Text
		case c.Skipped != nil:
			o.add(test, skip)
		default:
			o.add(test, pass)
		}
	}
	return o, reasons, nil
}

// readTest2JSON reads what `go tool test2json` writes, as readJUnit does. A test
// that started and did not end, since the process died, has failed.
func readTest2JSON(r io.Reader) (o outcomes, reasons map[string]string, err error) {
	o, reasons = outcomes{}, map[string]string{}
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
			o.add(event.Test, event.Action)
		}
	}
	for test := range running {
		o.add(test, fail)
	}
	return o, reasons, lines.Err()
}

// regressions are the tests that pass in want and do not in got.
func regressions(want, got outcomes) []string {
	var tests []string
	for test, outcome := range want {
		if outcome == pass && got[test] != pass {
			tests = append(tests, test)
		}
	}
	slices.Sort(tests)
	return tests
}

// verdict is what is wrong with got, a sentence each. later are the tests of
// the suite that are not to pass yet, with the reason.
func verdict(want, got outcomes, later map[string]string) []string {
	var wrong []string
	for _, test := range regressions(want, got) {
		if _, known := later[test]; known {
			continue
		}
		outcome := got[test]
		if outcome == "" {
			outcome = "missing"
		}
		wrong = append(wrong, fmt.Sprintf("%s: %s, and passes on ZooKeeper", test, outcome))
	}
	for _, test := range slices.Sorted(maps.Keys(later)) {
		if got[test] == pass {
			wrong = append(wrong, fmt.Sprintf("%s: passes now; take it out of later.txt", test))
		}
	}
	if g, w := got.count(skip), want.count(skip); g > w {
		wrong = append(wrong, fmt.Sprintf("%d tests skipped, %d on ZooKeeper", g, w))
	}
	return wrong
}

func TestVerdict(t *testing.T) {
	want := outcomes{"a": pass, "b": pass, "c": fail, "d": skip, "tls": pass}
	later := map[string]string{"tls": "TLS"}
	for name, test := range map[string]struct {
		got   outcomes
		wrong string
	}{
		"the same":       {outcomes{"a": pass, "b": pass, "c": fail, "d": skip, "tls": fail}, ""},
		"better":         {outcomes{"a": pass, "b": pass, "c": pass, "d": pass, "tls": fail, "new": pass}, ""},
		"fails":          {outcomes{"a": fail, "b": pass, "d": skip}, "a: fail, and passes on ZooKeeper"},
		"skipped":        {outcomes{"a": pass, "b": skip}, "b: skip, and passes on ZooKeeper"},
		"missing":        {outcomes{"a": pass}, "b: missing, and passes on ZooKeeper"},
		"more skips":     {outcomes{"a": pass, "b": pass, "c": skip, "d": skip}, "2 tests skipped, 1 on ZooKeeper"},
		"later, but now": {outcomes{"a": pass, "b": pass, "tls": pass}, "tls: passes now; take it out of later.txt"},
	} {
		if got := strings.Join(verdict(want, test.got, later), "; "); got != test.wrong {
			t.Errorf("%s: %q, want %q", name, got, test.wrong)
		}
	}
}

func TestOutcomesKeepTheWorst(t *testing.T) {
	for _, order := range [][]string{{pass, fail}, {fail, pass}, {fail, skip}} {
		o := outcomes{}
		for _, outcome := range order {
			o.add("t", outcome)
		}
		if o["t"] != fail {
			t.Errorf("%v: %s", order, o["t"])
		}
	}
}

func TestOutcomesAreReadBack(t *testing.T) {
	text := "fail a::b\nskip c d\npass e[1]\n"
	o, err := parseOutcomes(text)
	if err != nil || o["c d"] != skip || o.String() != text {
		t.Errorf("%v, %v", o, err)
	}
	if _, err := parseOutcomes("perhaps a\n"); err == nil {
		t.Error("an unknown outcome is taken")
	}
}

func TestReadJUnit(t *testing.T) {
	o, reasons, err := readJUnit(strings.NewReader(`<testsuites><testsuite>
<testcase classname="test_a.TestA" name="test_pass"/>
<testcase classname="test_a.TestA" name="test_fail"><failure message="m">why</failure></testcase>
<testcase classname="test_a.TestA" name="test_error"><error>no cluster</error></testcase>
<testcase classname="test_b" name="test_skip[x]"><skipped/></testcase>
<testcase classname="test_b" name="test_teardown"/>
<testcase classname="test_b" name="test_teardown"><error>left over</error></testcase>
</testsuite></testsuites>`))
	if err != nil {
		t.Fatal(err)
	}
	want := outcomes{"test_a.py::TestA::test_pass": pass, "test_a.py::TestA::test_fail": fail, "test_a.py::TestA::test_error": fail,
		"test_b.py::test_skip[x]": skip, "test_b.py::test_teardown": fail}
	if !maps.Equal(o, want) || reasons["test_a.py::TestA::test_fail"] != "why" {
		t.Errorf("got %v, %v", o, reasons)
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
	if !maps.Equal(o, outcomes{"TestA": fail, "TestB/x": pass, "TestPanics": fail}) || reasons["TestA"] != "why\n" {
		t.Errorf("got %v, %v", o, reasons)
	}
}
