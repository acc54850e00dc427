package replica

import (
	"testing"
	"testing/synctest"
)

// TestPreviousTerm: a leader that succeeds itself can tell, however often the
// others have led and wherever they got to.
func TestPreviousTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		defer g.stop()
		served := uint64(0) // term of the last leader that had something committed
		for range 12 {
			leader := g.leader()
			_, term := leader.Leader()
			g.write(leader, 2)
			if served != 0 && leader.PreviousTerm() != served {
				t.Errorf("in term %d the previous one is %d, want %d", term, leader.PreviousTerm(), served)
			}
			served = term
			g.settle(g.members...)
			if err := leader.TransferLeadership(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
