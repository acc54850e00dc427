package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/coordd/coordd/protocol"
)

// groupSlots is how many slots the walker copies for each read lock.
const groupSlots = 64

// A tree is written as blocks of kind blockTree, whose first byte says what
// they hold.
const (
	partACLs  byte = 'A' // access lists, each before the first node that has it
	partNodes byte = 'N' // groups of up to groupSlots neighbouring slots, ascending
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
	acls, nodes := []byte{partACLs}, []byte{partNodes}
	flush := func() error {
		for _, part := range []*[]byte{&acls, &nodes} {
			if len(*part) > 1 {
				if err := w.block(blockTree, *part); err != nil {
					return fmt.Errorf("write tree: %w", err)
				}
				*part = (*part)[:1]
			}
		}
		return nil
	}
	for more := true; more; {
		mu.RLock()
		more = s.copyGroup(&g)
		mu.RUnlock()
		for _, a := range g.acls {
			acls = binary.LittleEndian.AppendUint32(acls, uint32(a.id))
			acls = protocol.AppendACLs(acls, a.list)
		}
		nodes = appendGroup(nodes, &g)
		if len(acls)+len(nodes) >= partSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
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

func appendGroup(b []byte, g *group) []byte {
	if g.live == 0 {
		return b
	}
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(g.first))
	b = le.AppendUint64(b, g.live)
	for i := range g.slots {
		if g.live>>i&1 == 0 {
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
