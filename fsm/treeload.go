package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/coordd/coordd/protocol"
)

var errTree = errors.New("malformed tree")

// treeLoader builds a tree from the blocks of a snapshot. The nodes get new
// slots without gaps, in the old order. It trusts nothing: what it builds is a
// tree whose totals are those of the snapshot, or an error.
type treeLoader struct {
	t *tree
	// groups find the new slot of an old one.
	groups map[nodeID]loadedGroup
	acls   map[aclID]aclID
	last   nodeID // first slot of the last group
	end    *totals
}

type loadedGroup struct {
	live  uint64 // old slots in use
	first nodeID // new slot of the lowest of them
}

func newTreeLoader() *treeLoader {
	return &treeLoader{
		t:      newBareTree(),
		groups: map[nodeID]loadedGroup{},
		acls:   map[aclID]aclID{aclNone: aclNone},
	}
}

// block takes the payload of the next block of kind blockTree, which it does
// not keep.
func (l *treeLoader) block(payload []byte) error {
	if len(payload) == 0 || l.end != nil {
		return fmt.Errorf("%w: unexpected block", errTree)
	}
	switch part, p := payload[0], payload[1:]; part {
	case partACLs:
		return l.loadACLs(p)
	case partNodes:
		return l.loadNodes(p)
	case partEnd:
		return l.loadEnd(p)
	default:
		return fmt.Errorf("%w: unknown part %d", errTree, part)
	}
}

func (l *treeLoader) loadACLs(p []byte) error {
	for len(p) > 0 {
		if len(p) < 4 {
			return fmt.Errorf("%w: access lists cut short", errTree)
		}
		id := aclID(binary.LittleEndian.Uint32(p))
		d := protocol.NewDecoder(p[4:])
		list := d.ACLs()
		if err := d.Err(); err != nil {
			return fmt.Errorf("%w: access list: %w", errTree, err)
		}
		if _, ok := l.acls[id]; ok {
			return fmt.Errorf("%w: access list %d twice", errTree, id)
		}
		l.acls[id] = l.t.internACL(list)
		p = d.Rest()
	}
	return nil
}

func (l *treeLoader) loadNodes(p []byte) error {
	for len(p) > 0 {
		if len(p) < 12 {
			return fmt.Errorf("%w: nodes cut short", errTree)
		}
		first := nodeID(binary.LittleEndian.Uint32(p))
		live := binary.LittleEndian.Uint64(p[4:])
		p = p[12:]
		g, begun := l.groups[first]
		if !begun {
			g.first = l.t.slab.limit
		}
		if first%groupSlots != 0 || live == 0 || len(l.groups) > 0 && first < l.last || bits.TrailingZeros64(live) < bits.Len64(g.live) {
			return fmt.Errorf("%w: nodes out of order", errTree)
		}
		// The root comes first and slot 0 is none.
		if len(l.groups) == 0 && (first != 0 || live&3 != 2) {
			return fmt.Errorf("%w: no root", errTree)
		}
		g.live |= live
		l.groups[first], l.last = g, first
		for range bits.OnesCount64(live) {
			var err error
			if p, err = l.loadNode(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadNode puts one node into the next slot, still with its parent's old one.
func (l *treeLoader) loadNode(p []byte) (rest []byte, err error) {
	le := binary.LittleEndian
	if len(p) < nodeSize {
		return nil, fmt.Errorf("%w: node cut short", errTree)
	}
	nameLen, dataLen := le.Uint32(p[68:]), le.Uint32(p[72:])
	flags, str := recordFlags(p[76]), p[nodeSize:]
	size := int64(nameLen) + int64(dataLen)
	acl, ok := l.acls[aclID(le.Uint32(p[60:]))]
	if size > int64(len(str)) || !ok || flags&^flagNull != 0 || flags != 0 && dataLen > 0 {
		return nil, fmt.Errorf("%w: node %d", errTree, l.t.slab.limit)
	}
	long := func(i int) int64 { return int64(le.Uint64(p[8*i:])) }
	*l.t.slab.at(l.t.slab.take()) = record{
		czxid: long(0), mzxid: long(1), pzxid: long(2), ctime: long(3), mtime: long(4), owner: long(5),
		version: int32(le.Uint32(p[48:])), creates: int32(le.Uint32(p[52:])), aversion: int32(le.Uint32(p[56:])),
		acl: acl, parent: nodeID(le.Uint32(p[64:])),
		nameLen: nameLen, str: string(str[:size]), flags: flags | flagLive,
	}
	return str[size:], nil
}

func (l *treeLoader) loadEnd(p []byte) error {
	if len(p) != 32 {
		return fmt.Errorf("%w: totals", errTree)
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(p[8*i:]) }
	l.end = &totals{count: int(v(0)), dataSize: int64(v(1)), zooKeeper: v(2), state: v(3)}
	return nil
}

// slot returns the new slot of an old one, 0 if no node had that.
func (l *treeLoader) slot(old nodeID) nodeID {
	g := l.groups[old&^(groupSlots-1)]
	bit := uint64(1) << (old % groupSlots)
	if g.live&bit == 0 {
		return 0
	}
	return g.first + nodeID(bits.OnesCount64(g.live&(bit-1)))
}

// finish links the nodes, checks the whole and returns the tree.
func (l *treeLoader) finish() (*tree, error) {
	if l.end == nil {
		return nil, fmt.Errorf("%w: no end", errTree)
	}
	t := l.t
	if t.slab.limit == rootID || t.at(rootID).parent != 0 || t.at(rootID).nameLen != 0 {
		return nil, fmt.Errorf("%w: no root", errTree)
	}
	for id := rootID + 1; id < t.slab.limit; id++ {
		r := t.at(id)
		r.parent = l.slot(r.parent)
		name := r.name()
		if r.parent == 0 || name == "" || strings.Contains(name, "/") || t.child(r.parent, name) != 0 {
			return nil, fmt.Errorf("%w: node %d has no place", errTree, id)
		}
		t.link(id, r.parent)
		t.index.insert(r.parent, name, id)
	}
	l.sum()
	// A cycle is not reached from the root and shows in the count.
	if t.totals != *l.end || t.totals.count != int(t.slab.limit-rootID) {
		return nil, fmt.Errorf("%w: its digest or totals are not those written", errTree)
	}
	t.quiesce()
	return t, nil
}

// sum walks the tree from the root to add up its totals. A node's path is
// hashed from its parent's on: from the root, a deep tree would take ages.
func (l *treeLoader) sum() {
	t := l.t
	var path, data []byte
	above := []pathSum{noPath}
	for id := rootID; ; {
		r := t.at(id)
		parent := above[len(above)-1]
		path = path[:parent.n]
		if id != rootID {
			path = append(append(path, '/'), r.name()...)
		}
		t.hide(r)
		data = append(data[:0], r.data()...)
		own := parent.extend(path)
		r.setContent(own, path, data)
		t.totals.count++
		t.totals.dataSize += pathLen(path) + int64(len(r.data()))
		t.attach(id, r)
		t.add(r)

		if r.firstChild != 0 {
			above = append(above, own)
			id = r.firstChild
			continue
		}
		for id != rootID && r.next == 0 {
			above = above[:len(above)-1]
			id = r.parent
			r = t.at(id)
		}
		if id == rootID {
			return
		}
		id = r.next
	}
}
