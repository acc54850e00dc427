//go:build !plant

package replica

import "github.com/coordd/coordd/fsm"

// plant leaves the machine as it is: only binaries built with the tag plant
// have faults planted, to show that the tests find them.
func plant(*fsm.Machine) {}

// plantLag is nothing without the tag plant.
func (*Replica) plantLag() {}
