// Package replica is this server's copy of the state, kept equal to all others
// by Raft. It is the one importer of hashicorp/raft, and owns the state machine
// and its lock.
//
// It guarantees:
//
//   - Every server applies the same entries in the same order, each once. What
//     a Future or a Sink's result has told is in the logs of a quorum, on disk.
//   - The faults of hashicorp/raft v1.7.3 do not show: replicas that diverge by
//     a heartbeat (#695), votes stored by halves (#661), replication that wedges
//     (#611, #612). See Transport and VoteStore.
//   - A disk that fails a write of the log, a full one say, costs neither state
//     nor process. Raft ends before it can go on with a wrong last index; stores
//     and Raft are opened again as soon as the disk can be written, and until
//     then this server acknowledges nothing, votes for nobody, leads nobody, and
//     serves its state to readers. Fault says so.
//   - A leader whose disk stalls hands its place to another server.
//   - A log damaged elsewhere than in its torn last write is refused, not served.
//
// It leaves to others: who is a member and when to bootstrap; whether a server
// may vote that lost its data (the server package asks its peers; SetJoining is
// its switch); what is in an entry (fsm); to send a proposal again whose Future
// failed; and to end the process when Fatal is told.
package replica

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/fsm"
)

// maxAppendEntries is how many log entries one AppendEntries message carries,
// and how many the state machine applies under one lock. With fewer a
// follower that lags by a burst is sent only one window per wake-up.
const maxAppendEntries = 512

// proposeTimeout bounds the wait for Raft to take an entry, not to commit it.
const proposeTimeout = 10 * time.Second

const (
	// transferTimeout bounds the wait for another server to lead.
	transferTimeout = 5 * time.Second
	// shutdownTimeout bounds the wait for Raft's end.
	shutdownTimeout = 15 * time.Second
)

// Sink receives what the state machine yields while entries are applied, in
// order, on every server. Its methods run on the apply goroutine under the
// replica's write lock, but for Applied: they must not block and must not call
// back into the Replica.
type Sink interface {
	fsm.Sink
	// Entry follows the last result of one log entry. m may be read.
	Entry(m *fsm.Machine)
	// Restored says that a snapshot has replaced the state of a running
	// server: events and results of the entries in between are lost.
	Restored(m *fsm.Machine)
	// Applied follows a run of entries, after the lock is released.
	Applied()
}

// Member is one server of the ensemble, as Raft sees it.
type Member struct {
	ID    uint8
	Addr  string // host:electionPort, or any name on an in-process transport
	Voter bool
}

// Storage is what a replica keeps on disk. The seam lets tests lose writes.
type Storage struct {
	Logs      *LogStore
	Stable    *VoteStore
	Snapshots raft.SnapshotStore
}

// Timing is handed to Raft; see config.Raft.
type Timing struct {
	Heartbeat, Election, Lease, Commit time.Duration
	SnapshotThreshold, TrailingLogs    uint64
}

// Options are the settings of Open. Peers may be nil on a server that runs
// alone; Logger and GaveUp may be nil; all else must be set.
type Options struct {
	ID uint8
	// OpenWire opens what carries Raft's messages and tells how many
	// connections to a peer it pools. It is called again, after the wire was
	// closed, each time the log is opened again.
	OpenWire func() (wire Wire, maxPool int, err error)
	// Storage holds the open stores. Open owns them, also when it fails.
	Storage Storage
	// Reopen opens them again after a failed write, once they are closed; it
	// fails as long as the disk cannot be written. See CheckRoom.
	Reopen func() (Storage, error)
	// Joining, the number of this server's joining mark, keeps it out of every
	// election from the first moment; see SetJoining.
	Joining uint64
	Timing  Timing
	Sink    Sink
	// Peers tells a leader with a failing disk who can take its place.
	Peers  Peers
	Logger hclog.Logger
	// GaveUp is told, from any goroutine, that this server led, that its disk
	// stalls, and that another was asked to take its place. Raft here knows
	// nothing of it until the disk is back, so clients must be sent away.
	GaveUp func()
	// Fatal is told, at most once and from any goroutine, of a fault after
	// which this process must not go on: an entry that cannot be decoded, or
	// a disk that has stalled for too long.
	Fatal func(error)
	// OnSnapshot, which may be nil, is told from any goroutine of each snapshot
	// that was dealt with, how long that took, and whether it failed.
	OnSnapshot func(did SnapshotStep, took time.Duration, err error)
}

