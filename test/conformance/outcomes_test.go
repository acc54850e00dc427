//go:build conformance

package conformance

import (
	"fmt"
	"maps"
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

// javaName is a test's name, class.method().
func javaName(class, name string) string { return class + "." + name }

// races begins the reason why a test fails now and then, on ZooKeeper as well.
const races = "races: "

// verdict is what is wrong with got, a sentence each: whatever passes in want
// has to pass. other has the tests that are not to, and why.
func verdict(want, got results, other map[string]string) []string {
	var wrong []string
	tests, outcome := outcomes.Regressions(want, got, other)
	for i, test := range tests {
		wrong = append(wrong, fmt.Sprintf("%s: %s, and passes on ZooKeeper", test, outcome[i]))
	}
	for _, test := range slices.Sorted(maps.Keys(got)) {
		if got[test] == pass && other[test] != "" && !strings.HasPrefix(other[test], races) {
			wrong = append(wrong, fmt.Sprintf("%s: passes, although it is said not to: %s", test, other[test]))
		}
	}
	return wrong
}

func TestVerdict(t *testing.T) {
	want := results{"a": pass, "b": pass, "c": fail, "d": skip, "jmx": pass, "flaky": pass}
	other := map[string]string{"jmx": "asks for a JMX bean", "flaky": races + "looks too early"}
	for name, test := range map[string]struct {
		got   results
		wrong string
	}{
		"the same":           {results{"a": pass, "b": pass, "c": fail, "d": skip, "jmx": fail, "flaky": fail}, ""},
		"better":             {results{"a": pass, "b": pass, "c": pass, "d": pass, "jmx": skip, "flaky": pass, "new": pass}, ""},
		"fails":              {results{"a": fail, "b": pass}, "a: fail, and passes on ZooKeeper"},
		"skipped":            {results{"a": pass, "b": skip}, "b: skip, and passes on ZooKeeper"},
		"missing":            {results{"a": pass}, "b: missing, and passes on ZooKeeper"},
		"an exception fades": {results{"a": pass, "b": pass, "jmx": pass}, "jmx: passes, although it is said not to: asks for a JMX bean"},
	} {
		if got := strings.Join(verdict(want, test.got, other), "; "); got != test.wrong {
			t.Errorf("%s: %q, want %q", name, got, test.wrong)
		}
	}
}
