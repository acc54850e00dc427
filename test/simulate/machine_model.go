//go:build simulate

package simulate

import (
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// model is ZooKeeper's state by maps, as the agreed log makes it. It remembers
// what nodes were like, so that a server that lags can be checked too.
type model struct {
	w        *world
	nodes    map[string]*node
	sessions map[int64]*session
	granted  map[attachment]uint8 // the servers that attachments were granted to
	streams  [256]stream
	zxid     int64
	timeMs   int64
	quotas   bool // hard quotas are enforced

	horizon int64 // nobody asks for states before this zxid
	trace   []trace
	changed []*node     // by the request under way
	owned   []ownership // by the request under way
	made    []string    // sequential nodes, for clients to work with
	ids     map[string][]protocol.ID
	ever    map[int64]map[string]bool // what was ever an ephemeral of a session
}

// attachment names one attachment of a session.
type attachment struct {
	session int64
	epoch   uint32
}

// stream is what the exactly-once rule needs of a server's process.
type stream struct{ incarnation, nonce, last uint64 }

type session struct {
	id         int64
	timeoutMs  int32
	password   string
	epoch      uint32
	owner      uint8
	ephemerals map[string]bool
}

type ownership struct {
	session int64
	path    string
	gone    bool
}

// node is every state that a path had, the latest last.
type node struct {
	path string
	past []state
	kids map[string]*node
}

type kind uint8

const (
	plain kind = iota
	ephemeral
	container
	withTTL
)

// state is a node from zxid on.
type state struct {
	zxid                              int64
	live                              bool
	kind                              kind
	data                              []byte // nil is null
	acl                               []protocol.ACL
	czxid, mzxid, pzxid, ctime, mtime int64
	owner                             int64 // session or TTL
	version, creates, aversion        int32
	children                          int32
}

const quotaRoot = "/zookeeper/quota"

func newModel(w *world) *model {
	m := &model{w: w, nodes: map[string]*node{}, sessions: map[int64]*session{}, granted: map[attachment]uint8{}, ids: map[string][]protocol.ID{}, ever: map[int64]map[string]bool{}}
	everybody := protocol.WorldAnyone
	readers := []protocol.ACL{{Perms: protocol.PermRead, ID: protocol.ID{Scheme: "world", ID: "anyone"}}}
	for _, n := range []struct {
		path string
		s    state
	}{
		{"/", state{live: true, acl: everybody, data: []byte{}, children: 1}},
		{"/zookeeper", state{live: true, acl: everybody, data: []byte{}, children: 2}},
		{quotaRoot, state{live: true, acl: everybody, data: []byte{}}},
		{"/zookeeper/config", state{live: true, acl: readers, data: []byte{}, aversion: -1}},
	} {
		made := m.node(n.path)
		made.past = append(made.past, n.s)
	}
	return m
}

// node is the history of a path, which may be empty.
func (m *model) node(path string) *node {
	n := m.nodes[path]
	if n == nil {
		n = &node{path: path, kids: map[string]*node{}}
		m.nodes[path] = n
		if parent, name := above(path); parent != "" {
			m.node(parent).kids[name] = n
		}
	}
	return n
}

// above cuts a path into its parent's and its name; there is none above "/".
func above(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	if path == "/" || i < 0 {
		return "", ""
	}
	if i == 0 {
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// at is the state at zxid; nil if the node is not there.
func (n *node) at(zxid int64) *state {
	if n == nil {
		return nil
	}
	for i := len(n.past) - 1; i >= 0; i-- {
		if n.past[i].zxid <= zxid {
			if s := &n.past[i]; s.live {
				return s
			}
			return nil
		}
	}
	return nil
}

func (m *model) now(path string) (*node, *state) {
	n := m.nodes[path]
	if n == nil || len(n.past) == 0 || !n.past[len(n.past)-1].live {
		return n, nil
	}
	return n, &n.past[len(n.past)-1]
}

// change returns the state that the request under way makes of n.
func (m *model) change(n *node) *state {
	k := len(n.past)
	if k > 0 && n.past[k-1].zxid == m.zxid {
		return &n.past[k-1]
	}
	if k >= 8 {
		m.shorten(n)
	}
	var s state
	if k = len(n.past); k > 0 {
		s = n.past[k-1]
	}
	s.zxid = m.zxid
	n.past = append(n.past, s)
	m.changed = append(m.changed, n)
	return &n.past[len(n.past)-1]
}

// shorten forgets what nobody can ask for any more.
func (m *model) shorten(n *node) {
	keep := 0
	for keep+1 < len(n.past) && n.past[keep+1].zxid <= m.horizon {
		keep++
	}
	n.past = slices.Delete(n.past, 0, keep)
	if len(n.kids) > 32+2*int(n.past[len(n.past)-1].children) {
		m.sweep(n)
	}
}

// sweep forgets children that are long gone.
func (m *model) sweep(n *node) {
	for name, kid := range n.kids {
		if len(kid.kids) > 0 || len(kid.past) > 0 && (kid.past[len(kid.past)-1].live || kid.past[len(kid.past)-1].zxid > m.horizon) {
			continue
		}
		delete(n.kids, name)
		delete(m.nodes, kid.path)
	}
}

// rollback undoes what the request under way has changed.
func (m *model) rollback() {
	for _, n := range m.changed {
		n.past = n.past[:len(n.past)-1]
	}
	m.changed, m.owned = m.changed[:0], m.owned[:0]
}

func (s *state) stat() protocol.Stat {
	st := protocol.Stat{
		Czxid: s.czxid, Mzxid: s.mzxid, Ctime: s.ctime, Mtime: s.mtime, Pzxid: s.pzxid, Version: s.version, Aversion: s.aversion,
		Cversion: 2*s.creates - s.children, DataLength: int32(len(s.data)), NumChildren: s.children,
	}
	if s.kind == ephemeral {
		st.EphemeralOwner = s.owner
	}
	return st
}

// children are the names of the children at zxid, sorted.
func (n *node) children(zxid int64) []string {
	names := []string{}
	for name, kid := range n.kids {
		if kid.at(zxid) != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// below counts the nodes below n at zxid.
func (n *node) below(zxid int64) int32 {
	sum := int32(0)
	for _, kid := range n.kids {
		if kid.at(zxid) != nil {
			sum += 1 + kid.below(zxid)
		}
	}
	return sum
}

// permits reports whether a list grants ids any of want.
func permits(acl []protocol.ACL, want protocol.Perm, ids []protocol.ID) bool {
	for _, a := range acl {
		if a.Perms&want == 0 {
			continue
		}
		if a.ID.Scheme == "world" {
			return true
		}
		for _, id := range ids {
			// Lists name whole networks of IPv4 here, as far as a dot.
			if id == a.ID || a.ID.Scheme == "ip" && id.Scheme == "ip" && strings.HasPrefix(id.ID, strings.TrimSuffix(a.ID.ID, "0.0.0/8")) {
				return true
			}
		}
	}
	return false
}

// stored is the list that a request's list becomes.
func stored(acl []protocol.ACL, ids []protocol.ID) ([]protocol.ACL, protocol.ErrCode) {
	var list []protocol.ACL
	seen := map[protocol.ACL]bool{}
	for _, a := range acl {
		if seen[a] {
			continue
		}
		seen[a] = true
		switch a.ID.Scheme {
		case "auth":
			any := false
			for _, id := range ids {
				if id.Scheme == "digest" {
					list, any = append(list, protocol.ACL{Perms: a.Perms, ID: id}), true
				}
			}
			if !any {
				return nil, protocol.InvalidACL
			}
		case "world", "ip", "digest":
			list = append(list, a)
		default:
			return nil, protocol.InvalidACL
		}
	}
	if len(list) == 0 {
		return nil, protocol.InvalidACL
	}
	return list, protocol.OK
}

// limitsOf finds the limits and the stats node of the longest prefix of path that
// has limits.
func (m *model) limitsOf(path string) (limits *state, stats *node) {
	if m.nodes[quotaRoot].at(m.zxid).children == 0 || strings.HasPrefix(path, quotaRoot) {
		return nil, nil
	}
	for prefix := path; prefix != "/"; prefix, _ = above(prefix) {
		if _, l := m.now(quotaRoot + prefix + "/zookeeper_limits"); l != nil {
			if n, s := m.now(quotaRoot + prefix + "/zookeeper_stats"); s != nil {
				return l, n
			}
			return l, nil
		}
	}
	return nil, nil
}

// number reads "key=number" from a quota's text, -1 if it is not there.
func number(text []byte, key string) int64 {
	for _, part := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == ';' }) {
		if value, ok := strings.CutPrefix(part, key+"="); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(value, "="), 10, 64)
			return n
		}
	}
	return -1
}

func (m *model) overQuota(path string, bytes, count int64) bool {
	if !m.quotas {
		return false
	}
	limits, stats := m.limitsOf(path)
	if limits == nil || stats == nil {
		return false
	}
	used := stats.past[len(stats.past)-1].data
	countHard, bytesHard := number(limits.data, "countHardLimit"), number(limits.data, "byteHardLimit")
	return count != 0 && countHard > -1 && number(used, "count")+count > countHard ||
		bytes != 0 && bytesHard > -1 && number(used, "bytes")+bytes > bytesHard
}

// use adds to the usage that path counts for.
func (m *model) use(path string, bytes, count int64) {
	if bytes == 0 && count == 0 {
		return
	}
	if _, stats := m.limitsOf(path); stats != nil {
		s := m.change(stats)
		s.data = usage(number(s.data, "count")+count, number(s.data, "bytes")+bytes)
	}
}

func usage(count, bytes int64) []byte {
	return []byte("count=" + strconv.FormatInt(count, 10) + ",bytes=" + strconv.FormatInt(bytes, 10))
}

// measure adds up a subtree.
func (m *model) measure(n *node) (bytes, count int64) {
	s := n.at(m.zxid)
	if s == nil {
		return 0, 0
	}
	bytes, count = int64(len(s.data)), 1
	for _, kid := range n.kids {
		b, c := m.measure(kid)
		bytes, count = bytes+b, count+c
	}
	return bytes, count
}

// trace is one call that a server's state machine has to make when it applies the
// entry, in order.
type trace struct {
	call call

	batch   fsm.BatchID // of batch
	n       int
	verdict fsm.Verdict

	event protocol.EventType // of event
	path  string
	acl   []protocol.ACL
	zxid  int64 // of event and of result

	session int64 // of opened, closed and result
	epoch   uint32
	timeout int32
	owner   uint8

	op        protocol.OpCode // of result
	i         int
	err       protocol.ErrCode
	body      []byte
	attached  uint32
	overQuota string

	nonce uint64 // of began; incarnation and server are in batch
	taken bool
}

type call uint8

const (
	callBatch call = iota
	callEvent
	callOpened
	callClosed
	callResult
	callBegan
)

func (c call) String() string {
	return [...]string{"batch", "event", "session opened", "session closed", "result", "began"}[c]
}
