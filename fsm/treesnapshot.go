package fsm

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/coordd/coordd/protocol"
)

// groupSlots is how many slots the walker copies for each read lock.
const groupSlots = 64

// A tree is written as blocks of kind blockTree, whose first byte says what
// they hold.
const (
	partACLs  byte = 'A' // access lists, each before the first node that has it
	partNodes byte = 'N' // groups of up to groupSlots neighbouring slots, ascending; a group may come in pieces
	partEnd   byte = 'E' // totals

	partSize = 256 << 10 // bytes from which on a block is written
	nodeSize = 77        // bytes of a node beside its name and data
)

// treeSnapshot is the tree as it was when it was taken. Starting one costs
// nothing that grows with the tree: a walker copies the slots one group after
// the other, and a writer that changes a slot ahead of the walker saves the
// old record first.
//
// The writer's side runs under the tree's write lock, the walker's under its
// read lock; there is one walker.
type treeSnapshot struct {
	t      *tree
	limit  nodeID // slots from here on were not there yet
	cursor nodeID // slots below have been copied
	// undo has old records of slots from cursor on, absent ones too.
	undo    map[nodeID]record
	totals  totals
	written map[aclID]bool
}

// snapshot starts a snapshot; release must end it. Not within a transaction.
func (t *tree) snapshot() *treeSnapshot {
	s := &treeSnapshot{
		t: t, limit: t.slab.limit,
		undo: map[nodeID]record{}, totals: t.totals,
		written: map[aclID]bool{aclNone: true},
	}
	t.snapshots = append(t.snapshots, s)
	return s
}

// release ends the snapshot; it needs the write lock. The walker must have
// returned.
func (s *treeSnapshot) release() {
	s.t.snapshots = slices.DeleteFunc(s.t.snapshots, func(o *treeSnapshot) bool { return o == s })
	s.undo = nil
}

func (s *treeSnapshot) save(id nodeID, r *record) {
	if id < s.cursor || id >= s.limit {
		return
	}
	if _, ok := s.undo[id]; !ok {
		s.undo[id] = *r
	}
}

// group is what the walker takes with it out of the lock.
type group struct {
	first nodeID
	live  uint64
	slots [groupSlots]record
	acls  []aclList
}

type aclList struct {
	id   aclID
	list []protocol.ACL
}

// writeTo writes the snapshot, taking mu for one group of slots at a time. It
// may be called once.
func (s *treeSnapshot) writeTo(w *streamWriter, mu RLocker) error {
	var g group
	parts := treeWriter{w: w, acls: []byte{partACLs}, nodes: []byte{partNodes}}
	for more := true; more; {
		mu.RLock()
		more = s.copyGroup(&g)
		mu.RUnlock()
		if err := parts.group(&g); err != nil {
			return fmt.Errorf("write tree: %w", err)
		}
	}
	if err := parts.flush(); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	end := []byte{partEnd}
	for _, v := range [...]uint64{uint64(s.totals.count), uint64(s.totals.dataSize), s.totals.zooKeeper, s.totals.state} {
		end = binary.LittleEndian.AppendUint64(end, v)
	}
	if err := w.block(blockTree, end); err != nil {
		return fmt.Errorf("write tree: %w", err)
	}
	return nil
}

// treeWriter gathers lists and nodes into blocks of about partSize.
type treeWriter struct {
	w           *streamWriter
	acls, nodes []byte // each with its part's byte in front
}

// group writes g, in pieces where its lists or nodes are large: a block is
// never more than partSize and one of them.
func (t *treeWriter) group(g *group) error {
	for _, a := range g.acls {
		t.acls = binary.LittleEndian.AppendUint32(t.acls, uint32(a.id))
		t.acls = protocol.AppendACLs(t.acls, a.list)
		if err := t.flushFull(); err != nil {
			return err
		}
	}
	for rest := g.live; rest != 0; {
		piece, size := uint64(0), len(t.acls)+len(t.nodes)
		for rest != 0 && size < partSize {
			i := bits.TrailingZeros64(rest)
			piece |= 1 << i
			rest &^= 1 << i
			size += nodeSize + len(g.slots[i].str)
		}
		t.nodes = appendGroup(t.nodes, g, piece)
		if err := t.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

func (t *treeWriter) flushFull() error {
	if len(t.acls)+len(t.nodes) < partSize {
		return nil
	}
	return t.flush()
}

// flush writes what has gathered: the lists first, as the nodes need them.
func (t *treeWriter) flush() error {
	for _, part := range []*[]byte{&t.acls, &t.nodes} {
		if len(*part) > 1 {
			if err := t.w.block(blockTree, *part); err != nil {
				return err
			}
			*part = (*part)[:1]
		}
	}
	return nil
}

// copyGroup copies the slots at the cursor and moves it on; it reports whether
// any are left.
func (s *treeSnapshot) copyGroup(g *group) (more bool) {
	g.first, g.live, g.acls = s.cursor&^(groupSlots-1), 0, g.acls[:0]
	for i := range nodeID(groupSlots) {
		id := g.first + i
		if id >= s.limit {
			break
		}
		r := s.t.slab.at(id)
		if old, ok := s.undo[id]; ok {
			delete(s.undo, id)
			r = &old
		}
		if !r.live() {
			continue
		}
		g.live |= 1 << i
		g.slots[i] = *r
		if !s.written[r.acl] {
			s.written[r.acl] = true
			g.acls = append(g.acls, aclList{r.acl, s.t.aclOf(r.acl)})
		}
	}
	s.cursor = g.first + groupSlots
	return s.cursor < s.limit
}

// appendGroup appends those nodes of a group whose bits are in live.
func appendGroup(b []byte, g *group, live uint64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(g.first))
	b = le.AppendUint64(b, live)
	for i := range g.slots {
		if live>>i&1 == 0 {
			continue
		}
		r := &g.slots[i]
		for _, v := range [...]int64{r.czxid, r.mzxid, r.pzxid, r.ctime, r.mtime, r.owner} {
			b = le.AppendUint64(b, uint64(v))
		}
		for _, v := range [...]uint32{
			uint32(r.version), uint32(r.creates), uint32(r.aversion), uint32(r.acl), uint32(r.parent),
			r.nameLen, uint32(len(r.data())),
		} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, byte(r.flags&flagNull))
		b = append(b, r.str...)
	}
	return b
}
