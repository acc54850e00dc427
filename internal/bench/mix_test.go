package bench

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseMix(t *testing.T) {
	for text, want := range map[string]string{
		"get": "get", "get=5": "get", "get=90,set=10": "get=90,set=10", "sync+get,multi=3": "sync+get=1,multi=3",
		"": `"" is none of`, "got": `"got" is none of get, set,`, "get,get": "get is in", "get=0": "no weight", "get=x": "no weight", "get=-1,set": "no weight",
	} {
		mix, err := ParseMix(text)
		got := mix.String()
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for mix, want := range map[string]bool{"create": false, "delete,create-sequential-ephemeral": false, "create,get": true, "children": true} {
		if m, err := ParseMix(mix); err != nil || m.Keyed() != want {
			t.Errorf("%s: %v", mix, err)
		}
	}
}

func TestSpreads(t *testing.T) {
	counts := func(spread Spread) []int {
		choose := FlatKeys("/k", 100, spread).chooser(rand.New(rand.NewPCG(1, 2)))
		n := make([]int, 100)
		for range 100_000 {
			n[choose()]++
		}
		return n
	}
	for i, n := range counts(Uniform) {
		if n < 800 || n > 1200 {
			t.Errorf("uniform: key %d %d times in 100,000", i, n)
		}
	}
	if n := counts(One); n[0] != 100_000 {
		t.Errorf("one: %v", n)
	}
	// In proportion to 1/1, 1/2^1.1, 1/3^1.1 ...
	n := counts(Zipf)
	if ratio := float64(n[0]) / float64(n[1]); ratio < 2 || ratio > 2.3 {
		t.Errorf("zipf: %v", n)
	}
	if ratio := float64(n[0]) / float64(n[9]); ratio < 11 || ratio > 14.5 {
		t.Errorf("zipf: %v", n)
	}
}
