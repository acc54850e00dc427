package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

var errDiskFull = errors.New("no space left on device")

// disk holds one server's stores in memory. It can fill up and it can hang.
type disk struct {
	logs   *raft.InmemStore
	stable *raft.InmemStore
	snaps  *raft.InmemSnapshotStore

	mu       sync.Mutex
	full     bool
	noTerm   bool          // the stable store is full too
	hang     chan struct{} // not nil: writes of the log wait until it is closed
	votes    bool          // those of the stable store wait as well
	reopened int
}

func newDisk() *disk {
	return &disk{logs: raft.NewInmemStore(), stable: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
}

func (d *disk) set(change func(d *disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *disk) fill(full bool) { d.set(func(d *disk) { d.full = full }) }

// stall makes the log's writes hang until the result is called.
func (d *disk) stall() (release func()) {
	ch := make(chan struct{})
	d.set(func(d *disk) { d.hang = ch })
	return sync.OnceFunc(func() {
		d.set(func(d *disk) { d.hang = nil })
		close(ch)
	})
}

func (d *disk) write(stable bool) error {
	d.mu.Lock()
	full, hang := d.full && !stable || d.noTerm && stable, d.hang
	if stable && !d.votes {
		hang = nil
	}
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if full {
		return errDiskFull
	}
	return nil
}

// diskLogs and diskStable are the stores on a disk.
type diskLogs struct {
	*raft.InmemStore
	d *disk
}

func (l diskLogs) StoreLogs(logs []*raft.Log) error {
	if err := l.d.write(false); err != nil {
		return err
	}
	return l.InmemStore.StoreLogs(logs)
}

func (l diskLogs) DeleteRange(lo, hi uint64) error {
	if err := l.d.write(false); err != nil {
		return err
	}
	return l.InmemStore.DeleteRange(lo, hi)
}

type diskStable struct {
	*raft.InmemStore
	d *disk
}

func (s diskStable) Set(key, val []byte) error {
	if err := s.d.write(true); err != nil {
		return err
	}
	return s.InmemStore.Set(key, val)
}

func (s diskStable) SetUint64(key []byte, val uint64) error {
	if err := s.d.write(true); err != nil {
		return err
	}
	return s.InmemStore.SetUint64(key, val)
}

func (d *disk) open() (Storage, error) {
	v, err := NewVoteStore(diskStable{d.stable, d})
	if err != nil {
		return Storage{}, err
	}
	return Storage{Logs: WrapLogStore(diskLogs{d.logs, d}, nil), Stable: v, Snapshots: d.snaps}, nil
}

func (d *disk) reopen() (Storage, error) {
	d.mu.Lock()
	d.reopened++
	full := d.full
	d.mu.Unlock()
	if full {
		return Storage{}, errDiskFull
	}
	return d.open()
}

// member is one server of a group: a Replica and what its server would see.
type member struct {
	*Replica
	id    uint8
	disk  *disk
	fatal chan error

	mu       sync.Mutex
	begun    []uint64 // numbers of the entries applied that were news, as the sink was told
	nonces   []uint64 // those of all entries applied
	restored []uint64 // and that were in a snapshot
	terms    []bool
	gaveUps  atomic.Int32
}

var _ Sink = (*member)(nil)

func (m *member) Batch(fsm.BatchID, int, fsm.Verdict, protocol.ErrCode) bool { return false }
func (m *member) Result(int, *fsm.Result)                                    {}
func (m *member) Event(*fsm.Event)                                           {}
func (m *member) SessionOpened(int64, int32, uint8, uint32)                  {}
func (m *member) SessionClosed(int64)                                        {}
func (m *member) Admitted(uint8, uint64)                                     {}
func (m *member) ClusterID([16]byte)                                         {}
func (m *member) Entry(*fsm.Machine)                                         {}
func (m *member) Applied()                                                   {}

func (m *member) Began(_ uint8, number, nonce uint64, taken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nonces = append(m.nonces, nonce)
	if taken {
		m.begun = append(m.begun, number)
	}
}

func (m *member) Restored(machine *fsm.Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	number, _, _ := machine.Stream(counter)
	m.restored = append(m.restored, number)
}

// has returns the number of the last entry in the state, which a reader sees.
func (m *member) has() (number uint64) {
	m.View(func(machine *fsm.Machine) { number, _, _ = machine.Stream(counter) })
	return number
}

// told returns the entries that the sink was told of.
func (m *member) told() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.begun)
}

func (m *member) lastTerm() (leads bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.terms) > 0 && m.terms[len(m.terms)-1]
}

// group is several Replicas on a network in memory. Use it under synctest.
type group struct {
	t       *testing.T
	net     *memnet
	members []*member
	last    uint64 // number of the last entry acknowledged
}

// counter is the server id under which the tests' entries are numbered.
const counter = 9

