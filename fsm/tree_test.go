package fsm

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
	"pgregory.net/rapid"
)

// plainNode and plainTree are the tree as a map by path, as naive as can be.
type plainNode struct {
	rec  record // stat fields only
	data string
	null bool
	acl  string
}

type plainTree map[string]plainNode

func plainACL(list []protocol.ACL) string { return string(protocol.AppendACLs(nil, list)) }

// plain reads a whole tree through its child lists, checking that every way
// to a node agrees.
func plain(t rapid.TB, tr *tree) plainTree {
	m := plainTree{}
	var walk func(id nodeID, path string)
	walk = func(id nodeID, path string) {
		if got := tr.lookup(path); got != id {
			t.Fatalf("lookup(%q) = %d, child list says %d", path, got, id)
		}
		if got := tr.path(id); got != cleanRoot(path) {
			t.Fatalf("path(%d) = %q, want %q", id, got, path)
		}
		r := tr.at(id)
		data, null := tr.data(id)
		m[path] = plainNode{record{
			czxid: r.czxid, mzxid: r.mzxid, pzxid: r.pzxid, ctime: r.ctime, mtime: r.mtime, owner: r.owner,
			version: r.version, creates: r.creates, aversion: r.aversion, children: r.children,
		}, data, null, plainACL(tr.aclOf(r.acl))}
		n, before := int32(0), nodeID(0)
		tr.eachChild(id, func(c nodeID) bool {
			if tr.at(c).prev != before || tr.at(c).parent != id {
				t.Fatalf("%s: broken child list at %d", path, c)
			}
			n, before = n+1, c
			walk(c, path+"/"+tr.name(c))
			return true
		})
		if n != r.children || tr.stat(id).NumChildren != n {
			t.Fatalf("%s: %d children, counted %d", path, r.children, n)
		}
	}
	walk(rootID, "")
	return m
}

func cleanRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// check compares the tree with what is expected of it, the running totals with
// sums from scratch.
func check(t rapid.TB, tr *tree, want plainTree) {
	t.Helper()
	got := plain(t, tr)
	if !maps.Equal(got, want) {
		t.Fatalf("tree differs:\n got %v\nwant %v", got, want)
	}
	var sum uint64
	var size int64
	containers, ttls := 0, 0
	for path, n := range want {
		size += int64(len(cleanRoot(path)) + len(n.data))
		if isContainer(n.rec.owner) {
			containers++
		} else if isTTL(n.rec.owner) {
			ttls++
		}
		if strings.HasPrefix(path, "/zookeeper/") {
			continue
		}
		p := append([]byte(path), n.data...)
		for _, v := range []int64{n.rec.czxid, n.rec.mzxid, n.rec.pzxid, n.rec.ctime, n.rec.mtime} {
			p = protocol.AppendLong(p, v)
		}
		for _, v := range []int32{n.rec.version, n.rec.creates, n.rec.aversion} {
			p = protocol.AppendInt(p, v)
		}
		sum += uint64(crc32.ChecksumIEEE(protocol.AppendLong(p, n.rec.owner)))
	}
	if tr.count() != len(want) || tr.dataSize() != size || tr.digest() != sum {
		t.Fatalf("count %d, size %d, digest %x; want %d, %d, %x", tr.count(), tr.dataSize(), tr.digest(), len(want), size, sum)
	}
	c, l := 0, 0
	tr.marked.each(func(id nodeID) bool {
		switch owner := tr.at(id).owner; {
		case isContainer(owner):
			c++
		case isTTL(owner):
			l++
		}
		return true
	})
	if c != containers || l != ttls {
		t.Fatalf("%d containers, %d TTL nodes; want %d, %d", c, l, containers, ttls)
	}
	if d := rebuilt(want).stateDigest(); d != tr.stateDigest() {
		t.Fatalf("state digest %x, of an equal tree %x", tr.stateDigest(), d)
	}
	refs := map[string]int{plainACL(protocol.WorldAnyone): 1}
	for _, n := range want {
		refs[n.acl]++
	}
	for _, e := range tr.acls.entries[1:] {
		if e.refs != refs[e.key] {
			t.Fatalf("list %q has %d nodes, counted as %d", e.key, refs[e.key], e.refs)
		}
	}
}

