package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coordd/coordd/protocol"
)

// registerLimit bounds the search for an order of one register's operations.
const registerLimit = 30 * time.Second

// register is the state of the model.
type register struct {
	version int32
	value   string
}

// registers is what a register does, one operation after the other. One whose
// outcome is unknown never returns, so that it may happen whenever it likes, or
// behind everything, which is never.
var registers = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		s, op := state.(register), input.(*Op)
		next := register{s.version + 1, op.Value}
		switch {
		case op.Outcome == Unknown && op.Kind == CompareAndSet && op.Expected != s.version:
			return true, s
		case op.Outcome == Unknown:
			return true, next
		case op.Kind == SyncRead:
			return op.Version == s.version && op.Value == s.value, s
		case op.Code == protocol.BadVersion:
			return op.Expected != s.version, s
		case op.Kind == CompareAndSet && op.Expected != s.version:
			return false, s
		}
		return op.Version == next.version, next
	},
	DescribeOperation: func(input, _ any) string { return input.(*Op).String() },
}

// Registers checks that writes, compare-and-sets and reads behind a sync are
// linearizable: that they have one order for all, in which each is between its
// call and its return. limit bounds the search for each register.
func Registers(h *History, limit time.Duration) []Violation {
	found := finds{check: "linearizability"}
	paths := map[string][]porcupine.Operation{}
	for i := range h.Ops {
		op := &h.Ops[i]
		switch op.Kind {
		case Write, CompareAndSet, Multi:
		case SyncRead:
			if op.Outcome == Unknown {
				continue
			}
		default:
			continue
		}
		if op.Outcome == Failed {
			continue
		}
		last := op.Return
		if op.Outcome == Unknown {
			last = math.MaxInt64
		}
		paths[op.Path] = append(paths[op.Path], porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: last})
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		switch porcupine.CheckOperationsTimeout(registers, paths[path], limit) {
		case porcupine.Illegal:
			found.add("%s: no order of its %d operations explains what they returned%s", path, len(paths[path]), stuckAt(paths[path], limit))
		case porcupine.Unknown:
			found.add("%s: undecided: no order of its %d operations was found within %v, nor that there is none", path, len(paths[path]), limit)
		}
	}
	return found.list
}

// stuckAt names the first operation that the longest order found lacks.
func stuckAt(ops []porcupine.Operation, limit time.Duration) string {
	_, info := porcupine.CheckOperationsVerbose(registers, ops, limit)
	var longest []porcupine.Operation
	for _, orders := range info.PartialLinearizationsOperations() {
		for _, order := range orders {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := map[*Op]bool{}
	for _, op := range longest {
		placed[op.Input.(*Op)] = true
	}
	var first *Op
	for _, op := range ops {
		o := op.Input.(*Op)
		if !placed[o] && o.Outcome == OK && (first == nil || o.Return < first.Return) {
			first = o
		}
	}
	if first == nil {
		return ""
	}
	last := "nothing"
	if len(longest) > 0 {
		last = longest[len(longest)-1].Input.(*Op).String()
	}
	return fmt.Sprintf("; %v does not go behind %s", first, last)
}

// Order checks that zxids keep the order of writes: each has its own, and one
// that was answered before another was sent has the lower one.
func Order(h *History) []Violation {
	found := finds{check: "order of writes"}
	writes := choose(h.Ops, func(op *Op) bool {
		return op.Outcome == OK && op.Code == protocol.OK && op.Kind.Writes() && op.Kind != AbortedMulti
	})
	var last *Op
	inOrder(writes, func(op *Op) {
		if last == nil || op.Zxid > last.Zxid {
			last = op
		}
	}, func(op *Op) {
		if last != nil && op.Zxid <= last.Zxid {
			found.add("%v, which was sent behind the answer to %v", op, last)
		}
	})
	at := map[int64]*Op{}
	for _, op := range writes {
		if other := at[op.Zxid]; other != nil {
			found.add("two writes have one zxid: %v, and %v", other, op)
		}
		at[op.Zxid] = op
	}
	return found.list
}

// showsVersion reports whether the operation's Version is that of a register.
func (o *Op) showsVersion() bool {
	switch o.Kind {
	case Write, CompareAndSet, Multi, Read, SyncRead:
		return o.Outcome == OK && o.Code == protocol.OK
	}
	return false
}

// SessionOrder checks that no session sees an older state than it has seen, on
// whatever server, and that it sees what it has written.
func SessionOrder(h *History) []Violation {
	found := finds{check: "order of a session"}
	sessions := map[int64][]*Op{}
	for _, op := range choose(h.Ops, func(op *Op) bool { return op.Outcome == OK }) {
		sessions[op.Session] = append(sessions[op.Session], op)
	}
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		var last *Op
		seen := map[string]int32{}
		inOrder(sessions[id], func(op *Op) {
			if last == nil || op.Zxid > last.Zxid {
				last = op
			}
			if op.showsVersion() {
				seen[op.Path] = max(seen[op.Path], op.Version)
			}
		}, func(op *Op) {
			if last != nil && op.Zxid < last.Zxid {
				found.add("%v, behind %v", op, last)
			}
			if op.Mzxid > op.Zxid {
				found.add("%v shows the change of 0x%x", op, op.Mzxid)
			}
			if !op.showsVersion() {
				return
			}
			version := seen[op.Path]
			if op.Version < version || op.Kind.Writes() && op.Version == version && version > 0 {
				found.add("%v, though the session had seen version %d", op, version)
			}
		})
	}
	return found.list
}

// Values checks that a version of a register is the same to all who see it, and
// that somebody wrote it.
func Values(h *History) []Violation {
	found := finds{check: "values"}
	type version struct {
		path    string
		version int32
	}
	values := map[version]*Op{}
	wrote := map[string]bool{}
	for i := range h.Ops {
		if op := &h.Ops[i]; op.Kind.Writes() && op.Outcome != Failed {
			wrote[op.Path+" "+op.Value] = true
		}
	}
	for _, op := range choose(h.Ops, (*Op).showsVersion) {
		v := version{op.Path, op.Version}
		if first := values[v]; first != nil && first.Value != op.Value {
			found.add("one version has two values: %v, and %v", first, op)
		}
		values[v] = op
		if op.Version > 0 && !wrote[op.Path+" "+op.Value] || op.Version == 0 && op.Value != "" {
			found.add("nobody wrote what was read: %v", op)
		}
	}
	return found.list
}
