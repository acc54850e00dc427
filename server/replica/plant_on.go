//go:build plant

package replica

import "github.com/coordd/coordd/fsm"

// plant switches the exactly-once table off, so that a batch sent again takes
// effect again.
func plant(m *fsm.Machine) { m.IgnoreStreamTable() }
