package fsm

import "math/bits"

// markedSet holds the container and TTL nodes, one bit for each slot: a
// candidate costs no memory of its own, and listing them needs no sorting.
type markedSet []uint64

func (s *markedSet) add(id nodeID) {
	for int(id/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[id/64] |= 1 << (id % 64)
}

func (s markedSet) remove(id nodeID) { s[id/64] &^= 1 << (id % 64) }

// each calls fn for the nodes by slot until it returns false.
func (s markedSet) each(fn func(nodeID) bool) {
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			if !fn(nodeID(64*i + bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}

// Reap names a node whose time has come, as the leader saw it.
type Reap struct {
	Path                string
	Czxid, Mzxid, Pzxid int64
}

// Reapable lists the nodes, at most limit, whose time has come at nowMs: empty
// containers that once had a child, or never one for neverUsedMs (0: they
// stay), and empty TTL nodes not written for longer than their TTL
// (ContainerManager). It looks at no node that is neither and stops at the
// limit; the order is that of the slots.
func (m *Machine) Reapable(nowMs, neverUsedMs int64, limit int) []Reap {
	var due []Reap
	m.tree.marked.each(func(id nodeID) bool {
		if n := m.tree.at(id); len(due) < limit && n.due(nowMs, neverUsedMs) {
			due = append(due, Reap{Path: m.tree.path(id), Czxid: n.czxid, Mzxid: n.mzxid, Pzxid: n.pzxid})
		}
		return len(due) < limit
	})
	return due
}

// due says it of a container or TTL node.
func (r *record) due(nowMs, neverUsedMs int64) bool {
	switch {
	case r.children > 0:
		return false
	case isContainer(r.owner):
		return r.creates > 0 || neverUsedMs > 0 && nowMs-r.mtime > neverUsedMs
	default:
		return nowMs-r.mtime > r.owner&^ttlMark
	}
}

// reap removes a container or TTL node if it is empty and nothing has touched
// it since the leader looked. Otherwise nothing happens, not even a zxid.
func (m *Machine) reap(x *txn, path string, saw [3]int64, term uint64) {
	id := m.tree.lookup(path)
	if id == 0 {
		return
	}
	n := m.tree.at(id)
	if !isContainer(n.owner) && !isTTL(n.owner) || n.children > 0 || [3]int64{n.czxid, n.mzxid, n.pzxid} != saw {
		return
	}
	m.number(x, term)
	m.unlink(x, id, path)
	m.flush(x)
}
