package server

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFirstStartInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			e := newEnsemble(t, 3, calm, "initLimit=100") // 10 s; as by default, an election takes longer than a look at the others
			for _, i := range order[:2] {
				e.start(i)
			}
			e.nobodyLeads(400 * time.Millisecond)
			e.start(order[2])
			e.leads()
			for _, s := range e.running {
				if s.joining.lost.Load() {
					t.Errorf("server %d takes itself for one that lost its data", s.id)
				}
				e.votes(s)
			}
		})
	}
}

// Two of three start alone once initLimit is over; the third, when it comes,
// joins them and has a vote in the end.
func TestFirstStartOfAMajority(t *testing.T) {
	e := newEnsemble(t, 3)
	start := time.Now()
	e.start(0)
	e.start(2)
	e.nobodyLeads(800 * time.Millisecond)
	leader := e.leads()
	if took := time.Since(start); took < time.Second {
		t.Errorf("a majority started after %v", took)
	}
	e.write()
	late := e.start(1)
	e.votes(late)
	if !late.joining.lost.Load() {
		t.Error("the late server was not admitted by the others")
	}
	e.stop(int(leader.id) - 1)
	e.write() // a quorum with the late one
}

func TestFirstStartOfAll(t *testing.T) {
	e := newEnsemble(t, 3, "coordd.bootstrap=all")
	e.start(0)
	e.start(1)
	e.nobodyLeads(1500 * time.Millisecond)
	e.start(2)
	e.leads()
}

// The file initialize is the operator's word that nobody else is to be waited
// for; a majority it takes all the same.
func TestFirstStartByTheOperatorsWord(t *testing.T) {
	e := newEnsemble(t, 3, "coordd.bootstrap=all")
	word := func(i int) string { return filepath.Join(e.dirs[i], initializeFile) }
	for i := range 2 {
		if err := os.WriteFile(word(i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.start(0)
	e.nobodyLeads(time.Second)
	e.start(1)
	e.leads()
	for i := range 2 {
		e.votes(e.running[i])
		if _, err := os.Stat(word(i)); err == nil {
			t.Errorf("server %d keeps the operator's word for another time", i+1)
		}
	}
}

// A server that had heard that another one is empty, and cannot hear the third,
// joins when the other two have gone on without it.
func TestFirstStartThatTheOthersDidNotWaitFor(t *testing.T) {
	e := newEnsemble(t, 3)
	e.lines = "coordd.bootstrap=all"
	slow := e.start(0) // waits for all
	e.lines = ""
	e.start(1)
	eventually(t, "the others start alone", func() bool { return e.running[1].joining.number.Load() == 0 })
	e.start(2)
	e.votes(e.running[2])
	e.votes(slow)
	e.write()
}
