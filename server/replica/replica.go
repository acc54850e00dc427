package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// Options are the settings of Open; all fields but Logger must be set.
type Options struct {
	ID      uint8
	Wire    Wire
	MaxPool int // the wire's pooled connections a peer
	Storage Storage
	Timing  Timing
	Sink    Sink
	Logger  hclog.Logger
	// Fatal is told, at most once and from any goroutine, of a fault after
	// which this process must not go on: an entry that cannot be decoded, or
	// a log store whose write has failed.
	Fatal func(error)
}

// Replica is this server's copy of the state and its place in the Raft group.
// It owns the machine and its lock. All methods are safe for concurrent use.
type Replica struct {
	id        uint8
	sink      Sink
	logger    hclog.Logger
	raft      *raft.Raft
	transport *Transport
	storage   Storage
	fatal     func(error)
	fatalOnce sync.Once
	stop      chan struct{}
	terms     chan bool
	snapshots atomic.Uint64

	mu      sync.RWMutex
	machine *fsm.Machine // guarded by mu
	running bool         // Raft has started: a restore now replaces live state. Guarded by mu.
	applied uint64       // index of the last entry applied. Guarded by mu.
}

// Open starts Raft on what the stores hold. A server without a log stays
// outside every group until Bootstrap, or until a leader adds it.
func Open(o Options) (*Replica, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	r := &Replica{
		id:      o.ID,
		sink:    o.Sink,
		logger:  o.Logger,
		storage: o.Storage,
		fatal:   o.Fatal,
		stop:    make(chan struct{}),
		terms:   make(chan bool, 64),
		machine: fsm.New(),
	}
	plant(r.machine)
	r.transport = NewTransport(o.Wire, serverID(o.ID), o.MaxPool, o.Storage.Stable)
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
	c.NotifyCh = r.terms
	var err error
	r.raft, err = raft.NewRaft(c, (*machineFSM)(r), o.Storage.Logs, o.Storage.Stable, o.Storage.Snapshots, r.transport)
	if err != nil {
		r.transport.Close()
		return nil, fmt.Errorf("start raft: %w", err)
	}
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	r.transport.Attach(r.raft)
	go r.watchLog()
	return r, nil
}

// watchLog stops the server when its log store has failed: Raft's idea of its
// last index is wrong from then on (hashicorp/raft#612).
func (r *Replica) watchLog() {
	select {
	case err := <-r.storage.Logs.Failed():
		r.die(fmt.Errorf("log store: %w", err))
	case <-r.stop:
	}
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
	if err := r.raft.BootstrapCluster(c).Error(); err != nil {
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
	return r.raft.ApplyLog(raft.Log{Data: entry}, proposeTimeout)
}

// View runs fn under the read lock. fn must neither keep m nor call View.
func (r *Replica) View(fn func(m *fsm.Machine)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	fn(r.machine)
}

// Leader returns the leader that this server knows, 0 for none, and the term.
func (r *Replica) Leader() (id uint8, term uint64) {
	term = r.raft.CurrentTerm()
	_, l := r.raft.LeaderWithID()
	return memberID(l), term
}

// Terms tells each time that this server gains (true) or loses leadership.
func (r *Replica) Terms() <-chan bool { return r.terms }

// Leads reports whether Raft holds this server for the leader. A deposed
// leader may believe so for a moment: never decide a read by it.
func (r *Replica) Leads() bool { return r.raft.State() == raft.Leader }

// Indexes returns the last log index and the last index applied here.
func (r *Replica) Indexes() (last, applied uint64) {
	r.mu.RLock()
	applied = r.applied
	r.mu.RUnlock()
	return r.raft.LastIndex(), applied
}

// Members returns the group of the latest configuration in the log.
func (r *Replica) Members() []Member {
	f := r.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var ms []Member
	for _, s := range f.Configuration().Servers {
		ms = append(ms, Member{memberID(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	return ms
}

// TransferLeadership hands leadership to the most advanced voter, if there is
// another.
func (r *Replica) TransferLeadership() error { return r.raft.LeadershipTransfer().Error() }

// Shutdown stops Raft and closes the stores.
func (r *Replica) Shutdown() error {
	close(r.stop)
	err := r.raft.Shutdown().Error()
	return errors.Join(err, r.transport.Close(), r.storage.Logs.Close(), r.storage.Stable.Close())
}

// machineFSM is the Replica as hashicorp/raft calls it, on its apply goroutine.
type machineFSM Replica

var _ raft.BatchingFSM = (*machineFSM)(nil)

// Apply implements raft.FSM.
func (f *machineFSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (f *machineFSM) ApplyBatch(logs []*raft.Log) []any {
	f.mu.Lock()
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			if err := f.machine.Apply(l.Index, l.Term, l.Data, f.sink); err != nil {
				f.mu.Unlock()
				(*Replica)(f).die(fmt.Errorf("apply entry %d: %w", l.Index, err))
				select {} // nothing after this entry may be applied
			}
			f.sink.Entry(f.machine)
		}
		f.applied = l.Index
	}
	f.mu.Unlock()
	f.sink.Applied()
	f.transport.AnnounceCommit(logs[len(logs)-1].Index)
	return make([]any, len(logs))
}

// Snapshot implements raft.FSM: it only begins one.
func (f *machineFSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &snapshot{f.machine.Snapshot(), (*Replica)(f)}, nil
}

// Restore implements raft.FSM: it builds the state aside and swaps it in.
func (f *machineFSM) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	m, err := fsm.Restore(rc)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	plant(m)
	f.mu.Lock()
	f.machine = m
	if f.running {
		f.sink.Restored(m)
	}
	f.mu.Unlock()
	f.sink.Applied()
	return nil
}

type snapshot struct {
	s *fsm.Snapshot
	r *Replica
}

// Persist implements raft.FSMSnapshot. It runs beside Apply.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.s.WriteTo(sink, &s.r.mu); err != nil {
		sink.Cancel()
		return fmt.Errorf("write snapshot: %w", err)
	}
	s.r.snapshots.Add(1)
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.s.Release()
}

// Machine returns the state for use inside the Sink's methods, where View
// would wait for the lock that the caller already holds.
func (r *Replica) Machine() *fsm.Machine { return r.machine }

// Standing returns where this server stands when a leader has died.
func (r *Replica) Standing() Survivor {
	me, _ := r.transport.Standing()
	return me
}

// Failover elects a successor of the leader lost, whose process is dead; see
// Transport.Failover.
func (r *Replica) Failover(ctx context.Context, lost uint8, peers Peers) (stood bool) {
	return r.transport.Failover(ctx, lost, peers)
}
