package server

import (
	"testing"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

func TestComparison(t *testing.T) {
	type word struct {
		server  uint8
		digest  uint64
		decided bool
		tied    bool
	}
	for name, words := range map[string][]word{
		"all agree":              {{server: 1, digest: 7}, {server: 2, digest: 7}, {server: 3, digest: 7}},
		"the last differs":       {{server: 1, digest: 7}, {server: 2, digest: 7}, {server: 3, digest: 8, decided: true}},
		"the first differs":      {{server: 1, digest: 8}, {server: 2, digest: 7}, {server: 3, digest: 7, decided: true}},
		"the middle differs":     {{server: 1, digest: 7}, {server: 2, digest: 8}, {server: 3, digest: 7, decided: true}},
		"all differ":             {{server: 1, digest: 7}, {server: 2, digest: 8}, {server: 3, digest: 9, tied: true}},
		"one says it again":      {{server: 1, digest: 7}, {server: 1, digest: 7}, {server: 2, digest: 8}},
		"observers do not count": {{server: 9, digest: 8}, {server: 1, digest: 7}, {server: 2, digest: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			c := comparison{voters: []uint8{1, 2, 3}}
			c.begin(5)
			if _, decided, tied := c.hear(2, fsm.Mark{Number: 4, Digest: 99}); decided || tied {
				t.Error("an old mark counts")
			}
			for _, w := range words {
				most, decided, tied := c.hear(w.server, fsm.Mark{Number: 5, Digest: w.digest})
				if decided != w.decided || tied != w.tied || decided && most != 7 {
					t.Errorf("server %d: %d, decided %v, tied %v", w.server, most, decided, tied)
				}
			}
		})
	}
}

// A new leader has made no mark yet, and a server whose state was replaced by a
// snapshot from before the first mark says that it is at none.
func TestComparisonBeforeTheFirstMark(t *testing.T) {
	c := comparison{voters: []uint8{1, 2, 3}}
	if _, decided, tied := c.hear(2, fsm.Mark{}); decided || tied {
		t.Error("no mark at all counts")
	}
}

// A server ends when the others have found its state to be another.
func TestServerOfTheMinorityEnds(t *testing.T) {
	s := startStandalone(t)
	w := dial(t, s)
	l := s.currentReign()
	verdict := func(number, digest uint64) {
		l.add(0, 32, func(e *fsm.EntryBuilder) { e.Mark(number) })
		w.call(protocol.OpSync, read("/"), protocol.OK)
		if digest == 0 {
			s.replica.View(func(m *fsm.Machine) { digest = m.Mark().Digest })
		}
		l.add(0, 32, func(e *fsm.EntryBuilder) { e.Verdict(number, digest) })
		w.call(protocol.OpSync, read("/"), protocol.OK)
	}
	verdict(1, 0)
	select {
	case err := <-s.Failed():
		t.Fatalf("it was with the majority: %v", err)
	default:
	}
	verdict(2, 1)
	select {
	case <-s.Failed():
	default:
		t.Fatal("it goes on with a state of its own")
	}
}
