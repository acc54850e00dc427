package fsm

import (
	"strings"

	"github.com/coordd/coordd/protocol"
)

// aclID stands for an access list. Equal lists have one id. The numbers are
// this server's own affair, as slots are.
type aclID uint32

const (
	aclNone aclID = 0 // the empty list
	aclOpen aclID = 1 // world:anyone with every permission
)

// aclTable holds each distinct access list once and counts the nodes that
// have it.
type aclTable struct {
	entries []aclEntry
	ids     map[string]aclID
	free    []aclID
	// idle names entries that had no node at some time since the last sweep.
	idle []aclID
}

type aclEntry struct {
	list []protocol.ACL // never changed once entered
	key  string         // its encoding; "" is a free entry
	hash uint64
	refs int
}

func newACLTable() aclTable {
	a := aclTable{entries: make([]aclEntry, 1), ids: map[string]aclID{}}
	a.ref(a.intern(protocol.WorldAnyone)) // pinned
	return a
}

// intern returns the list's id. It lasts until the sweep after the last node
// with that list went.
func (a *aclTable) intern(list []protocol.ACL) aclID {
	if len(list) == 0 {
		return aclNone
	}
	var buf [256]byte
	key := protocol.AppendACLs(buf[:0], list)
	if id, ok := a.ids[string(key)]; ok {
		return id
	}
	own := make([]protocol.ACL, len(list)) // of its own strings: those of list are part of an entry
	for i, l := range list {
		own[i] = protocol.ACL{Perms: l.Perms, ID: protocol.ID{Scheme: strings.Clone(l.ID.Scheme), ID: strings.Clone(l.ID.ID)}}
	}
	e := aclEntry{list: own, key: string(key), hash: mixBytes(mixA, key)}
	id := aclID(len(a.entries))
	if n := len(a.free); n > 0 {
		id = a.free[n-1]
		a.free = a.free[:n-1]
		a.entries[id] = e
	} else {
		a.entries = append(a.entries, e)
	}
	a.ids[e.key] = id
	a.idle = append(a.idle, id)
	return id
}

func (a *aclTable) ref(id aclID) { a.entries[id].refs++ }

func (a *aclTable) unref(id aclID) {
	e := &a.entries[id]
	if e.refs--; e.refs == 0 && id != aclNone {
		a.idle = append(a.idle, id)
	}
}

// sweep drops the lists that no node has.
func (a *aclTable) sweep() {
	for _, id := range a.idle {
		if e := &a.entries[id]; e.refs == 0 && e.key != "" {
			delete(a.ids, e.key)
			*e = aclEntry{}
			a.free = append(a.free, id)
		}
	}
	a.idle = a.idle[:0]
}
