package server

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coordd/coordd/fsm"
)

// startAll starts every server of a new ensemble and waits until all vote.
func startAll(t *testing.T, n int) *ensemble {
	t.Helper()
	e := newEnsemble(t, n)
	e.startAll()
	return e
}

// follower is the index of a running server that does not lead.
func (e *ensemble) follower(leader *Server) int {
	for i, s := range e.running {
		if s != nil && s != leader {
			return i
		}
	}
	e.t.Fatal("no follower runs")
	return 0
}

// mark writes a joining mark for server i, which does not run.
func (e *ensemble) mark(i int, number uint64) {
	e.t.Helper()
	if err := writeDurably(osDisk{}, filepath.Join(e.dirs[i], "log"), joiningFile, fmt.Sprintf("%d\n", number)); err != nil {
		e.t.Fatal(err)
	}
}

// Whatever a server loses: with the leader alive it has everything and its vote
// again by itself, and what held its votes or acknowledgements cannot be lost
// without the others' admitting it.
func TestServerThatLostSomething(t *testing.T) {
	e := startAll(t, 3)
	i := e.follower(e.leads())
	id := uint8(i + 1)
	for _, tt := range []struct {
		name     string
		lost     []string
		admitted bool
	}{
		{"everything", []string{"."}, true},
		{"the log", []string{"log/wal-meta.db", "log/*.wal"}, true},
		{"the stable store", []string{"log/stable.db"}, true},
		{"the directory of log and stable store", []string{"log"}, true},
		{"the directory of snapshots", []string{"snapshots", "cluster-id"}, false}, // nothing is in it yet
		{"the ids of the cluster", []string{"cluster-id", "log/cluster-id"}, false},
		{"nothing", nil, false},
	} {
		before := e.leads().admittedUnder(id)
		e.stop(i)
		e.lose(i, tt.lost...)
		e.write()
		s := e.start(i)
		e.votes(s)
		if now := s.admittedUnder(id); (now != before) != tt.admitted {
			t.Errorf("%s lost: admitted %t", tt.name, now != before)
		}
		for _, dir := range []string{s.cfg.DataDir, s.cfg.DataLogDir} {
			eventually(t, tt.name+" lost: both directories have the cluster's id", func() bool {
				id, err := readClusterID(osDisk{}, dir)
				return err == nil && id == s.clusterID()
			})
		}
	}
	e.stop(int(e.leads().id) - 1)
	e.write() // a quorum with it
}

// A leader finds every half-way state that the one before it can leave.
func TestJoiningThatALeaderLeftHalfDone(t *testing.T) {
	e := startAll(t, 3)
	i := 2
	demote := func() {
		eventually(t, "the loss of a vote", func() bool { return e.leads().replica.Demote(3) == nil })
	}
	for _, tt := range []struct {
		name  string
		leave func()
	}{
		{"demoted", func() {
			e.lose(i, ".")
			demote()
		}},
		{"caught up", func() {
			demote()
			e.mark(i, 77)
		}},
		{"has its vote back, not admitted", func() { e.mark(i, 78) }},
		{"admitted, has not heard of it", func() {
			e.log(func(entry *fsm.EntryBuilder) { entry.Admit(3, 79) })
			e.mark(i, 79)
		}},
		{"admitted, then lost everything", func() {
			e.log(func(entry *fsm.EntryBuilder) { entry.Admit(3, 80) })
			e.lose(i, ".")
			if err := os.Mkdir(filepath.Join(e.dirs[i], "log"), 0o700); err != nil {
				t.Fatal(err)
			}
			e.mark(i, 81)
		}},
	} {
		e.stop(i)
		tt.leave()
		k := int(e.leads().id) - 1
		e.stop(k) // so that another leader finds it
		e.start(k)
		e.votes(e.start(i))
		t.Log(tt.name)
	}
	e.stop(0)
	e.write()
}

// A joining server is stopped, or wiped again, at any moment.
func TestJoiningIsInterrupted(t *testing.T) {
	e := startAll(t, 3)
	i := e.follower(e.leads())
	e.stop(i)
	e.lose(i, ".")
	for round := range 9 {
		e.start(i)
		time.Sleep(time.Duration(round) * 60 * time.Millisecond)
		e.stop(i)
		if round%3 == 2 {
			e.lose(i, ".")
		}
		e.write()
	}
	e.votes(e.start(i))
	e.stop(int(e.leads().id) - 1)
	e.write()
}

// Two of three are wiped: what the third alone may know cannot be committed
// away, so nobody leads.
func TestTwoOfThreeWiped(t *testing.T) {
	e := startAll(t, 3)
	for i := range 2 {
		e.stop(i)
		e.lose(i, ".")
	}
	for i := range 2 {
		e.start(i)
	}
	eventually(t, "both are marked", func() bool { return e.running[0].joining.lost.Load() && e.running[1].joining.lost.Load() })
	eventually(t, "the third gives up", func() bool { return e.running[2].currentReign() == nil })
	e.nobodyLeads(time.Second)
	for i := range 2 {
		if last, _ := e.running[i].replica.Indexes(); last != 0 {
			t.Errorf("server %d stored %d entries", i+1, last)
		}
	}
}

func TestTwoOfFiveWiped(t *testing.T) {
	e := startAll(t, 5)
	leader := e.leads()
	var wiped, sound []int
	for i, s := range e.running {
		switch {
		case s == leader:
		case len(wiped) < 2:
			wiped = append(wiped, i)
		default:
			sound = append(sound, i)
		}
	}
	for _, i := range wiped {
		e.stop(i)
		e.lose(i, ".")
	}
	e.write()
	// Without one of the others no quorum has its data.
	e.stop(sound[0])
	for _, i := range wiped {
		e.start(i)
	}
	eventually(t, "the leader gives up", func() bool { return leader.currentReign() == nil })
	e.nobodyLeads(time.Second)
	e.start(sound[0])
	for _, i := range wiped {
		e.votes(e.running[i])
	}
	e.stop(int(e.leads().id) - 1)
	for _, i := range sound {
		if e.running[i] != nil {
			e.stop(i)
			break
		}
	}
	e.write() // a quorum only with both
}

// An observer has nothing to forget that anybody counted.
func TestWipedObserver(t *testing.T) {
	e := newEnsemble(t, 4)
	e.observers = map[int]bool{3: true}
	for i := range 4 {
		e.start(i)
	}
	leader := e.leads()
	e.write()
	caughtUp := func() {
		t.Helper()
		eventually(t, "the observer has everything", func() bool {
			_, all := leader.replica.Indexes()
			_, has := e.running[3].replica.Indexes()
			return has >= all && e.running[3].Serving()
		})
	}
	caughtUp()
	e.stop(3)
	e.lose(3, ".")
	e.write()
	e.start(3)
	caughtUp()
	if e.running[3].joining.number.Load() != 0 || leader.admittedUnder(4) != 0 {
		t.Error("an observer was admitted like a voter")
	}
	for _, m := range leader.replica.Members() {
		if m.ID == 4 && m.Voter {
			t.Error("the observer has a vote")
		}
	}
}
