// Package watch keeps the watches of a server's connections and tells the
// connections what happens to the znodes they watch.
//
// It guarantees ZooKeeper's rules of who gets which event, once, and a price of
// a few dozen bytes a watch. Putting the calls in the right order with changes
// and reads of the tree, and notifications in order with replies, is left to
// the server: it calls Dispatch while it applies a change and Add in one step
// with the read that sets the watch.
package watch

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coordd/coordd/protocol"
)

// Kind is a kind of watch. A connection can have each of them on a path.
type Kind uint8

// The kinds of watches. Data and Child fire once (WatcherMode.STANDARD).
const (
	Data                Kind = 1 << iota // set by getData and exists
	Child                                // set by getChildren
	Persistent                           // events of the node and of its list of children
	PersistentRecursive                  // events of the node and of all below it, not of lists of children
)

const (
	kindBits = 4
	kindMask = 1<<kindBits - 1

	// ZooKeeper keeps two registries and puts persistent watches into both,
	// recursive ones into the first (DataTree.addWatch). Counts follow them.
	dataSide  = Data | Persistent | PersistentRecursive
	childSide = Child | Persistent
)

// Watcher is a connection, as the receiver of notifications.
type Watcher interface {
	// Notify gets a notification: a whole frame with its length in front. The
	// frame is shared with other watchers and must not be changed. Notify must
	// not block. It can come once more after Close.
	Notify(frame []byte)
	// CanRead reports whether the connection may read a node with this list.
	CanRead(acl []protocol.ACL) bool
}

// Event is a change that watches can tell of. ACL is the list of the node that
// Path names; only who can read it is told.
type Event struct {
	Type protocol.EventType
	Path string
	Zxid int64
	ACL  []protocol.ACL
}

// Handle is a connection's place in a Manager.
type Handle struct {
	watcher Watcher
	session int64
	id      uint32 // none once closed
	links   uint32 // first by handle
	data    uint32 // how many links are of the data side
	mark    uint64 // the last dispatch that found this handle
}

// link is the watches of one connection on one path. It hangs in two lists.
type link struct {
	path           uint32
	handleAndKinds uint32
	nextByPath     uint32
	prevByPath     uint32
	nextByHandle   uint32
	prevByHandle   uint32
}

func (l *link) handle() uint32 { return l.handleAndKinds >> kindBits }
func (l *link) kinds() Kind    { return Kind(l.handleAndKinds & kindMask) }

// pathRecord is a path that somebody watches.
type pathRecord struct {
	name  string
	hash  uint32
	links uint32 // first by path
	data  uint32 // how many links are of the data side
}

// Manager holds all watches of a server. Its methods may be called by several
// goroutines. It calls watchers without holding its lock, so that they may
// take locks under which other goroutines call the manager.
type Manager struct {
	live atomic.Int64 // links; lets Dispatch return at once when there are none

	mu        sync.Mutex
	seed      maphash.Seed
	paths     slab[pathRecord]
	byName    index
	links     slab[link]
	byPair    index
	handles   slab[*Handle]
	counts    counts
	dispatch  uint64    // the number of the last dispatch
	recipient []*Handle // scratch space of Dispatch; nil while one uses it
}

// counts is what the manager holds, kept up to date with every change.
type counts struct {
	paths, connections         int // with any watch
	dataPaths, dataConnections int // with a watch of the data side
	dataLinks, childLinks      int
	recursive                  int
}

// New returns an empty manager.
func New() *Manager { return &Manager{seed: maphash.MakeSeed()} }

// Register adds a connection. session is its session's id, for listings.
func (m *Manager) Register(w Watcher, session int64) *Handle {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &Handle{watcher: w, session: session, id: m.handles.alloc()}
	*m.handles.at(h.id) = h
	return h
}

// Close drops a connection and all its watches. Closing twice does no harm.
func (m *Manager) Close(h *Handle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.id == none {
		return
	}
	for h.links != none {
		m.setKindsLocked(h.links, 0)
	}
	m.handles.release(h.id)
	h.id = none
}

// Add sets a watch; setting it again changes nothing, and a closed handle sets
// none. The path may be anything; a copy of it is kept as long as it is watched.
func (m *Manager) Add(h *Handle, path string, kind Kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.id == none {
		return
	}
	hash := m.hash(path)
	p := m.findPathLocked(hash, path)
	if p == none {
		p = m.paths.alloc()
		*m.paths.at(p) = pathRecord{name: strings.Clone(path), hash: hash}
		m.byName.add(hash, p, m.pathHash)
		m.counts.paths++
	}
	l := m.findLinkLocked(p, h.id)
	if l == none {
		l = m.linkLocked(p, h)
	}
	m.setKindsLocked(l, m.links.at(l).kinds()|kind)
}

// Remove drops the watches of one of protocol's Watcher types (removeWatches)
// on exactly this path and reports whether there were any.
func (m *Manager) Remove(h *Handle, path string, watcherType int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, wanted := m.lookupLocked(h, path), kindsOf(watcherType)
	if l == none || m.links.at(l).kinds()&wanted == 0 {
		return false
	}
	m.setKindsLocked(l, m.links.at(l).kinds()&^wanted)
	return true
}

