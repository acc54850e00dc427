package history

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// Request asks for one sequential child.
type Request struct {
	Writer  string
	Prefix  string // the name without its number
	Name    string // the answer, when there is one
	Outcome Outcome
}

// Sequence checks the children of a znode against the requests that have made
// them, which are in the order of each writer: each that was answered has one
// child, none has two, there is no other child, no number is missing, and each
// writer's numbers ascend.
func Sequence(requests []Request, children []string) []Violation {
	found := finds{check: "appends"}
	asked := map[string]bool{}
	for _, r := range requests {
		asked[r.Prefix] = true
	}
	names, numbers := map[string]string{}, map[int64]bool{}
	number := map[string]int64{}
	for _, name := range children {
		cut := strings.LastIndexByte(name, '-') + 1
		prefix := name[:cut]
		n, err := strconv.ParseInt(name[cut:], 10, 64)
		switch {
		case err != nil || !asked[prefix]:
			found.add("child %s: nobody asked for it", name)
			continue
		case names[prefix] != "":
			found.add("request %s applied twice: %s, and %s", prefix, names[prefix], name)
		case numbers[n]:
			found.add("sequence number %d given twice, again to %s", n, name)
		}
		names[prefix], number[prefix], numbers[n] = name, n, true
	}
	last := map[string]Request{}
	for _, r := range requests {
		name := names[r.Prefix]
		switch {
		case r.Outcome == OK && name == "":
			found.add("child %s: answered, and lost", r.Name)
		case r.Outcome == OK && name != r.Name:
			found.add("child %s: answered as %s", name, r.Name)
		case r.Outcome == Failed && name != "":
			found.add("child %s: refused, and there", name)
		}
		if name == "" {
			continue
		}
		if before, ok := last[r.Writer]; ok && number[r.Prefix] < number[before.Prefix] {
			found.add("out of order: request %s made %s, and %s behind it made %s", before.Prefix, names[before.Prefix], r.Prefix, name)
		}
		last[r.Writer] = r
	}
	for i := range int64(len(numbers)) {
		if !numbers[i] {
			found.add("sequence number %d of %d missing", i, len(numbers))
		}
	}
	return found.list
}

// Appends checks that no append that was answered is lost, that none happened
// twice, and none out of its client's order.
func Appends(h *History) []Violation {
	var violations []Violation
	ops := choose(h.Ops, func(op *Op) bool { return op.Kind == Append })
	if len(h.Replicas) == 0 || len(ops) == 0 {
		return nil
	}
	slices.SortStableFunc(ops, byCall)
	requests := map[string][]Request{}
	for _, op := range ops {
		parent := path.Dir(op.Asked)
		requests[parent] = append(requests[parent], Request{strconv.Itoa(op.Client), path.Base(op.Asked), path.Base(op.Path), op.Outcome})
	}
	children := map[string][]string{}
	for p := range h.Replicas[0].Nodes {
		children[path.Dir(p)] = append(children[path.Dir(p)], path.Base(p))
	}
	for _, parent := range slices.Sorted(maps.Keys(requests)) {
		violations = append(violations, Sequence(requests[parent], children[parent])...)
	}
	return violations[:min(len(violations), maxShown)]
}

// Multis checks that of each multi all is there or nothing, and that nobody
// sees half of one.
func Multis(h *History) []Violation {
	found := finds{check: "multis"}
	for i := range h.Ops {
		op := &h.Ops[i]
		switch {
		case op.Kind == PairRead && op.Outcome == OK && op.Second < op.Version:
			found.add("half of a multi was seen: version %d of the twin behind %v", op.Second, op)
		case op.Kind != Multi && op.Kind != AbortedMulti || len(h.Replicas) == 0:
			continue
		}
		there := 0
		for _, name := range op.Names {
			if _, ok := h.Replicas[0].Nodes[name]; ok {
				there++
			}
		}
		switch {
		case op.Kind == PairRead:
		case op.Kind == AbortedMulti && op.Outcome == OK && op.Code == protocol.OK:
			found.add("a multi with an operation that must fail succeeded: %v", op)
		case there != 0 && there != len(op.Names):
			found.add("%d of the %d znodes of %v are there", there, len(op.Names), op)
		case there > 0 && (op.Kind == AbortedMulti || op.Outcome == Failed):
			found.add("a refused multi happened: %v", op)
		case there == 0 && op.Kind == Multi && op.Outcome == OK:
			found.add("an answered multi is lost: %v", op)
		}
	}
	return found.list
}

// Replicas checks that all servers have the same tree in the end.
func Replicas(h *History) []Violation {
	found := finds{check: "replicas"}
	for _, other := range h.Replicas[min(1, len(h.Replicas)):] {
		first := h.Replicas[0]
		for _, p := range slices.Sorted(maps.Keys(first.Nodes)) {
			node, ok := other.Nodes[p]
			if !ok {
				found.add("%s is at server %d, but not at server %d", p, first.Server, other.Server)
			} else if node != first.Nodes[p] {
				found.add("%s is %+v at server %d, but %+v at server %d", p, first.Nodes[p], first.Server, node, other.Server)
			}
		}
		for _, p := range slices.Sorted(maps.Keys(other.Nodes)) {
			if _, ok := first.Nodes[p]; !ok {
				found.add("%s is at server %d, but not at server %d", p, other.Server, first.Server)
			}
		}
	}
	return found.list
}