// rebuilt makes a tree of the nodes in path order, by another history than
// that of any test.
func rebuilt(m plainTree) *tree {
	tr := newBareTree()
	for _, path := range slices.Sorted(maps.Keys(m)) {
		n := m[path]
		d := protocol.NewDecoder([]byte(n.acl))
		acl := tr.internACL(d.ACLs())
		data := []byte(n.data)
		if n.null {
			data = nil
		}
		i := max(0, strings.LastIndexByte(path, '/'))
		var parent nodeID
		if path != "" {
			parent = tr.lookup(path[:i])
		}
		id := tr.create(parent, strings.TrimPrefix(path[i:], "/"), data, acl)
		tr.update(id, func(r *record) {
			r.czxid, r.mzxid, r.pzxid, r.ctime, r.mtime = n.rec.czxid, n.rec.mzxid, n.rec.pzxid, n.rec.ctime, n.rec.mtime
			r.owner, r.version, r.creates, r.aversion = n.rec.owner, n.rec.version, n.rec.creates, n.rec.aversion
		})
	}
	return tr
}

// write draws a change and makes it on both.
func write(t *rapid.T, tr *tree, m plainTree, zxid int64) {
	paths := slices.Sorted(maps.Keys(m))
	path := rapid.SampledFrom(paths).Draw(t, "path")
	id, n := tr.lookup(path), m[path]
	data := []byte(rapid.SampledFrom([]string{"", "x", "some data"}).Draw(t, "data"))
	if rapid.IntRange(0, 3).Draw(t, "null") == 0 {
		data = nil
	}
	list := []protocol.ACL{{Perms: protocol.Perm(rapid.IntRange(0, 3).Draw(t, "perms")), ID: protocol.ID{Scheme: "world", ID: "anyone"}}}[:rapid.IntRange(0, 1).Draw(t, "acls")]
	if len(list) == 0 {
		list = nil
	}
	key := plainACL(tr.aclOf(tr.internACL(list)))
	switch rapid.IntRange(0, 4).Draw(t, "op") {
	case 0, 1:
		name := rapid.SampledFrom([]string{"a", "b", "c", "zookeeper"}).Draw(t, "name")
		if _, ok := m[path+"/"+name]; ok {
			return
		}
		owner := rapid.SampledFrom([]int64{0, 0, 5, containerMark, ttlMark | 1000}).Draw(t, "owner")
		tr.insert(id, name, data, tr.internACL(list), owner, zxid, 10*zxid)
		n.rec.pzxid, n.rec.creates, n.rec.children = zxid, n.rec.creates+1, n.rec.children+1
		m[path] = n
		m[path+"/"+name] = plainNode{record{czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: 10 * zxid, mtime: 10 * zxid, owner: owner}, string(data), data == nil, key}
	case 2:
		if path == "" || n.rec.children > 0 {
			return
		}
		tr.remove(id, zxid)
		delete(m, path)
		up := path[:strings.LastIndexByte(path, '/')]
		p := m[up]
		p.rec.pzxid, p.rec.children = zxid, p.rec.children-1
		m[up] = p
	case 3:
		tr.setData(id, data)
		tr.update(id, func(r *record) { r.mzxid, r.mtime, r.version = zxid, 10*zxid, r.version+1 })
		n.data, n.null, n.rec.mzxid, n.rec.mtime, n.rec.version = string(data), data == nil, zxid, 10*zxid, n.rec.version+1
		m[path] = n
	case 4:
		acl := tr.internACL(list)
		tr.update(id, func(r *record) { r.acl, r.aversion = acl, r.aversion+1 })
		n.acl, n.rec.aversion = key, n.rec.aversion+1
		m[path] = n
	}
}

