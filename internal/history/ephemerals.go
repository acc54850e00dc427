package history

import (
	"cmp"
	"path"
	"slices"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Locks checks that no two have held the lock at once: that behind the zxid at
// which one has seen its ticket first in the line, and before that of the last
// sign that it had it still, nobody else has.
func Locks(h *History) []Violation {
	found := finds{check: "lock"}
	type hold struct {
		op       *Op // the first sign
		from, to int64
	}
	tickets := map[string]*hold{}
	ops := choose(h.Ops, func(op *Op) bool {
		return op.Outcome == OK && op.Code == protocol.OK && (op.Kind == Claim || op.Kind == Hold || op.Kind == Release)
	})
	slices.SortStableFunc(ops, byReturn)
	for _, op := range ops {
		held := tickets[op.Path]
		if held == nil {
			if op.Kind == Claim {
				tickets[op.Path] = &hold{op, op.Zxid, op.Zxid}
			}
			continue
		}
		last := op.Zxid
		if op.Kind == Release {
			last-- // there until then
		}
		held.to = max(held.to, last)
	}
	var holds []*hold
	for _, held := range tickets {
		holds = append(holds, held)
	}
	slices.SortFunc(holds, func(a, b *hold) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.op.Call, b.op.Call))
	})
	var last *hold
	for _, held := range holds {
		if last != nil && held.from <= last.to {
			found.add("%s was held at zxid 0x%x to 0x%x, and %s at 0x%x", last.op.Path, last.from, last.to, held.op.Path, held.from)
		}
		if last == nil || held.to > last.to {
			last = held
		}
	}
	return found.list
}

// ephemeral is the life of one.
type ephemeral struct {
	made    *Op
	session *Session
	alive   int64         // the last zxid at which its session lived and nobody had asked to delete it
	gone    int64         // the zxid at which it was deleted or its session closed; 0: unknown
	ended   int64         // its place in the order: a list called behind it must not have it; 0: none
	until   time.Duration // a list that began later must not have it; 0: none
}

// Ephemerals checks that an ephemeral is in every list while its session lives,
// and in none when its session has ended: by a close, by the word of a server
// that it has expired, or by being left alone for its timeout.
func Ephemerals(h *History) []Violation {
	found := finds{check: "ephemerals"}
	all := ephemeralsOf(h)
	for _, list := range choose(h.Ops, func(op *Op) bool { return op.Kind == List && op.Outcome == OK }) {
		there := make(map[string]bool, len(list.Names))
		for _, name := range list.Names {
			there[name] = true
		}
		for _, e := range all {
			present := there[path.Base(e.made.Path)]
			switch {
			case !present && e.made.Zxid <= list.Zxid && list.Zxid < e.alive:
				found.add("%s of zxid 0x%x is missing at 0x%x, and its session 0x%x was alive at 0x%x", e.made.Path, e.made.Zxid, list.Zxid, e.made.Session, e.alive)
			case present && e.gone > 0 && e.gone <= list.Zxid:
				found.add("%s was deleted at zxid 0x%x, and is listed at 0x%x", e.made.Path, e.gone, list.Zxid)
			case present && e.ended > 0 && e.ended < list.Call:
				found.add("%s is listed at zxid 0x%x, after its session 0x%x had ended", e.made.Path, list.Zxid, e.made.Session)
			case present && e.until > 0 && e.until < list.Began:
				found.add("%s is listed %v after its client had gone; its session's timeout is %v, and the servers were left in peace %v before",
					e.made.Path, list.Began-e.session.Ended, e.session.Timeout, list.Began-h.Calm)
			}
		}
	}
	return found.list
}

func ephemeralsOf(h *History) []*ephemeral {
	sessions := map[int64]*Session{}
	for i := range h.Sessions {
		sessions[h.Sessions[i].ID] = &h.Sessions[i]
	}
	drops := map[string]*Op{}
	replies := map[int64][]*Op{}
	for i := range h.Ops {
		op := &h.Ops[i]
		if op.Kind == DropEphemeral {
			if first := drops[op.Path]; first == nil || op.Call < first.Call {
				drops[op.Path] = op
			}
		}
		if op.Outcome == OK {
			replies[op.Session] = append(replies[op.Session], op)
		}
	}
	var all []*ephemeral
	for _, made := range choose(h.Ops, func(op *Op) bool { return op.Kind == NewEphemeral && op.Outcome == OK }) {
		e := &ephemeral{made: made, session: sessions[made.Session], alive: made.Zxid}
		drop := drops[made.Path]
		for _, op := range replies[made.Session] {
			if drop == nil || op.Return < drop.Call {
				e.alive = max(e.alive, op.Zxid)
			}
		}
		if drop != nil && drop.Outcome == OK {
			e.gone = drop.Zxid
		}
		if s := e.session; s != nil {
			switch s.End {
			case Closed:
				e.ended = s.Return
				if e.gone == 0 {
					e.gone = s.Zxid
				}
			case Expired:
				e.ended = s.Return
			case Left:
				e.until = max(s.Ended, h.Calm) + s.Timeout + h.Slack
			}
		}
		all = append(all, e)
	}
	return all
}
