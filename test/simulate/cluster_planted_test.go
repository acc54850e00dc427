//go:build simulate

package simulate

import (
	"testing"
	"time"

	"github.com/coordd/coordd/server"
	"github.com/coordd/coordd/server/replica"
)

// plantedSeeds bounds the search for one planted fault.
const plantedSeeds = 60

// plantedFaults are faults that the clusters must find when they are planted,
// and the kinds of faults of machines that bring each to light.
var plantedFaults = []struct {
	planted string
	bias    map[string]int
}{
	{replica.PlantHasty, map[string]int{"slow disk": 60, "power cut": 60, "power cut of all": 40}},
	{replica.PlantNoGuardA, map[string]int{"late answers": 300}},
	{replica.PlantNoGuardC, map[string]int{"power cut at a vote": 400, "process killed": 30}},
	{replica.PlantNoGuardD, map[string]int{"failing disk": 100, "late answers": 100, "slow link": 60}},
	{replica.PlantLostTable, nil},
	{server.PlantLateEvents, nil},
}

func TestClustersFindPlantedFaults(t *testing.T) {
	defer func() { replica.Planted = "" }()
	for _, p := range plantedFaults {
		t.Run(p.planted, func(t *testing.T) {
			replica.Planted = p.planted
			began := time.Now()
			var sum report
			for seed := *clusterSeed; sum.wrong == 0; seed++ {
				if sum.seeds == plantedSeeds {
					t.Fatalf("not found: %s", sum.text(time.Since(began)))
				}
				r := runSeed(t, seed, func(c *cluster) { c.prefer(p.bias) })
				sum.add(r)
				if len(r.wrong) > 0 {
					t.Logf("found after %d seeds, %d operations, %d faults, %v: %s",
						sum.seeds, sum.operations[0]+sum.operations[2], sum.faulted, time.Since(began).Round(time.Second), r.wrong[0])
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
