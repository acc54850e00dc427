package workload

import (
	"fmt"
	"slices"
	"time"
)

// Columns are the heads of Cells.
var Columns = []string{"rounds", "ok, failed, unknown", "gap in writes, others", "at the failed", "gap in reads, others", "at the failed", "connections lost, others", "wrongly expired"}

// Cells sums up the rounds of a fault, of which there is at least one: of each
// gap the median and the longest.
func Cells(rounds []Figures) []string {
	var sum Figures
	for _, f := range rounds {
		sum.OK, sum.Failed, sum.Unknown = sum.OK+f.OK, sum.Failed+f.Failed, sum.Unknown+f.Unknown
		sum.LossesAtOthers, sum.WronglyExpired = sum.LossesAtOthers+f.LossesAtOthers, sum.WronglyExpired+f.WronglyExpired
	}
	gaps := func(of func(Figures) time.Duration) string {
		median, longest := Over(rounds, of)
		if longest == 0 {
			return "–"
		}
		return Short(median) + ", " + Short(longest)
	}
	return []string{
		fmt.Sprint(len(rounds)), fmt.Sprintf("%d, %d, %d", sum.OK, sum.Failed, sum.Unknown),
		gaps(func(f Figures) time.Duration { return f.Write.Others }), gaps(func(f Figures) time.Duration { return f.Write.Failed }),
		gaps(func(f Figures) time.Duration { return f.Read.Others }), gaps(func(f Figures) time.Duration { return f.Read.Failed }),
		fmt.Sprint(sum.LossesAtOthers), fmt.Sprint(sum.WronglyExpired),
	}
}

// Over is the median of a time over the rounds, and the longest.
func Over(rounds []Figures, of func(Figures) time.Duration) (median, longest time.Duration) {
	var all []time.Duration
	for _, f := range rounds {
		all = append(all, of(f))
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[n-1]
}

// Short writes a time as it is shown in tables.
func Short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
