//go:build simulate

package simulate

import (
	"encoding/binary"
	"slices"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// entry is one entry of the agreed log, and what comes of it.
type entry struct {
	index, term uint64
	data        []byte
	trace       []trace
	zxid        int64 // after it
	digest      uint64
	digested    bool // some server has applied it
}

// request is a request as it stands in the log.
type request struct {
	server  uint8
	session int64
	epoch   uint32
	op      protocol.OpCode
	ids     []protocol.ID
	body    []byte
}

// The kinds of item in an entry, as far as they occur here.
const (
	itemBatch     = 1
	itemBegin     = 3
	itemSettings  = 4
	itemCluster   = 5
	itemExpire    = 7
	itemReap      = 8
	itemRaiseZxid = 9
	itemMark      = 10
)

// fields reads an entry's fields one by one. It is a reader of its own: what the
// state machine's reader gets wrong it does not get wrong too.
type fields []byte

func (f *fields) take(n int) []byte {
	p := (*f)[:n]
	*f = (*f)[n:]
	return p
}

func (f *fields) byte() byte    { return f.take(1)[0] }
func (f *fields) int() int      { return int(int32(binary.BigEndian.Uint32(f.take(4)))) }
func (f *fields) long() uint64  { return binary.BigEndian.Uint64(f.take(8)) }
func (f *fields) bytes() []byte { return f.take(f.int()) }
func (f *fields) bits() uint32  { return binary.BigEndian.Uint32(f.take(4)) }

// apply carries out an entry of the agreed log.
func (m *model) apply(e *entry) {
	m.w.applyTerm = e.term
	clear(m.trace)
	m.trace = m.trace[:0]
	f := fields(e.data)
	if f.byte() != 1 {
		m.w.fail("log", "entry %d is of another version", e.index)
	}
	m.timeMs = max(m.timeMs, int64(f.long()))
	for len(f) > 0 {
		kind := f.byte()
		m.item(kind, fields(f.bytes()))
	}
	e.trace, e.zxid = slices.Clone(m.trace), m.zxid
}

func (m *model) item(kind byte, f fields) {
	switch kind {
	case itemBatch:
		m.batch(f)
	case itemBegin:
		t := trace{call: callBegan, batch: fsm.BatchID{Server: f.byte(), Incarnation: f.long()}, nonce: f.long()}
		if s := &m.streams[t.batch.Server]; t.batch.Incarnation > s.incarnation {
			*s = stream{incarnation: t.batch.Incarnation, nonce: t.nonce}
			t.taken = true
		}
		m.trace = append(m.trace, t)
	case itemSettings:
		m.quotas = f.bits()&2 != 0
	case itemCluster:
		f.take(16)
		m.members(string(f))
	case itemExpire:
		id, epoch := int64(f.long()), f.bits()
		if s := m.sessions[id]; s != nil && s.epoch == epoch {
			m.zxid = max(m.zxid+1, int64(m.w.applyTerm<<32|1))
			m.endSession(id)
			m.w.tally.expired++
		}
	case itemReap:
		czxid, mzxid, pzxid := int64(f.long()), int64(f.long()), int64(f.long())
		_, s := m.now(string(f))
		if s != nil && (s.kind == container || s.kind == withTTL) && s.children == 0 && s.czxid == czxid && s.mzxid == mzxid && s.pzxid == pzxid {
			m.zxid = max(m.zxid+1, int64(m.w.applyTerm<<32|1))
			m.remove(string(f))
			m.settle()
			m.w.tally.reaped++
		}
	case itemRaiseZxid:
		m.zxid = max(m.zxid, int64(f.long()))
	case itemMark:
	default:
		m.w.fail("log", "item of kind %d in the log", kind)
	}
}

// members puts the list of servers into the tree.
func (m *model) members(text string) {
	const path = "/zookeeper/config"
	n, s := m.now(path)
	if string(s.data) == text {
		return
	}
	m.zxid = max(m.zxid+1, int64(m.w.applyTerm<<32|1))
	s = m.change(n)
	s.data, s.version, s.mzxid, s.mtime = []byte(text), -1, m.zxid, m.timeMs
	m.event(protocol.NodeDataChanged, path, s.acl)
	m.settle()
}

func (m *model) batch(f fields) {
	if f.byte() != 1 {
		m.w.fail("log", "batch of another version")
	}
	id := fsm.BatchID{Server: f.byte(), Incarnation: f.long(), Seq: f.long()}
	n, lists := f.int(), f.int()
	s := &m.streams[id.Server]
	t := trace{call: callBatch, batch: id, n: n}
	switch {
	case id.Incarnation != s.incarnation:
		t.verdict = fsm.Stale
	case id.Seq <= s.last:
		t.verdict = fsm.Duplicate
	case id.Seq > s.last+1:
		t.verdict = fsm.Gap
	default:
		t.verdict = fsm.Accepted
		s.last++
	}
	m.w.tally.verdicts[t.verdict]++
	m.trace = append(m.trace, t)
	if t.verdict != fsm.Accepted {
		return
	}
	var identities [8][]protocol.ID
	table := identities[:0]
	for range lists {
		table = append(table, m.identities(&f))
	}
	for i := range n {
		r := request{server: id.Server, session: int64(f.long()), epoch: f.bits(), op: protocol.OpCode(f.int()), ids: table[f.int()], body: f.bytes()}
		m.w.order(&r)
		t := trace{call: callResult, i: i, session: r.session, epoch: r.epoch, op: r.op}
		m.request(&r, &t)
		m.settle()
		t.zxid = m.zxid
		m.trace = append(m.trace, t)
	}
}

// identities reads a list; the same bytes give the same list.
func (m *model) identities(f *fields) []protocol.ID {
	whole := *f
	n := f.int()
	for range 2 * n {
		f.bytes()
	}
	raw := whole[:len(whole)-len(*f)]
	if ids, ok := m.ids[string(raw)]; ok {
		return ids
	}
	key := string(raw)
	whole.int()
	ids := make([]protocol.ID, n)
	for i := range ids {
		ids[i] = protocol.ID{Scheme: string(whole.bytes()), ID: string(whole.bytes())}
	}
	m.ids[key] = ids
	return ids
}