func newGroup(t *testing.T, n int, change ...func(o *Options)) *group {
	t.Helper()
	g := &group{t: t, net: newMemnet()}
	t.Cleanup(g.stop)
	var all []Member
	for i := range n {
		all = append(all, Member{ID: uint8(i + 1), Addr: "n" + strconv.Itoa(i+1), Voter: true})
	}
	for _, a := range all {
		g.members = append(g.members, g.open(a, change...))
	}
	for _, m := range g.members {
		if err := m.Bootstrap(all); err != nil && !errors.Is(err, raft.ErrCantBootstrap) { // on old disks
			t.Fatal(err)
		}
	}
	return g
}

func (g *group) open(a Member, change ...func(o *Options)) *member {
	g.t.Helper()
	m := &member{id: a.ID, disk: newDisk(), fatal: make(chan error, 1)}
	storage, err := m.disk.open()
	if err != nil {
		g.t.Fatal(err)
	}
	o := Options{
		ID:       a.ID,
		OpenWire: func() (Wire, int, error) { return newWire(g.net, a.Addr, 64), 3, nil },
		Storage:  storage,
		Reopen:   m.disk.reopen,
		Timing: Timing{
			Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, Lease: 250 * time.Millisecond,
			Commit: 10 * time.Millisecond, SnapshotThreshold: 1 << 40, TrailingLogs: 4,
		},
		Sink:   m,
		Peers:  groupPeers{g, m},
		Logger: hclog.NewNullLogger(),
		GaveUp: func() { m.gaveUps.Add(1) },
		Fatal:  func(err error) { m.fatal <- err },
	}
	for _, c := range change {
		c(&o)
	}
	if m.Replica, err = Open(o); err != nil {
		g.t.Fatal(err)
	}
	m.workers.Go(func() {
		for {
			select {
			case leads := <-m.Terms():
				m.mu.Lock()
				m.terms = append(m.terms, leads)
				m.mu.Unlock()
			case <-m.Replica.stop:
				return
			}
		}
	})
	return m
}

func (g *group) stop() {
	for _, m := range g.members {
		m.disk.set(func(d *disk) { d.full, d.noTerm = false, false })
		if err := m.Shutdown(); err != nil {
			g.t.Errorf("server %d: shut down: %v", m.id, err)
		}
	}
}

// groupPeers asks the others in a group, as the streams between servers would.
type groupPeers struct {
	g  *group
	me *member
}

func (p groupPeers) Ask(ctx context.Context, lost uint8) <-chan Survivor {
	ch := make(chan Survivor, len(p.g.members))
	for _, m := range p.g.members {
		if m != p.me && m.id != lost {
			ch <- m.Standing()
		}
	}
	close(ch)
	return ch
}

// leader waits for a leader among members, all if none are given.
func (g *group) leader(among ...*member) *member {
	g.t.Helper()
	if among == nil {
		among = g.members
	}
	var found *member
	if !eventually(20*time.Second, func() bool {
		i := slices.IndexFunc(among, func(m *member) bool { return m.Leads() && m.lastTerm() })
		if i >= 0 {
			found = among[i]
		}
		return i >= 0
	}) {
		g.t.Fatal("no leader within 20 s")
	}
	return found
}

func (g *group) others(m *member) []*member {
	return slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
}

// entry is an entry of the log with a number, which the machine takes only if
// it is greater than the last. No two entries are the same.
func entry(number uint64) []byte {
	e := fsm.NewEntry(int64(number))
	e.Begin(counter, number, nonces.Add(1))
	return e.Bytes()
}

var nonces atomic.Uint64

// write has n more entries acknowledged by at.
func (g *group) write(at *member, n int) {
	g.t.Helper()
	for range n {
		if err := at.Propose(entry(g.last + 1)).Error(); err != nil {
			g.t.Fatalf("write %d: %v", g.last+1, err)
		}
		g.last++
	}
}

// settle waits until all of members have all that was acknowledged, and checks
// that each was told of every entry once and in order.
func (g *group) settle(members ...*member) {
	g.t.Helper()
	for _, m := range members {
		if !eventually(30*time.Second, func() bool { return m.has() == g.last }) {
			g.t.Fatalf("server %d has %d of %d entries; its fault: %q", m.id, m.has(), g.last, m.Fault())
		}
		m.mu.Lock()
		applied := slices.Sorted(slices.Values(m.nonces))
		m.mu.Unlock()
		if len(slices.Compact(applied)) != len(m.nonces) {
			g.t.Errorf("server %d applied an entry twice", m.id)
		}
		if told := m.told(); !slices.IsSorted(told) {
			g.t.Errorf("server %d was told of entries %v", m.id, told)
		}
	}
}

// mustHaveAll checks that m was told of every entry.
func (g *group) mustHaveAll(m *member) {
	g.t.Helper()
	if told := m.told(); uint64(len(told)) != g.last {
		g.t.Errorf("server %d was told of %d entries of %d: %v", m.id, len(told), g.last, told)
	}
}

func (m *member) String() string { return fmt.Sprintf("server %d", m.id) }
