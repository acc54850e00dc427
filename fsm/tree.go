package fsm

import (
	"math"
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// tree is the znode tree: records in a slab, an index by parent and name, and
// one string a node for name and data.
//
// It has no lock. Methods that change it need the writer's lock; lookup, child,
// at, path, name, data, eachChild, stat, descendants, aclOf, marked.each and
// the totals only read and may run beside each other. It checks nothing
// that ZooKeeper checks (access, versions, name syntax, ephemeral parents):
// that is the machine's part.
type tree struct {
	slab      slab
	index     index
	acls      aclTable
	journal   journal
	snapshots []*treeSnapshot
	marked    markedSet
	totals    totals
	// scratch is for paths built by methods that write, statBuf for the digest.
	scratch []byte
	statBuf [statBytes]byte
}

// totals are the running sums over all nodes.
type totals struct {
	count     int
	dataSize  int64
	zooKeeper uint64
	state     uint64
}

// newTree returns the tree of a fresh ensemble: "/", "/zookeeper" and its
// quota and config nodes, which count as nobody's creations.
func newTree() *tree {
	t := newBareTree()
	t.create(0, "", []byte{}, aclOpen)
	system := t.create(rootID, "zookeeper", []byte{}, aclOpen)
	t.create(system, "quota", []byte{}, aclOpen)
	readable := t.internACL([]protocol.ACL{{Perms: protocol.PermRead, ID: protocol.WorldAnyone[0].ID}})
	config := t.create(system, "config", []byte{}, readable)
	t.update(config, func(r *record) { r.aversion = -1 }) // from the list, which ZooKeeper sets with version -1
	return t
}

func newBareTree() *tree {
	return &tree{
		slab:  slab{limit: rootID},
		index: newIndex(),
		acls:  newACLTable(),
	}
}

// create makes a built-in node: all zxids, times and counters 0.
func (t *tree) create(parent nodeID, name string, data []byte, acl aclID) nodeID {
	id := t.slab.take()
	t.fill(id, parent, name, data, record{acl: acl})
	if parent != 0 {
		t.link(id, parent)
		t.index.insert(parent, name, id)
	}
	return id
}

// lookup returns the node at path, 0 if there is none; "" is the root too.
// A malformed path names no node. It does not allocate.
func (t *tree) lookup(path string) nodeID {
	if path == "" || path == "/" {
		return rootID
	}
	if path[0] != '/' {
		return 0
	}
	id, rest, more := rootID, path[1:], true
	for more && id != 0 {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if name == "" {
			return 0
		}
		id = t.child(id, name)
	}
	return id
}

// child returns the child of that name, 0 if there is none.
func (t *tree) child(parent nodeID, name string) nodeID {
	return t.index.find(&t.slab, parent, name)
}

// at returns a node's record, for reading only.
func (t *tree) at(id nodeID) *record { return t.slab.at(id) }

// update changes a node's stat fields, owner or access list. fn must leave
// everything else alone.
func (t *tree) update(id nodeID, fn func(r *record)) {
	t.save(id)
	r := t.slab.at(id)
	t.subtract(r)
	t.detach(id, r)
	fn(r)
	t.attach(id, r)
	t.add(r)
}

// setData replaces a node's data, of which it keeps a copy; nil is null. The
// stat stays.
func (t *tree) setData(id nodeID, data []byte) {
	t.save(id)
	r := t.slab.at(id)
	t.subtract(r)
	t.totals.dataSize += int64(len(data)) - int64(len(r.data()))
	t.setStr(r, r.name(), data)
	t.scratch = t.appendPath(t.scratch[:0], id)
	r.setContent(noPath.extend(t.scratch), t.scratch, data)
	t.add(r)
}

func (t *tree) setStr(r *record, name string, data []byte) {
	var b strings.Builder
	b.Grow(len(name) + len(data))
	b.WriteString(name)
	b.Write(data)
	r.str, r.nameLen = b.String(), uint32(len(name))
	r.flags &^= flagNull
	if data == nil {
		r.flags |= flagNull
	}
}

// insert creates a node under parent, which must not have a child of that
// name; data nil is null, otherwise it is copied. zxid and timeMs become the
// creation's and the last modification's.
func (t *tree) insert(parent nodeID, name string, data []byte, acl aclID, owner int64, zxid, timeMs int64) nodeID {
	id := t.slab.take()
	t.save(id)
	t.fill(id, parent, name, data, record{
		czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: timeMs, mtime: timeMs, owner: owner, acl: acl,
	})
	t.update(parent, func(p *record) {
		p.pzxid = zxid
		if p.creates < math.MaxInt32 { // stays there, as ZooKeeper's does
			p.creates++
		}
	})
	t.link(id, parent)
	t.index.insert(parent, name, id)
	return id
}

// fill writes a new node's record, all but the links to its siblings.
func (t *tree) fill(id, parent nodeID, name string, data []byte, with record) {
	r := t.slab.at(id)
	*r = with
	r.flags |= flagLive
	r.parent = parent
	t.setStr(r, name, data)
	t.hide(r)
	t.scratch = t.appendPath(t.scratch[:0], id)
	r.setContent(noPath.extend(t.scratch), t.scratch, data)
	t.totals.dataSize += pathLen(t.scratch) + int64(len(data))
	t.totals.count++
	t.attach(id, r)
	t.add(r)
}

// hide marks a node below /zookeeper.
func (t *tree) hide(r *record) {
	if r.parent == 0 || r.parent == rootID {
		return
	}
	p := t.slab.at(r.parent)
	if p.flags&flagHidden != 0 || p.parent == rootID && p.name() == "zookeeper" {
		r.flags |= flagHidden
	}
}

// link puts a node at the head of its parent's children.
func (t *tree) link(id, parent nodeID) {
	p, r := t.slab.at(parent), t.slab.at(id)
	r.next = p.firstChild
	if r.next != 0 {
		t.save(r.next)
		t.slab.at(r.next).prev = id
	}
	p.firstChild = id
	p.children++
}

// remove deletes a node without children, never the root. Its slot rests until
// quiesce.
func (t *tree) remove(id nodeID, zxid int64) {
	t.save(id)
	r := t.slab.at(id)
	t.scratch = t.appendPath(t.scratch[:0], id)
	t.totals.dataSize -= pathLen(t.scratch) + int64(len(r.data()))
	t.totals.count--
	t.subtract(r)
	t.detach(id, r)
	t.index.remove(r.parent, r.name(), id)

	parent, next, prev := r.parent, r.next, r.prev
	t.update(parent, func(p *record) { p.pzxid = zxid })
	t.slab.at(parent).children--
	if next != 0 {
		t.save(next)
		t.slab.at(next).prev = prev
	}
	if prev != 0 {
		t.save(prev)
		t.slab.at(prev).next = next
	} else {
		t.slab.at(parent).firstChild = next
	}
	*r = record{}
	t.slab.resting = append(t.slab.resting, id)
}

// attach enters a live record into what is kept beside the slab, detach takes
// it out. The index is apart: it changes only with the name.
func (t *tree) attach(id nodeID, r *record) {
	t.acls.ref(r.acl)
	if isContainer(r.owner) || isTTL(r.owner) {
		t.marked.add(id)
	}
}

func (t *tree) detach(id nodeID, r *record) {
	t.acls.unref(r.acl)
	if isContainer(r.owner) || isTTL(r.owner) {
		t.marked.remove(id)
	}
}

func (t *tree) add(r *record) {
	t.totals.zooKeeper += r.zooKeeperSum(&t.statBuf)
	t.totals.state += r.stateSum(t.acls.entries[r.acl].hash)
}

func (t *tree) subtract(r *record) {
	t.totals.zooKeeper -= r.zooKeeperSum(&t.statBuf)
	t.totals.state -= r.stateSum(t.acls.entries[r.acl].hash)
}

// path returns a node's absolute path.
func (t *tree) path(id nodeID) string {
	if id == rootID {
		return "/"
	}
	var buf [256]byte
	return string(t.appendPath(buf[:0], id))
}

// appendPath appends a node's path; the root's is empty here, as it is in
// ZooKeeper's digest.
func (t *tree) appendPath(b []byte, id nodeID) []byte {
	n := 0
	for r := t.slab.at(id); r.parent != 0; r = t.slab.at(r.parent) {
		n += 1 + int(r.nameLen)
	}
	b = slices.Grow(b, n)[:len(b)+n]
	end := len(b)
	for r := t.slab.at(id); r.parent != 0; r = t.slab.at(r.parent) {
		end -= int(r.nameLen)
		copy(b[end:], r.name())
		end--
		b[end] = '/'
	}
	return b
}

// pathLen is the length of a path from appendPath as data sizes count it: the
// root's is 1.
func pathLen(path []byte) int64 { return int64(max(1, len(path))) }

// name returns a node's last path element, "" for the root.
func (t *tree) name(id nodeID) string { return t.slab.at(id).name() }

// data returns a node's data and whether it is null. The string may be kept
// after the lock is let go.
func (t *tree) data(id nodeID) (data string, null bool) {
	r := t.slab.at(id)
	return r.data(), r.null()
}

// eachChild calls fn for each child until it returns false. The order is
// unspecified and differs between replicas. fn must not change the tree.
func (t *tree) eachChild(id nodeID, fn func(nodeID) bool) {
	for c := t.slab.at(id).firstChild; c != 0; c = t.slab.at(c).next {
		if !fn(c) {
			return
		}
	}
}

// stat returns a node's stat as clients see it.
func (t *tree) stat(id nodeID) protocol.Stat {
	r := t.slab.at(id)
	return protocol.Stat{
		Czxid: r.czxid, Mzxid: r.mzxid, Ctime: r.ctime, Mtime: r.mtime, Pzxid: r.pzxid,
		Version: r.version, Aversion: r.aversion,
		// Creations and deletions both count, and each child that is
		// still there was created only (DataNode.copyStat); it wraps.
		Cversion:       2*r.creates - r.children,
		EphemeralOwner: ephemeralOwner(r.owner),
		DataLength:     int32(len(r.data())),
		NumChildren:    r.children,
	}
}

// descendants counts the nodes below id; it walks them all.
func (t *tree) descendants(id nodeID) int {
	if id == rootID {
		return t.totals.count - 1
	}
	n := 0
	for at := id; ; {
		r := t.slab.at(at)
		if r.firstChild != 0 {
			at = r.firstChild
			n++
			continue
		}
		for at != id && t.slab.at(at).next == 0 {
			at = t.slab.at(at).parent
		}
		if at == id {
			return n
		}
		at = t.slab.at(at).next
		n++
	}
}

// internACL returns the id of an access list, which it copies. An id that no
// node has got by the next quiesce is void.
func (t *tree) internACL(list []protocol.ACL) aclID { return t.acls.intern(list) }

// aclOf returns an access list; it must not be changed and may be kept.
func (t *tree) aclOf(id aclID) []protocol.ACL { return t.acls.entries[id].list }

// quiesce ends an entry: slots freed in it may be used again, and access lists
// that no node has are dropped unless a snapshot may still write them.
func (t *tree) quiesce() {
	t.slab.wake()
	if len(t.snapshots) == 0 {
		t.acls.sweep()
	}
}

// count is the number of znodes, the root and the built-in ones included.
func (t *tree) count() int { return t.totals.count }

// dataSize is ZooKeeper's approximate_data_size: bytes of all paths and data.
func (t *tree) dataSize() int64 { return t.totals.dataSize }

// digest is ZooKeeper's own digest of the tree, version 2.
func (t *tree) digest() uint64 { return t.totals.zooKeeper }

// stateDigest is a digest over everything in the tree, equal on equal trees
// whatever slots they use and however they came about.
func (t *tree) stateDigest() uint64 { return t.totals.state }
