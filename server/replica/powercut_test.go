package replica

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

var errPowerOff = errors.New("the power is off")

// plugged is a server's disk that can lose power: a log on raft-wal over a file
// system that forgets what was not synced, and stable store and snapshots whose
// writes are durable.
type plugged struct {
	dir    string
	fs     *crashFS
	meta   *crashMeta
	stable *mapStable
	snaps  *raft.InmemSnapshotStore
}

func newPlugged(t *testing.T) *plugged {
	return &plugged{dir: t.TempDir(), fs: newCrashFS(), meta: &crashMeta{}, stable: &mapStable{values: map[string][]byte{}, numbers: map[string]uint64{}}, snaps: raft.NewInmemSnapshotStore()}
}

func (p *plugged) open() (Storage, error) {
	v, err := NewVoteStore(p.stable)
	if err != nil {
		return Storage{}, err
	}
	logs, err := OpenLogStore(WALStore, p.dir, LogOptions{VFS: p.fs, Meta: p.meta, SegmentBytes: 16 << 10})
	if err != nil {
		return Storage{}, err
	}
	return Storage{Logs: logs, Stable: v, Snapshots: p.snaps}, nil
}

// cut takes the power away and returns the disk as it is found afterwards.
func (p *plugged) cut(keep func() bool) *plugged {
	p.fs.mu.Lock()
	p.fs.fail = func(string) error { return errPowerOff }
	p.fs.mu.Unlock()
	p.meta.mu.Lock()
	p.meta.fail = func() error { return errPowerOff }
	state := p.meta.state
	state.Segments = slices.Clone(state.Segments)
	p.meta.mu.Unlock()
	return &plugged{dir: p.dir, fs: p.fs.crash(keep), meta: &crashMeta{state: state}, stable: p.stable.cut(), snaps: p.snaps}
}

// mapStable is a stable store in memory.
type mapStable struct {
	mu      sync.Mutex
	off     bool
	values  map[string][]byte
	numbers map[string]uint64
}

func (s *mapStable) cut() *mapStable {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = true
	return &mapStable{values: maps.Clone(s.values), numbers: maps.Clone(s.numbers)}
}

func (s *mapStable) Set(key, val []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return errPowerOff
	}
	s.values[string(key)] = slices.Clone(val)
	return nil
}

func (s *mapStable) SetUint64(key []byte, val uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return errPowerOff
	}
	s.numbers[string(key)] = val
	return nil
}

func (s *mapStable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[string(key)]; ok {
		return slices.Clone(v), nil
	}
	return nil, errors.New("not found")
}

func (s *mapStable) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.numbers[string(key)], nil
}

// The power of all servers fails at once, under writes, several times: what was
// acknowledged is there afterwards, on all of them. On disks that lie about
// syncing it is not, nor with a leader that does not wait for its own disk, or
// this test would show nothing.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(16) {
		synctest.Test(t, func(t *testing.T) {
			if lost := powerCuts(t, rand.New(rand.NewPCG(seed, 1)), false, false); lost > 0 {
				t.Errorf("seed %d: %d acknowledged entries are lost", seed, lost)
			}
		})
	}
	for _, fault := range []struct {
		name         string
		lying, hasty bool
	}{{"disks that lie", true, false}, {"a leader that does not wait for its disk", false, true}} {
		lost := uint64(0)
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) { lost += powerCuts(t, rand.New(rand.NewPCG(seed, 1)), fault.lying, fault.hasty) })
			if lost > 0 {
				break
			}
		}
		if lost == 0 {
			t.Errorf("with %s nothing is lost either", fault.name)
		}
	}
}

// powerCuts runs a group through some power cuts and returns how many
// acknowledged entries are gone after one.
func powerCuts(t *testing.T, random *rand.Rand, lying, hasty bool) (lost uint64) {
	disks := []*plugged{newPlugged(t), newPlugged(t), newPlugged(t)}
	keep := func() bool { return random.IntN(2) == 0 }
	last := uint64(0)
	for round := range 4 {
		var stores []Storage
		for i, d := range disks {
			if lying {
				d.fs.lie()
			}
			seeds := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
			d.fs.slow = func() time.Duration { return time.Duration(seeds.IntN(5)) * time.Millisecond }
			s, err := d.open()
			if err != nil && lying {
				for _, s := range stores {
					s.Close()
				}
				return 1 // it is refused, and rightly so
			}
			if err != nil {
				t.Fatalf("round %d: server %d: %v", round, i+1, err)
			}
			s.Logs.ahead.hasty = hasty
			stores = append(stores, s)
		}
		if there := slices.ContainsFunc(stores, func(s Storage) bool { last, _ := s.Logs.LastIndex(); return last > 0 }); !there && round > 0 {
			for _, s := range stores {
				s.Close()
			}
			return last
		}
		g := newGroup(t, 3, func(o *Options) {
			o.Storage, o.Reopen = stores[o.ID-1], func() (Storage, error) { return Storage{}, errPowerOff }
		})
		leader := g.leader()
		g.last = last
		if !eventually(time.Minute, func() bool { return leader.has() >= last }) {
			return last - leader.has()
		}
		g.last = leader.has() // more may be there than was acknowledged
		g.settle(g.members...)

		var acknowledged atomic.Uint64
		acknowledged.Store(g.last)
		enough := make(chan struct{})
		after := g.last + uint64(1+random.IntN(150))
		go func() {
			defer close(enough)
			var futures []Future
			for i := range uint64(200) {
				futures = append(futures, leader.Propose(entry(g.last+1+i)))
			}
			for i, f := range futures {
				if f.Error() != nil {
					return
				}
				acknowledged.Store(g.last + 1 + uint64(i))
				if acknowledged.Load() == after {
					return
				}
			}
		}()
		<-enough
		last = acknowledged.Load()
		for i, d := range disks {
			disks[i] = d.cut(keep)
		}
		g.stop()
		g.members = nil
	}
	return 0
}
