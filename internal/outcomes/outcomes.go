// Package outcomes holds what came of the tests of other projects' suites: read
// from their reports, kept in files, and held against each other. What a server
// is to be blamed for is left to those who run a suite. Tables that programs write
// into pages are kept here too.
package outcomes

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Outcomes of a test, from good to bad.
const (
	Pass = "pass"
	Skip = "skip"
	Fail = "fail"
)

// Missing is what Regressions says of a test that has no outcome.
const Missing = "missing"

var order = []string{Pass, Skip, Fail}

// Outcomes are the results of one run of a suite, by the test's name.
type Outcomes map[string]string

// Add notes an outcome; the worst counts, since pytest reports a test whose
// teardown fails a second time.
func (o Outcomes) Add(test, outcome string) {
	if slices.Index(order, outcome) >= slices.Index(order, o[test]) {
		o[test] = outcome
	}
}

// Count is how many tests have an outcome.
func (o Outcomes) Count(outcome string) int {
	n := 0
	for _, have := range o {
		if have == outcome {
			n++
		}
	}
	return n
}

// Below are the tests whose names begin with prefix.
func (o Outcomes) Below(prefix string) Outcomes {
	some := Outcomes{}
	for test, outcome := range o {
		if strings.HasPrefix(test, prefix) {
			some[test] = outcome
		}
	}
	return some
}

// String has a line a test, sorted.
func (o Outcomes) String() string {
	var b strings.Builder
	for _, test := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s %s\n", o[test], test)
	}
	return b.String()
}

// Parse reads what String writes.
func Parse(text string) (Outcomes, error) {
	o := Outcomes{}
	for line := range strings.Lines(text) {
		outcome, test, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !slices.Contains(order, outcome) {
			return nil, fmt.Errorf("read outcomes: line %q", line)
		}
		o[test] = outcome
	}
	return o, nil
}

// Regressions are the tests that pass in want and do not in got, sorted, but
// for those in known; each with what came of it.
func Regressions(want, got Outcomes, known map[string]string) (tests, outcome []string) {
	for _, test := range slices.Sorted(maps.Keys(want)) {
		if _, ok := known[test]; ok || want[test] != Pass || got[test] == Pass {
			continue
		}
		tests = append(tests, test)
		if got[test] == "" {
			outcome = append(outcome, Missing)
		} else {
			outcome = append(outcome, got[test])
		}
	}
	return tests, outcome
}

// junitCase is one test of a report.
type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Failure *junitText `xml:"failure"`
	Error   *junitText `xml:"error"`
	Skipped *junitText `xml:"skipped"`
}

type junitText struct {
	Text string `xml:",chardata"`
}

// ReadJUnit reads the XML that JUnit and pytest write; name makes a test's name
// of its class and its own. reasons has what is said about those that failed.
func ReadJUnit(r io.Reader, name func(class, name string) string) (o Outcomes, reasons map[string]string, err error) {
	var report struct {
		Own    []junitCase `xml:"testcase"`
		Suites []junitCase `xml:"testsuite>testcase"`
	}
	if err := xml.NewDecoder(r).Decode(&report); err != nil {
		return nil, nil, fmt.Errorf("read JUnit's report: %w", err)
	}
	o, reasons = Outcomes{}, map[string]string{}
	for _, c := range slices.Concat(report.Own, report.Suites) {
		test := name(c.Class, c.Name)
		switch {
		case c.Failure != nil:
			o.Add(test, Fail)
			reasons[test] += c.Failure.Text
		case c.Error != nil:
			o.Add(test, Fail)
			reasons[test] += c.Error.Text
		case c.Skipped != nil:
			o.Add(test, Skip)
		default:
			o.Add(test, Pass)
		}
	}
	return o, reasons, nil
}
