package server

import (
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/fsm"
)

// A server that ran alone takes in those that its zoo.cfg lists by now, whenever
// they come, and keeps what it has.
func TestOneServerGrowsToThree(t *testing.T) {
	e := newEnsemble(t, 3, calm)
	e.alone = true
	e.start(0)
	e.log(func(entry *fsm.EntryBuilder) { entry.RaiseZxid(1 << 40) })
	e.stop(0)

	e.alone = false
	first := e.start(0)
	e.write() // it serves while it waits for the others
	e.start(1)
	e.votes(e.running[1])
	e.stop(0) // in the middle; now the two need each other
	e.nobodyLeads(time.Second)
	first = e.start(0)
	e.start(2)
	for _, s := range e.running {
		e.votes(s)
	}
	eventually(t, "all listed", func() bool {
		n := 0
		for _, m := range first.replica.Members() {
			if m.Voter && m.Addr != "standalone" {
				n++
			}
		}
		return n == 3
	})
	e.stop(0)
	e.write()
	for _, s := range e.running[1:] {
		eventually(t, "the state of the first", func() (ok bool) {
			s.replica.View(func(m *fsm.Machine) { ok = m.Zxid() >= 1<<40 })
			return ok
		})
	}
}

func TestLogOfAnotherGroup(t *testing.T) {
	e := startAll(t, 3)
	e.stop(1)
	e.alone = true
	if _, err := e.tryStart(1); err == nil || !strings.Contains(err.Error(), "server.N lines") {
		t.Errorf("a member that is to stand alone: %v", err)
	}
	e.alone = false
	e.start(1)
	e.votes(e.running[1])
}

func TestLoneServerUnderAnotherNumber(t *testing.T) {
	e := newEnsemble(t, 2)
	e.alone = true
	e.start(0)
	e.write()
	e.stop(0)
	e.alone = false
	e.dirs[0], e.dirs[1] = e.dirs[1], e.dirs[0]
	e.name(1)
	if _, err := e.tryStart(1); err == nil || !strings.Contains(err.Error(), "server.1 in every zoo.cfg") {
		t.Errorf("a lone server under another number: %v", err)
	}
}
