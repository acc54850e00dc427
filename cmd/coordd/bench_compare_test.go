package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/bench"
)

func TestParseTargets(t *testing.T) {
	for _, tc := range []struct {
		values []string // as the flag splits them
		want   []string // name and servers
		err    string
	}{
		{nil, nil, ""},
		{[]string{"a=h:1", "b=h:2"}, []string{"a h:1", "b h:2"}, ""},
		{[]string{"a=h:1", "h:2", "h:3", "b=i:1", "i:2"}, []string{"a h:1 h:2 h:3", "b i:1 i:2"}, ""},
		{[]string{"h:1", "b=h:2"}, nil, `--compare: "h:1" is not NAME=HOST:PORT or NAME=HOST:PORT,HOST:PORT`},
		{[]string{"=h:1", "b=h:2"}, nil, `--compare: "=h:1" is not NAME=HOST:PORT or NAME=HOST:PORT,HOST:PORT`},
		{[]string{"a=", "b=h:2"}, nil, `--compare: "a=" is not NAME=HOST:PORT or NAME=HOST:PORT,HOST:PORT`},
		{[]string{"a=h:1", "a=h:2"}, nil, "--compare: a is there twice"},
		{[]string{"a=h:1", "b=h:1"}, nil, "--compare: h:1 is there twice"},
		{[]string{"a=h:1"}, nil, "--compare: there is nothing to compare with: give it twice or more"},
	} {
		targets, err := parseTargets(tc.values)
		var got []string
		for _, target := range targets {
			got = append(got, target.name+" "+strings.Join(target.servers, " "))
		}
		said := ""
		if err != nil {
			said, got = err.Error(), nil
		}
		if !slices.Equal(got, tc.want) || said != tc.err {
			t.Errorf("%q: %q, %q, want %q, %q", tc.values, got, said, tc.want, tc.err)
		}
	}
}

func TestBenchMatchTakesMedians(t *testing.T) {
	rounds := func(opsPerSecond ...float64) (all []*benchResult) {
		for _, ops := range opsPerSecond {
			all = append(all, &benchResult{Result: &bench.Result{Line: bench.Line{OpsPerSecond: ops, P50Us: 1e6 / ops, P99Us: 2e6 / ops, P999Us: 3e6 / ops}}})
		}
		return all
	}
	slow := rounds(10, 1000, 20)
	slow[1].Errors, slow[1].FirstError = 3, "b:1: gone"
	m := newBenchMatch("get", []benchTarget{{name: "a"}, {name: "b"}, {name: "c"}}, [][]*benchResult{rounds(300, 100, 101), slow, rounds(40, 10)})
	if a, b, c := m.Targets[0], m.Targets[1], m.Targets[2]; a.OpsPerSecond != 101 || b.OpsPerSecond != 20 || b.P50Us != 50000 || b.Ratio != 5.05 || b.Errors != 3 || c.OpsPerSecond != 25 {
		t.Errorf("%+v %+v %+v", a, b, c)
	}
	var out bytes.Buffer
	if err := (&benchComparison{Sessions: 1, Outstanding: 2, Size: 3, Keys: 4, Loads: []*benchMatch{m}}).writeTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"1 sessions, 2 outstanding, 3 bytes, 4 keys\n", "5.05", "10 1000 20", "first error of get at b: b:1: gone\n", "Medians of 3 rounds"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in\n%s", part, out.String())
		}
	}
}
