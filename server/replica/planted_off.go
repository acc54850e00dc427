//go:build !simulate

package replica

import "github.com/coordd/coordd/fsm"

// Names of the faults that only binaries built with the tag simulate can have
// planted.
const (
	PlantHasty    = ""
	PlantNoGuardA = ""
	PlantNoGuardD = ""
)

func planted(string) bool { return false }

func plantRestored(*fsm.Machine) {}
