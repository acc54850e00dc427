package main

import "testing"

func TestCollectorPercent(t *testing.T) {
	for name, c := range map[string]struct {
		liveMiB   uint64
		now, want int
	}{
		"at the start":        {0, 0, smallHeapPercent},
		"a million znodes":    {400, smallHeapPercent, smallHeapPercent},
		"ten million":         {2600, smallHeapPercent, largeHeapPercent},
		"at the border, up":   {800, smallHeapPercent, smallHeapPercent},
		"at the border, down": {800, largeHeapPercent, largeHeapPercent},
		"down again":          {300, largeHeapPercent, smallHeapPercent},
	} {
		if got := collectorPercent(c.liveMiB<<20, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
