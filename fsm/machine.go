// Package fsm is coordd's deterministic state machine: the znode tree,
// sessions, ACL checks, sequence numbers, quotas, multi, and the table that
// makes every batch count exactly once. Entries of the log go in; results and
// events come out through a Sink. Two machines that were given the same
// entries are equal, whatever their clocks, their hardware and the snapshots
// they passed through: the machine reads no clock, no random source, no file,
// and no map's order reaches its output.
//
// It leaves to others: locking (the owner holds a write lock for Apply and a
// read lock for reads), Raft, connections, watches, who is leader, and when a
// session has expired.
package fsm

import (
	"slices"

	"github.com/coordd/coordd/protocol"
)

// Machine is the whole replicated state. It has no lock of its own: Apply,
// Snapshot and Snapshot.Release exclude everything else; the reading methods
// may run beside each other.
type Machine struct {
	tree       *tree
	sessions   sessionTable
	ephemerals ephemeralTable
	streams    [256]stream
	zxid       int64
	timeMs     int64
	settings   Settings
	clusterID  [16]byte

	// The last mark and the last verdict. They are no part of the state: a
	// restored machine has none.
	mark, verdicted Mark

	// digests are of the last zxids that digestInterval divides. They are no
	// part of the state either.
	digests []ZxidDigest

	// anyBatch is the fault that IgnoreStreamTable plants.
	anyBatch bool

	// What Apply uses again and again, to spare the collector.
	items  []item
	batch  Batch
	txn    txn
	result Result
	stats  []byte
}

// stream is what is kept, for ever, of one server's batches.
type stream struct {
	incarnation uint64 // the process whose batches count; 0: none began yet
	nonce       uint64 // what that process began with
	last        uint64 // the last batch of it that was applied
	admitted    uint64 // the number of the last admit; 0: none
}

// New returns the state of an ensemble that nobody has used yet.
func New() *Machine {
	return &Machine{tree: newTree(), sessions: newSessionTable(), ephemerals: newEphemeralTable()}
}

// Verdict says what became of a batch.
type Verdict uint8

const (
	// Accepted: it was the next of its stream, and its requests are applied.
	Accepted Verdict = iota
	// Duplicate: it had been applied before; nothing happens.
	Duplicate
	// Gap: batches before it are missing; nothing happens, it must come again.
	Gap
	// Stale: it is not of the process that its server runs by now.
	Stale
	// RefusedBatch: it was the next, but all its requests fail with one code.
	RefusedBatch
)

// String is the verdict's word in logs and metrics.
func (v Verdict) String() string {
	return [...]string{"accepted", "duplicate", "gap", "stale", "refused"}[v]
}

// Result answers a request.
type Result struct {
	// Zxid is for the reply's header: the request's own, or the last one of
	// the state where the request takes none.
	Zxid int64
	// Err is OK or why the request failed. At SessionMoved and SessionExpired
	// the connection is closed without a reply.
	Err protocol.ErrCode
	// Body is the encoded response, nil for a failed request and where there
	// is none. It is only valid during the call.
	Body []byte
	// Epoch is the session's epoch, after createSession and attach.
	Epoch uint32
	// OverQuota is the path that a hard quota refused, in a multi too; else
	// empty.
	OverQuota string
}

// Event is a change that watches may wait for.
type Event struct {
	Type protocol.EventType
	Path string
	// Node is the slot of Path in the tree; it is not used for another node
	// before the entry has been applied as a whole.
	Node uint32
	Zxid int64
	// ACL decides who may see the event: it is Path's own.
	ACL []protocol.ACL
	// Written is how many bytes of data the change has put there.
	Written int
}

// Sink takes what comes out of Apply, in order, on the goroutine that
// applies. It must not call the machine's writing methods.
type Sink interface {
	// Batch comes before the results of a batch of n requests and reports
	// whether they are wanted here. At RefusedBatch there are none: all n are
	// answered with code.
	Batch(id BatchID, n int, v Verdict, code protocol.ErrCode) bool
	// Result answers the i-th request of the batch, after the request's events.
	Result(i int, r *Result)
	// Event tells of a change; e is valid during the call only.
	Event(e *Event)
	// SessionOpened tells of a session that was created or attached.
	SessionOpened(id int64, timeoutMs int32, owner uint8, epoch uint32)
	// SessionClosed tells of a session's end, after the events of its ephemerals.
	SessionClosed(id int64)
	// Began tells of a process's begin, and whether it was taken; one that is
	// there already is not.
	Began(server uint8, incarnation, nonce uint64, taken bool)
	// Admitted tells that server holds everything again, joined under number.
	Admitted(server uint8, number uint64)
	// ClusterID tells the id that the cluster has.
	ClusterID(id [16]byte)
}