// A tree is what a plain map makes of the same writes; a transaction rolled
// back leaves no trace; a snapshot holds the state at its start whatever is
// written while it is walked, and loads as an equal tree.
func TestTreeAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := newTree()
		m := plain(t, tr)
		type taken struct {
			s    *treeSnapshot
			want plainTree
			out  bytes.Buffer
		}
		var running []*taken
		for i := range rapid.IntRange(1, 25).Draw(t, "entries") {
			zxid := int64(i + 1)
			multi, ok := rapid.Bool().Draw(t, "multi"), true
			before, digest := maps.Clone(m), tr.stateDigest()
			if multi {
				tr.begin()
				ok = rapid.Bool().Draw(t, "commit")
			}
			for range rapid.IntRange(1, 6).Draw(t, "writes") {
				write(t, tr, m, zxid)
			}
			if multi && ok {
				tr.commit()
			} else if multi {
				tr.rollback()
				m = before
				if tr.stateDigest() != digest {
					t.Fatal("rollback changed the digest")
				}
			}
			tr.quiesce()
			if i%5 == 0 {
				check(t, tr, m)
			}
			if rapid.IntRange(0, 4).Draw(t, "snapshot") == 0 {
				running = append(running, &taken{s: tr.snapshot(), want: maps.Clone(m)})
			}
		}
		check(t, tr, m)
		for _, s := range running {
			w := newStreamWriter(&s.out)
			if err := s.s.writeTo(w, noLock{}); err != nil {
				t.Fatal(err)
			}
			if err := w.close(s.s.totals.state); err != nil {
				t.Fatal(err)
			}
			s.s.release()
			tr.quiesce()
			got, err := load(s.out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, s.want)
		}
	})
}

func TestFreshTree(t *testing.T) {
	tr := newTree()
	if tr.count() != 4 || tr.dataSize() != 44 {
		t.Errorf("count %d, data size %d; want 4, 44", tr.count(), tr.dataSize())
	}
	root := tr.stat(tr.lookup("/"))
	if want := (protocol.Stat{Cversion: -1, NumChildren: 1}); root != want {
		t.Errorf("root %+v, want %+v", root, want)
	}
	config := tr.lookup("/zookeeper/config")
	if st := tr.stat(config); st.Version != 0 || st.Aversion != -1 {
		t.Errorf("config version %d and aversion %d, want 0 and -1", st.Version, st.Aversion)
	}
	if acl := tr.aclOf(tr.at(config).acl); len(acl) != 1 || acl[0].Perms != protocol.PermRead {
		t.Errorf("config ACL %v, want world:anyone:r", acl)
	}
	if n := tr.descendants(rootID); n != 3 {
		t.Errorf("%d nodes below the root, want 3", n)
	}
	if n := tr.descendants(tr.lookup("/zookeeper")); n != 2 {
		t.Errorf("%d nodes below /zookeeper, want 2", n)
	}
}

