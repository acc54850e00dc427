//go:build simulate

package simulate

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/server"
	"github.com/coordd/coordd/server/replica"
)

// plantedSeeds bounds the search for one planted fault.
const plantedSeeds = 60

// What may give planted faults away: a state that is wrong, a client that was
// told what cannot be, servers that do not find together again.
var (
	wrongState = []string{"state differs", "replicas:", "linearizability:", "appends:", "multis:", "order", "values:", "refusals:"}
	wrongEvent = []string{"watch"}
	wedged     = []string{"not all servers serve", "nothing can be written", "stop the load"}
)

// plantedFaults are faults that the clusters must find when they are planted,
// the kinds of faults of machines that bring each to light, and what gives it
// away.
var plantedFaults = []struct {
	planted string
	pace    time.Duration // 0: the usual one
	ops     int           // 0: as many as usual
	bias    map[string]int
	signs   []string
}{
	{replica.PlantHasty, 0, 0, map[string]int{"slow disk": 60, "power cut": 60, "power cut of all": 40}, wrongState},
	{replica.PlantNoGuardA, 4 * time.Second, 2, map[string]int{"late answers": 3000}, wrongState},
	{replica.PlantNoGuardD, 0, 0, map[string]int{"failing disk": 100, "late answers": 100, "slow link": 60}, wedged},
	{replica.PlantLostTable, 0, 0, nil, wrongState},
	{server.PlantLateEvents, 0, 0, nil, wrongEvent},
}

func TestClustersFindPlantedFaults(t *testing.T) {
	defer func() { replica.Planted = "" }()
	for _, p := range plantedFaults {
		t.Run(p.planted, func(t *testing.T) {
			replica.Planted = p.planted
			began := time.Now()
			var sum report
			for seed := *clusterSeed; ; seed++ {
				if sum.seeds == plantedSeeds {
					t.Fatalf("not found: %s", sum.text(time.Since(began)))
				}
				r := runSeed(t, seed, func(c *cluster) {
					if p.pace != 0 { // it needs everything else to be well
						c.pace, c.lease = p.pace, 500
					}
					c.ops = cmp.Or(p.ops, c.ops)
					c.prefer(p.bias)
				})
				sum.add(r)
				if i := slices.IndexFunc(r.wrong, func(w string) bool {
					return slices.ContainsFunc(p.signs, func(sign string) bool { return strings.Contains(w, sign) })
				}); i >= 0 {
					t.Logf("found after %d seeds, %d operations, %d faults, %v: %s",
						sum.seeds, sum.operations[0]+sum.operations[2], sum.faulted, time.Since(began).Round(time.Second), r.wrong[i])
					return
				}
				if len(r.wrong) > 0 {
					t.Errorf("something else: %s", r.account())
				}
			}
		})
	}
}

// prefer gives kinds of faults another weight.
func (c *cluster) prefer(weights map[string]int) {
	for i, f := range c.faults {
		if w, ok := weights[f.name]; ok {
			c.faults[i].weight = w
		}
	}
}