// Replica is this server's copy of the state and its place in the Raft group.
// It owns the machine and its lock. All methods are safe for concurrent use.
type Replica struct {
	id        uint8
	config    raft.Config
	openWire  func() (Wire, int, error)
	reopen    func() (Storage, error)
	sink      Sink
	peers     Peers
	logger    hclog.Logger
	gaveUp    func()
	fatal     func(error)
	fatalOnce sync.Once
	snapshot  func(SnapshotStep, time.Duration, error)
	terms     chan bool
	change    atomic.Pointer[chan struct{}] // closed at the next change of leader

	current atomic.Pointer[core]   // never nil once Open is done; over while the stores are opened again
	fault   atomic.Pointer[string] // why there is no running Raft; nil if there is

	lastSnapshot atomic.Pointer[SnapshotInfo] // nil until there is one

	stop     chan struct{} // closed by Shutdown
	stopOnce sync.Once
	builder  sync.WaitGroup // rebuild, which alone replaces current
	workers  sync.WaitGroup // all others

	joinMu  sync.Mutex
	joining uint64 // guarded by joinMu
	latest  *core  // the one that starts or runs; guarded by joinMu

	mu               sync.RWMutex
	machine          *fsm.Machine // guarded by mu
	running          bool         // Raft has started: a restore now replaces live state. Guarded by mu.
	term, termBefore uint64       // of the last entry applied, and of the last one of another term before it; 0 if not known. Guarded by mu.
	applied          uint64       // index of the last entry applied, or of the snapshot restored after it. Guarded by mu.
}

// Open starts Raft on what the stores hold. A server without a log stays
// outside every group until Bootstrap, or until a leader adds it.
func Open(o Options) (*Replica, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.GaveUp == nil {
		o.GaveUp = func() {}
	}
	if o.OnSnapshot == nil {
		o.OnSnapshot = func(SnapshotStep, time.Duration, error) {}
	}
	r := &Replica{
		id:       o.ID,
		config:   raftConfig(o),
		openWire: o.OpenWire,
		reopen:   o.Reopen,
		sink:     o.Sink,
		peers:    o.Peers,
		logger:   o.Logger,
		gaveUp:   o.GaveUp,
		fatal:    o.Fatal,
		joining:  o.Joining,
		snapshot: o.OnSnapshot,
		stop:     make(chan struct{}),
		terms:    make(chan bool, 64),
		machine:  fsm.New(),
	}
	plant(r.machine)
	r.leaderChanged()
	if err := r.start(o.Storage); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	r.builder.Go(r.rebuild)
	r.workers.Go(r.watch)
	return r, nil
}

func raftConfig(o Options) raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = serverID(o.ID)
	c.HeartbeatTimeout = o.Timing.Heartbeat
	c.ElectionTimeout = o.Timing.Election
	c.LeaderLeaseTimeout = o.Timing.Lease
	c.CommitTimeout = o.Timing.Commit
	c.MaxAppendEntries = maxAppendEntries
	c.SnapshotThreshold = o.Timing.SnapshotThreshold
	c.TrailingLogs = o.Timing.TrailingLogs
	c.SnapshotInterval = 5 * time.Second
	c.BatchApplyCh = true
	c.Logger = o.Logger.Named("raft")
	return *c
}

func (r *Replica) die(err error) { r.fatalOnce.Do(func() { go r.fatal(err) }) }

func serverID(id uint8) raft.ServerID { return raft.ServerID(strconv.Itoa(int(id))) }

func memberID(id raft.ServerID) uint8 {
	n, _ := strconv.Atoi(string(id))
	return uint8(n)
}

// HasState reports whether the stores held a log or a snapshot.
func HasState(s Storage) (bool, error) { return raft.HasExistingState(s.Logs, s.Stable, s.Snapshots) }