func TestLookup(t *testing.T) {
	tr := newTree()
	a := tr.insert(rootID, "a", nil, aclOpen, 0, 1, 1)
	b := tr.insert(a, "b", nil, aclOpen, 0, 2, 2)
	for path, want := range map[string]nodeID{
		"": rootID, "/": rootID, "/a": a, "/a/b": b,
		"a": 0, "/a/": 0, "//a": 0, "/a//b": 0, "/a/b/": 0, "/b": 0, "/a/b/c": 0, "//": 0,
	} {
		if got := tr.lookup(path); got != want {
			t.Errorf("lookup(%q) = %d, want %d", path, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { tr.lookup("/a/b") }); n != 0 {
		t.Errorf("lookup allocates %v times", n)
	}
}

func TestStat(t *testing.T) {
	tr := newTree()
	id := tr.insert(rootID, "n", []byte("data"), aclOpen, 0, 7, 70)
	for _, c := range []struct {
		name              string
		creates, children int32
		owner             int64
		cversion          int32
		ephemeral         int64
	}{
		{"none", 0, 0, 0, 0, 0},
		{"created and deleted", 3, 1, 0, 5, 0},
		{"wraps", math.MaxInt32, 0, 0, -2, 0},
		{"ephemeral", 0, 0, 0x100000000000005, 0, 0x100000000000005},
		{"container", 0, 0, containerMark, 0, 0},
		{"ttl", 0, 0, ttlMark | 5000, 0, 0},
	} {
		tr.update(id, func(r *record) { r.creates, r.owner = c.creates, c.owner })
		tr.at(id).children = c.children
		want := protocol.Stat{Czxid: 7, Mzxid: 7, Pzxid: 7, Ctime: 70, Mtime: 70, DataLength: 4,
			Cversion: c.cversion, EphemeralOwner: c.ephemeral, NumChildren: c.children}
		if got := tr.stat(id); got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

func TestCreatesStopAtMax(t *testing.T) {
	tr := newTree()
	tr.update(rootID, func(r *record) { r.creates = math.MaxInt32 - 1 })
	for i := range 3 {
		tr.insert(rootID, fmt.Sprint(i), nil, aclOpen, 0, 1, 1)
	}
	if c := tr.at(rootID).creates; c != math.MaxInt32 {
		t.Errorf("creates = %d, want %d", c, math.MaxInt32)
	}
}

func TestFreedSlotsRest(t *testing.T) {
	tr := newTree()
	a := tr.insert(rootID, "a", nil, aclOpen, 0, 1, 1)
	tr.remove(a, 2)
	if b := tr.insert(rootID, "b", nil, aclOpen, 0, 2, 2); b == a {
		t.Error("a slot freed in the same entry was used again")
	}
	tr.quiesce()
	if c := tr.insert(rootID, "c", nil, aclOpen, 0, 3, 3); c != a {
		t.Error("a slot freed in an earlier entry was not used again")
	}
}

func TestUnusedACLsGo(t *testing.T) {
	tr := newTree()
	list := func(i int) []protocol.ACL {
		return []protocol.ACL{{Perms: 1, ID: protocol.ID{Scheme: "ip", ID: fmt.Sprint(i)}}}
	}
	n := tr.insert(rootID, "n", nil, aclOpen, 0, 1, 1)
	for i := range 100 {
		acl := tr.internACL(list(i))
		tr.update(n, func(r *record) { r.acl = acl })
		tr.quiesce()
	}
	if n := len(tr.acls.ids); n != 3 {
		t.Errorf("%d lists kept, want 3", n)
	}
	s := tr.snapshot()
	kept := tr.at(n).acl
	tr.update(n, func(r *record) { r.acl = aclOpen })
	tr.quiesce()
	if plainACL(tr.aclOf(kept)) != plainACL(list(99)) {
		t.Error("a list went while a snapshot was to write it")
	}
	s.release()
	tr.quiesce()
	if tr.aclOf(kept) != nil {
		t.Error("a list outlived its nodes and the snapshot")
	}
}

func TestIndexShrinksAndFinds(t *testing.T) {
	tr := newTree()
	const n = 100_000
	for i := range n {
		tr.insert(rootID, fmt.Sprintf("n%d", i), nil, aclOpen, 0, 1, 1)
	}
	for i := range n {
		if i%100 != 0 {
			tr.remove(tr.lookup(fmt.Sprintf("/n%d", i)), 2)
		}
	}
	for i := range n {
		if found := tr.lookup(fmt.Sprintf("/n%d", i)) != 0; found != (i%100 == 0) {
			t.Fatalf("n%d found: %v", i, found)
		}
	}
	slots := 0
	for _, sh := range tr.index.shards {
		slots += len(sh.slots)
	}
	if slots > 2<<shardBits*minShardSlots {
		t.Errorf("%d index slots for %d nodes", slots, tr.count())
	}
}