// Zxid is the last zxid given out, or that RaiseZxid asked for.
func (m *Machine) Zxid() int64 { return m.zxid }

// TimeMs is the time of the last entry, in milliseconds since the Unix epoch;
// it never goes back.
func (m *Machine) TimeMs() int64 { return m.timeMs }

// Settings are those that decide at present.
func (m *Machine) Settings() Settings { return m.settings }

// ClusterID is the cluster's id, all zero as long as it has none.
func (m *Machine) ClusterID() [16]byte { return m.clusterID }

// Stream is what is known of server's batches: the process that sends them,
// and the last that was applied.
func (m *Machine) Stream(server uint8) (incarnation, nonce, lastSeq uint64) {
	s := &m.streams[server]
	return s.incarnation, s.nonce, s.last
}

// AdmittedNumber is the number that server was last admitted under, 0 if it
// never was. A server that takes over a snapshot does not see the call of
// Sink.Admitted and asks here.
func (m *Machine) AdmittedNumber(server uint8) uint64 { return m.streams[server].admitted }

// IgnoreStreamTable plants a fault for tests: the machine then applies every
// batch of a server's running process, also one that it has applied before.
// A checker that finds nothing wrong with such a machine is itself broken.
func (m *Machine) IgnoreStreamTable() { m.anyBatch = true }

// verdict judges a batch by the stream table and enters it there if it is the
// next: the one comparison that exactly-once rests on.
func (m *Machine) verdict(id BatchID) Verdict {
	s := &m.streams[id.Server]
	switch {
	case id.Incarnation != s.incarnation || s.incarnation == 0:
		return Stale
	case id.Seq == s.last+1:
	case m.anyBatch && id.Seq <= s.last:
		return Accepted
	case id.Seq <= s.last:
		return Duplicate
	default:
		return Gap
	}
	s.last = id.Seq
	return Accepted
}

// begin enters a process into the stream table. Only a greater incarnation is
// taken; the stored one again changes nothing.
func (m *Machine) begin(server uint8, incarnation, nonce uint64) bool {
	s := &m.streams[server]
	if incarnation <= s.incarnation {
		return false
	}
	s.incarnation, s.nonce, s.last = incarnation, nonce, 0
	return true
}

// Digest is ZooKeeper's digest of the tree (version 2), as `hash` shows it.
func (m *Machine) Digest() uint64 { return m.tree.digest() }

// ZxidDigest is ZooKeeper's digest of the tree as a request left it.
type ZxidDigest struct {
	Zxid   int64
	Digest uint64
}

// digestInterval says at which zxids the digest is noted, and digestsKept how
// many of them are (DataTree).
const (
	digestInterval = 128
	digestsKept    = 1024
)

// noteDigest notes the digest of the present zxid, once.
func (m *Machine) noteDigest() {
	n := len(m.digests)
	if m.zxid == 0 || n > 0 && m.digests[n-1].Zxid == m.zxid {
		return
	}
	if n == digestsKept {
		m.digests = append(m.digests[:0], m.digests[1:]...)
	}
	m.digests = append(m.digests, ZxidDigest{m.zxid, m.tree.digest()})
}

// Digests are those of the latest zxids that 128 divides, oldest first, since
// this machine was made or restored. The slice is the caller's.
func (m *Machine) Digests() []ZxidDigest { return slices.Clone(m.digests) }

// Mark is a digest of the state at a place in the log that a number names; 0
// names none.
type Mark struct {
	Number, Digest uint64
}

// Mark is the digest that this machine had at the last mark.
func (m *Machine) Mark() Mark { return m.mark }

// Verdict is the digest that most servers had at a mark, where they differed.
func (m *Machine) Verdict() Mark { return m.verdicted }

// The parts of the state digest that are no part of the tree start from
// values of their own, so that none can stand for another.
const (
	headSeed    = 0x636f6f72_64640001
	sessionSeed = 0x636f6f72_64640002
)

// StateDigest is a digest of everything that entries decide about: tree, ACL
// lists, sessions, stream table, zxid, time, settings, cluster id. Equal
// states have equal digests, whatever happened on the way. It costs a few
// microseconds.
func (m *Machine) StateDigest() uint64 {
	sum := m.tree.stateDigest() + m.sessions.sum
	return sum + mixBytes(headSeed, m.appendHead(nil))
}
