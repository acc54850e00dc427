//go:build simulate

package replica

import "github.com/coordd/coordd/fsm"

// Planted is the fault that a test has planted, to show that simulations find
// it; "" for none. It may be set while no server runs.
var Planted string

// The faults.
const (
	PlantHasty     = "an acknowledgement before the leader's fsync"
	PlantNoGuardA  = "no guard A: heartbeats change the term beside the main loop"
	PlantNoGuardD  = "no guard D: a pipeline's answers are not read after a refusal, and Raft goes on after a failed write"
	PlantLostTable = "a snapshot without the exactly-once table"
)

func planted(fault string) bool { return Planted == fault }

// plantRestored is for a machine that came from a snapshot.
func plantRestored(m *fsm.Machine) {
	if planted(PlantLostTable) {
		m.LoseStreamTable()
	}
}
