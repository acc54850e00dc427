//go:build plant

package replica

import (
	"time"

	"github.com/coordd/coordd/fsm"
)

// plant switches the exactly-once table off, so that a batch sent again takes
// effect again.
func plant(m *fsm.Machine) { m.IgnoreStreamTable() }

// plantLag makes followers apply late, so that one whose leader dies is sure to
// send batches again that are in the log.
func (r *Replica) plantLag() {
	if !r.Leads() {
		time.Sleep(10 * time.Millisecond)
	}
}
