package fsm

import (
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// session is one row of the session table; id 0 marks a free slot.
type session struct {
	id        int64
	timeoutMs int32
	epoch     uint32 // grows with every attachment, from 1
	owner     uint8  // the server that it is attached to
	password  [PasswordSize]byte
}

const sessionSize = 8 + 4 + 4 + 1 + PasswordSize

func (s *session) appendTo(b []byte) []byte {
	b = protocol.AppendInt(protocol.AppendLong(b, s.id), s.timeoutMs)
	b = append(binary.BigEndian.AppendUint32(b, s.epoch), s.owner)
	return append(b, s.password[:]...)
}

func (s *session) decode(d *protocol.Decoder) {
	s.id, s.timeoutMs, s.epoch, s.owner = d.Long(), d.Int(), uint32(d.Int()), decodeByte(d)
	for i := range s.password {
		s.password[i] = decodeByte(d)
	}
}

func (s *session) hash() uint64 {
	var b [sessionSize]byte
	return mixBytes(sessionSeed, s.appendTo(b[:0]))
}

const sessionsPerChunk = 256

// sessionChunk is copied before its first change after a snapshot began, so
// that a snapshot keeps the table by copying the chunks' addresses alone.
type sessionChunk struct {
	generation uint64
	rows       [sessionsPerChunk]session
}

// sessionTable holds all global sessions.
type sessionTable struct {
	slots      map[int64]uint32
	chunks     []*sessionChunk
	free       []uint32
	generation uint64
	sum        uint64 // of the rows' hashes
}

func newSessionTable() sessionTable { return sessionTable{slots: map[int64]uint32{}} }

// get returns the row of id for reading, or nil.
func (t *sessionTable) get(id int64) *session {
	slot, ok := t.slots[id]
	if !ok {
		return nil
	}
	return &t.chunks[slot/sessionsPerChunk].rows[slot%sessionsPerChunk]
}

// set writes the row of s.id, a new one if there is none.
func (t *sessionTable) set(s session) {
	slot, ok := t.slots[s.id]
	switch {
	case ok:
		t.sum -= t.get(s.id).hash()
	case len(t.free) > 0:
		slot = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	default:
		slot = uint32(len(t.slots))
		if int(slot) == len(t.chunks)*sessionsPerChunk {
			t.chunks = append(t.chunks, &sessionChunk{generation: t.generation})
		}
	}
	t.slots[s.id] = slot
	t.sum += s.hash()
	*t.row(slot) = s
}

func (t *sessionTable) remove(id int64) {
	slot := t.slots[id]
	t.sum -= t.get(id).hash()
	*t.row(slot) = session{}
	delete(t.slots, id)
	t.free = append(t.free, slot)
}

// row returns a row for writing.
func (t *sessionTable) row(slot uint32) *session {
	c := &t.chunks[slot/sessionsPerChunk]
	if (*c).generation != t.generation {
		fresh := **c
		fresh.generation = t.generation
		*c = &fresh
	}
	return &(*c).rows[slot%sessionsPerChunk]
}

// freeze returns the table as it stands; later changes do not touch it.
func (t *sessionTable) freeze() []*sessionChunk {
	t.generation++
	return slices.Clone(t.chunks)
}

// ephemeralTable knows the ephemerals of every session. It follows from the
// tree, and so is in no snapshot.
type ephemeralTable struct {
	nodes map[int64]map[nodeID]struct{}
	count int
}

func newEphemeralTable() ephemeralTable {
	return ephemeralTable{nodes: map[int64]map[nodeID]struct{}{}}
}

func (t *ephemeralTable) add(session int64, id nodeID) {
	set := t.nodes[session]
	if set == nil {
		set = map[nodeID]struct{}{}
		t.nodes[session] = set
	}
	set[id] = struct{}{}
	t.count++
}

func (t *ephemeralTable) remove(session int64, id nodeID) {
	set := t.nodes[session]
	delete(set, id)
	if len(set) == 0 {
		delete(t.nodes, session)
	}
	t.count--
}

// SessionInfo is what the session table says of a session.
type SessionInfo struct {
	ID        int64
	TimeoutMs int32
	// Owner is the server that the session is attached to.
	Owner uint8
	// Epoch counts its attachments, from 1.
	Epoch uint32
	// Ephemerals is how many nodes go with it.
	Ephemerals int
}

// Session returns what is known of session id.
func (m *Machine) Session(id int64) (SessionInfo, bool) {
	s := m.sessions.get(id)
	if s == nil {
		return SessionInfo{}, false
	}
	return m.sessionInfo(s), true
}

// EachSession calls fn for every session, in no particular order, until it
// returns false.
func (m *Machine) EachSession(fn func(SessionInfo) bool) {
	for _, c := range m.sessions.chunks {
		for i := range c.rows {
			if c.rows[i].id != 0 && !fn(m.sessionInfo(&c.rows[i])) {
				return
			}
		}
	}
}

func (m *Machine) sessionInfo(s *session) SessionInfo {
	return SessionInfo{ID: s.id, TimeoutMs: s.timeoutMs, Owner: s.owner, Epoch: s.epoch,
		Ephemerals: len(m.ephemerals.nodes[s.id])}
}

// Ephemerals lists session's ephemeral nodes whose paths start with prefix,
// sorted. As in ZooKeeper the prefix is a plain string, and a null or blank
// one or "/" stands for all.
func (m *Machine) Ephemerals(session int64, prefix string) []string {
	trimmed := strings.TrimFunc(prefix, func(r rune) bool { return r <= ' ' }) // as String.trim does
	if prefix == protocol.NullString || trimmed == "" || trimmed == "/" {
		prefix = "/"
	}
	paths := []string{}
	for _, path := range m.ephemeralPaths(session) {
		if strings.HasPrefix(path, prefix) {
			paths = append(paths, path)
		}
	}
	return paths
}

// ephemeralPaths are the paths of session's ephemerals, sorted, as the order
// of a map must not reach what every server does.
func (m *Machine) ephemeralPaths(session int64) []string {
	set := m.ephemerals.nodes[session]
	paths := make([]string, 0, len(set))
	for id := range set {
		paths = append(paths, m.tree.path(id))
	}
	slices.Sort(paths)
	return paths
}

// present checks that the request's session is there and attached where the
// request came from.
func (m *Machine) present(x *txn) protocol.ErrCode {
	if x.epoch == LocalEpoch {
		return protocol.OK
	}
	s := m.sessions.get(x.session)
	switch {
	case s == nil:
		return protocol.SessionExpired
	case s.epoch != x.epoch:
		return protocol.SessionMoved
	}
	return protocol.OK
}

// createSession opens a session. ZooKeeper numbers this too.
func (m *Machine) createSession(x *txn, body []byte, owner uint8) protocol.ErrCode {
	var r CreateSession
	d := protocol.NewDecoder(body)
	r.Decode(&d)
	switch {
	case d.Err() != nil || len(r.Password) != PasswordSize:
		return protocol.MarshallingError
	case !validSessionID(r.ID):
		return protocol.BadArguments
	case m.sessions.get(r.ID) != nil:
		return protocol.SessionMoved
	}
	s := session{id: r.ID, timeoutMs: r.TimeoutMs, epoch: 1, owner: owner, password: [PasswordSize]byte(r.Password)}
	m.sessions.set(s)
	x.resultEpoch = s.epoch
	x.sink.SessionOpened(s.id, s.timeoutMs, s.owner, s.epoch)
	return protocol.OK
}

// validSessionID refuses ids that could be taken for the mark of a container
// or TTL node where an ephemeral's owner stands.
func validSessionID(id int64) bool {
	return ephemeralOwner(id) != 0
}

// attach moves a session to another connection: compare and set on its epoch.
// The password is judged before anything else, in constant time.
func (m *Machine) attach(x *txn, body []byte, owner uint8) protocol.ErrCode {
	var r Attach
	d := protocol.NewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	s := m.sessions.get(x.session)
	if s == nil || subtle.ConstantTimeCompare(s.password[:], r.Password) != 1 {
		return protocol.SessionExpired
	}
	x.resultEpoch = s.epoch
	if s.epoch != r.Replaces {
		return protocol.BadVersion
	}
	moved := *s
	moved.epoch++
	moved.owner, moved.timeoutMs = owner, r.TimeoutMs
	m.sessions.set(moved)
	x.resultEpoch = moved.epoch
	x.sink.SessionOpened(moved.id, moved.timeoutMs, moved.owner, moved.epoch)
	return protocol.OK
}

// closeSession ends a session and removes its ephemerals under one zxid.
func (m *Machine) closeSession(x *txn, id int64) {
	for _, path := range m.ephemeralPaths(id) {
		m.unlink(x, m.tree.lookup(path), path)
	}
	m.sessions.remove(id)
	m.flush(x)
	x.sink.SessionClosed(id)
}

// expire ends a session, if it is still at the epoch that the leader saw.
func (m *Machine) expire(x *txn, id int64, epoch uint32, term uint64) {
	s := m.sessions.get(id)
	if s == nil || s.epoch != epoch {
		return
	}
	m.number(x, term)
	m.closeSession(x, id)
}