// Bootstrap writes the log's first entry: the group consists of members. Every
// server that bootstraps must give the same list; order does not matter.
func (r *Replica) Bootstrap(members []Member) error {
	var c raft.Configuration
	for id := range 256 {
		for _, m := range members {
			if int(m.ID) != id {
				continue
			}
			s := raft.Server{Suffrage: raft.Voter, ID: serverID(m.ID), Address: raft.ServerAddress(m.Addr)}
			if !m.Voter {
				s.Suffrage = raft.Nonvoter
			}
			c.Servers = append(c.Servers, s)
		}
	}
	bootstrap := func(library *raft.Raft) raft.Future { return library.BootstrapCluster(c) }
	if err := r.current.Load().run(bootstrap, 0); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// Future is a proposed entry's fate.
type Future interface {
	// Error waits until the entry is applied here, or its fate is unknown.
	Error() error
}

// Propose gives Raft an entry to commit. Order of calls is order in the log.
// An error does not mean that the entry will not be applied.
func (r *Replica) Propose(entry []byte) Future {
	c := r.current.Load()
	if c.isDown() {
		return proposal{c: c}
	}
	return proposal{c, c.raft.ApplyLog(raft.Log{Data: entry}, proposeTimeout)}
}

// AnnounceCommit has a leader that has nothing to propose tell the others what is
// committed, which they would otherwise learn with its next entry, or late: those
// that wait for it at once, the others soon. See Transport.AnnounceCommit.
func (r *Replica) AnnounceCommit(waits func(id uint8) bool) {
	c := r.current.Load()
	if c.isDown() {
		return
	}
	r.mu.RLock()
	applied := r.applied
	r.mu.RUnlock()
	c.transport.AnnounceCommit(applied, func(id raft.ServerID) bool { return waits(memberID(id)) })
}

// View runs fn under the read lock. fn must neither keep m nor call View.
func (r *Replica) View(fn func(m *fsm.Machine)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	fn(r.machine)
}

// Leader returns the leader that this server knows, 0 for none, and the term.
func (r *Replica) Leader() (id uint8, term uint64) {
	c := r.current.Load()
	term = c.raft.CurrentTerm()
	if c.isDown() {
		return 0, term
	}
	_, l := c.raft.LeaderWithID()
	if id = memberID(l); id == r.id && !c.leads() {
		id = 0
	}
	return id, term
}

// LeaderChange returns a channel that is closed when Leader has another answer
// than at the call; a new term of the same leader may pass without.
func (r *Replica) LeaderChange() <-chan struct{} { return *r.change.Load() }

func (r *Replica) leaderChanged() {
	next := make(chan struct{})
	if last := r.change.Swap(&next); last != nil {
		close(*last)
	}
}

// Down reports whether there is no Raft here at present, for want of a disk
// that can be written; Fault says why.
func (r *Replica) Down() bool { return r.current.Load().isDown() }

// Terms tells each time that this server gains (true) or loses leadership. It
// may tell of a loss twice.
func (r *Replica) Terms() <-chan bool { return r.terms }

// Leads reports whether Raft holds this server for the leader. A deposed
// leader may believe so for a moment: never decide a read by it.
func (r *Replica) Leads() bool { return r.current.Load().leads() }

// Indexes returns the last log index and the last index applied here.
func (r *Replica) Indexes() (last, applied uint64) {
	r.mu.RLock()
	applied = r.applied
	r.mu.RUnlock()
	return r.current.Load().raft.LastIndex(), applied
}

// PreviousTerm returns the term of the last entry that was applied before those of
// the latest term; 0 if that is not known here. Who led in between, if anybody did,
// had nothing committed.
func (r *Replica) PreviousTerm() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.termBefore
}

// Members returns the group of the latest configuration in the log.
func (r *Replica) Members() []Member {
	f := r.current.Load().raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var ms []Member
	for _, s := range f.Configuration().Servers {
		ms = append(ms, Member{memberID(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return ms
}

// TransferLeadership hands leadership to the most advanced voter, or to another
// one if that does not take it.
func (r *Replica) TransferLeadership() error {
	c := r.current.Load()
	err := c.run((*raft.Raft).LeadershipTransfer, transferTimeout)
	for _, m := range c.servers() {
		if err == nil {
			break
		}
		if m.Suffrage == raft.Voter && memberID(m.ID) != r.id {
			err = c.run(func(l *raft.Raft) raft.Future { return l.LeadershipTransferToServer(m.ID, m.Address) }, transferTimeout)
		}
	}
	return err
}

// Shutdown stops Raft and closes the stores. It gives up on a disk that hangs,
// and on a full one that does not take Raft's term: then nothing is closed, and
// the process should end.
func (r *Replica) Shutdown() error {
	r.stopOnce.Do(func() { close(r.stop) })
	r.current.Load().end()
	closed := make(chan error, 1)
	go func() {
		r.builder.Wait()
		err := r.current.Load().close()
		r.workers.Wait()
		closed <- err
	}()
	select {
	case err := <-closed:
		return err
	case <-time.After(shutdownTimeout):
		return fmt.Errorf("raft has not ended within %v: its stores are left open", shutdownTimeout)
	}
}

// Machine returns the state for use inside the Sink's methods, where View
// would wait for the lock that the caller already holds.
func (r *Replica) Machine() *fsm.Machine { return r.machine }

// Standing returns where this server stands when a leader has died. One that
// cannot write its log is no voter then.
func (r *Replica) Standing() Survivor {
	c := r.current.Load()
	me, _ := c.transport.Standing()
	if _, d := c.stalled(); c.isDown() || d > stallLimit {
		me.Voter = false
	}
	return me
}

// Stand has this server stand for election at once: one that runs alone has
// nobody to wait for.
func (r *Replica) Stand() error {
	err := r.current.Load().transport.InjectTimeoutNow()
	if err != nil && !errors.Is(err, ErrNotFollower) { // it was slow, and stands already
		return fmt.Errorf("stand for election: %w", err)
	}
	return nil
}

// Failover elects a successor of the leader lost, whose process is dead; see
// Transport.Failover.
func (r *Replica) Failover(ctx context.Context, lost uint8, peers Peers) (stood bool) {
	c := r.current.Load()
	return !c.isDown() && c.transport.Failover(ctx, lost, peers)
}
