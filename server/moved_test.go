package server

import (
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// TestServersMove gives servers other ports, which zoo.cfg says, than those at
// the first start: one and then all.
func TestServersMove(t *testing.T) {
	e := newEnsemble(t, 3, calm, "syncLimit=300", "maxSessionTimeout=60000")
	e.startAll()
	dial(t, e.leads()).call(protocol.OpCreate, create("/a", "x"), protocol.OK)
	for _, moving := range [][]int{{1}, {0, 1, 2}} {
		for i := range e.dirs {
			e.stop(i)
		}
		for _, i := range moving {
			e.ports[i] = [3]int(zkprocess.FreePorts(t, e.host(i), 3))
		}
		e.startAll()
		for _, s := range e.running {
			dial(t, s).call(protocol.OpSetData, setData("/a", "y"), protocol.OK)
		}
	}
}