// Has reports whether there is a watch of one of protocol's Watcher types
// (checkWatches) on exactly this path.
func (m *Manager) Has(h *Handle, path string, watcherType int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lookupLocked(h, path)
	return l != none && m.links.at(l).kinds()&kindsOf(watcherType) != 0
}

// kindsOf returns the kinds that a watcher type stands for, none if there is
// no such type.
func kindsOf(watcherType int32) Kind {
	switch watcherType {
	case protocol.WatcherChildren:
		return Child
	case protocol.WatcherData:
		return Data
	case protocol.WatcherAny:
		return kindMask
	case protocol.WatcherPersistent:
		return Persistent
	case protocol.WatcherPersistentRecursive:
		return PersistentRecursive
	}
	return 0
}

// Dispatch tells the watchers of an event, each at most once whatever watches
// of it match, and uses up the watches that fire once. A watcher that may not
// read the node is not told, but its watches are used up all the same
// (WatchManager.triggerWatch, NIOServerCnxn.process). Events are delivered in
// the order of the calls if the calls come one after another. It returns how
// many watchers there were.
func (m *Manager) Dispatch(e *Event) (watchers int) {
	if m.live.Load() == 0 {
		return 0
	}
	recipients := m.match(e)
	watchers = len(recipients)
	if watchers == 0 {
		return 0
	}
	var frame []byte
	for _, h := range recipients {
		if !h.watcher.CanRead(e.ACL) {
			continue
		}
		if frame == nil {
			frame = NotificationFrame(e.Zxid, e.Type, e.Path)
		}
		h.watcher.Notify(frame)
	}
	m.keepScratch(recipients)
	return watchers
}

// match returns the handles to be told of e and uses up what fires once.
func (m *Manager) match(e *Event) []*Handle {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dispatch++
	recipients := m.matchLocked(e, m.recipient)
	if len(recipients) > 0 {
		m.recipient = nil
	}
	return recipients
}

func (m *Manager) matchLocked(e *Event, recipients []*Handle) []*Handle {
	fires, once := firing(e.Type)
	for l := m.firstLinkLocked(e.Path); l != none; {
		record := m.links.at(l)
		this, kinds := l, record.kinds()
		l = record.nextByPath
		if kinds&fires == 0 {
			continue
		}
		recipients = m.appendOnceLocked(recipients, record.handle())
		if kinds&once != 0 {
			m.setKindsLocked(this, kinds&^once)
		}
	}
	if e.Type == protocol.NodeChildrenChanged || m.counts.recursive == 0 {
		return recipients
	}
	for parent, ok := parentOf(e.Path); ok; parent, ok = parentOf(parent) {
		for l := m.firstLinkLocked(parent); l != none; {
			record := m.links.at(l)
			if record.kinds()&PersistentRecursive != 0 {
				recipients = m.appendOnceLocked(recipients, record.handle())
			}
			l = record.nextByPath
		}
	}
	return recipients
}

// firing returns the kinds of watches on a node that an event of it fires,
// and those among them that it uses up.
func firing(t protocol.EventType) (fires, once Kind) {
	switch t {
	case protocol.NodeChildrenChanged:
		return childSide, Child
	case protocol.NodeDeleted:
		return dataSide | childSide, Data | Child
	default:
		return dataSide, Data
	}
}

// parentOf returns the path above an absolute one (PathParentIterator).
func parentOf(path string) (string, bool) {
	slash := strings.LastIndexByte(path, '/')
	switch {
	case slash < 0 || path == "/":
		return "", false
	case slash == 0:
		return "/", true
	}
	return path[:slash], true
}

// appendOnceLocked appends the handle unless this dispatch has found it
// already.
func (m *Manager) appendOnceLocked(to []*Handle, handle uint32) []*Handle {
	h := *m.handles.at(handle)
	if h.mark == m.dispatch {
		return to
	}
	h.mark = m.dispatch
	return append(to, h)
}

// keepScratch keeps a slice for the next dispatch unless it is a big one.
func (m *Manager) keepScratch(s []*Handle) {
	const keep = 1024
	clear(s)
	if cap(s) > keep {
		return
	}
	m.mu.Lock()
	m.recipient = s[:0]
	m.mu.Unlock()
}

// NotificationFrame returns a notification as it is sent: the length, the
// header with xid -1 and the event. Notifications that setWatches catches up
// on carry zxid -1.
func NotificationFrame(zxid int64, typ protocol.EventType, path string) []byte {
	header := protocol.ReplyHeader{Xid: -1, Zxid: zxid}
	event := protocol.WatcherEvent{Type: typ, State: protocol.StateSyncConnected, Path: path}
	b := make([]byte, 4, 4+16+12+len(path))
	b = event.AppendTo(header.AppendTo(b))
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
