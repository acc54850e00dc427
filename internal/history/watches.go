package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Watchers checks what persistent recursive watchers were told: every change
// that was answered, while the watch stood, once and in order, and nothing else.
// As in ZooKeeper, what happens between two connections is told to nobody.
func Watchers(h *History) []Violation {
	found := finds{check: "persistent watchers"}
	changes := choose(h.Ops, func(op *Op) bool { return op.Kind == Change && op.Outcome != Failed })
	slices.SortStableFunc(changes, func(a, b *Op) int { return int(min(1, max(-1, a.Zxid-b.Zxid))) })
	known := map[Event]bool{}
	possible := map[Event]bool{} // of unknown outcome, without a zxid
	for _, op := range changes {
		e := Event{op.Zxid, op.Event, op.Path}
		if op.Outcome == OK {
			known[e] = true
		} else {
			e.Zxid = 0
			possible[e] = true
		}
	}
	last := map[int64]Event{} // of each session
	for _, s := range h.Segments {
		told := map[Event]bool{}
		for _, e := range s.Events {
			told[e] = true
			switch before := last[s.Session]; {
			case e == before:
				found.add("session 0x%x at server %d was told twice: %s", s.Session, s.Server, e)
			case e.Zxid <= before.Zxid:
				found.add("session 0x%x at server %d: %s behind %s", s.Session, s.Server, e, before)
			case e.Zxid <= s.From:
				found.add("session 0x%x at server %d: %s, and the watch was set at 0x%x", s.Session, s.Server, e, s.From)
			case !known[e] && !possible[Event{0, e.Type, e.Path}]:
				found.add("session 0x%x at server %d: %s, which nobody has done", s.Session, s.Server, e)
			}
			last[s.Session] = e
		}
		for _, op := range changes {
			e := Event{op.Zxid, op.Event, op.Path}
			if op.Outcome == OK && s.From < op.Zxid && op.Zxid <= s.To && !told[e] {
				found.add("session 0x%x at server %d watched from 0x%x to 0x%x, and was not told: %s", s.Session, s.Server, s.From, s.To, e)
			}
		}
	}
	return found.list
}

func (e Event) String() string {
	what := fmt.Sprint(int32(e.Type))
	switch e.Type {
	case protocol.NodeCreated:
		what = "created"
	case protocol.NodeDeleted:
		what = "deleted"
	case protocol.NodeDataChanged:
		what = "changed"
	}
	return fmt.Sprintf("%s %s at zxid 0x%x", e.Path, what, e.Zxid)
}

// Watches checks that each ordinary watch on a register fires once when the
// register changes, at that change's zxid, and that no event comes unasked.
func Watches(h *History) []Violation {
	found := finds{check: "watches"}
	type version struct {
		path    string
		version int32
	}
	zxids := map[version]int64{}
	for _, op := range choose(h.Ops, (*Op).showsVersion) {
		if op.Kind.Writes() {
			zxids[version{op.Path, op.Version}] = op.Zxid
		}
	}
	for _, u := range h.Unasked {
		found.add("session 0x%x at server %d was told %v after the start what it had not asked for: %s", u.Session, u.Server, u.At.Round(time.Millisecond), u.Event)
	}
	for _, w := range h.Watches {
		change := zxids[version{w.Path, w.Version + 1}]
		switch {
		case w.Fired && w.Event.Zxid > 0 && w.Event.Zxid <= w.Set:
			found.add("session 0x%x watched %s from zxid 0x%x, and was told: %s", w.Session, w.Path, w.Set, w.Event)
		case w.Fired && !w.Moved && change > 0 && w.Event.Zxid != change:
			found.add("session 0x%x watched version %d of %s, which changed at zxid 0x%x, and was told: %s", w.Session, w.Version, w.Path, change, w.Event)
		case !w.Fired && !w.Gone && w.Last > w.Version:
			found.add("session 0x%x watched version %d of %s, has read version %d, and was told nothing", w.Session, w.Version, w.Path, w.Last)
		}
	}
	return found.list
}
