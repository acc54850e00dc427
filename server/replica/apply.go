package replica

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/fsm"
)

// errBehind refuses a snapshot of a state that is ahead of Raft's index.
var errBehind = errors.New("this Raft has not yet passed what was applied before it started")

// machineFSM is the Replica as hashicorp/raft calls it, on its apply goroutine.
//
// The machine outlives a Raft. The next one begins at its snapshot and passes
// entries that the machine has applied already; they are committed, so they are
// the same ones, and are skipped.
type machineFSM struct {
	*Replica
	core *core
}

var _ raft.BatchingFSM = (*machineFSM)(nil)

// Apply implements raft.FSM.
func (f *machineFSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (f *machineFSM) ApplyBatch(logs []*raft.Log) []any {
	f.plantLag()
	last := logs[len(logs)-1].Index
	f.mu.Lock()
	f.core.passed = last
	if last <= f.applied {
		f.mu.Unlock()
		return make([]any, len(logs))
	}
	for _, l := range logs {
		if l.Index <= f.applied {
			continue
		}
		if l.Type == raft.LogCommand {
			if err := f.machine.Apply(l.Index, l.Term, l.Data, f.sink); err != nil {
				f.mu.Unlock()
				f.die(fmt.Errorf("apply entry %d: %w", l.Index, err))
				<-f.stop
				runtime.Goexit() // nothing after this entry may be applied
			}
			if l.Term != f.term {
				f.term, f.termBefore = l.Term, f.term
			}
			f.sink.Entry(f.machine)
		}
		f.applied = l.Index
	}
	f.mu.Unlock()
	f.sink.Applied()
	return make([]any, len(logs))
}

// Snapshot implements raft.FSM: it only begins one. Raft gives it the index of
// the last entry passed, which must be that of the state.
func (f *machineFSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.core.passed < f.applied {
		return nil, errBehind
	}
	return &snapshot{f.machine.Snapshot(), f.Replica, f.machine.Zxid()}, nil
}

// Restore implements raft.FSM: it builds the state aside and swaps it in
// together with its index. A snapshot that is no newer than the state is left
// alone.
func (f *machineFSM) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	s, err := unwrap(rc)
	index := s.index
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.mu.Lock()
	known := f.running && index <= f.applied
	if known {
		f.core.passed = index
	}
	f.mu.Unlock()
	if known {
		return nil
	}
	began := time.Now()
	m, err := fsm.Restore(rc)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	plant(m)
	plantRestored(m)
	f.mu.Lock()
	f.machine, f.applied, f.core.passed = m, index, index
	f.term, f.termBefore = 0, 0
	f.lastSnapshot.Store(&SnapshotInfo{Zxid: m.Zxid(), At: snapshotTaken(s.id), id: s.id})
	did := SnapshotLoaded
	if f.running {
		did = SnapshotInstalled
		f.sink.Restored(m)
	}
	f.mu.Unlock()
	f.sink.Applied()
	f.Replica.snapshot(did, time.Since(began), nil)
	return nil
}

// indexedSnapshots lets Restore know the index of the snapshot that it reads,
// which the library does not tell, and begins none of what the log still lacks.
type indexedSnapshots struct {
	raft.SnapshotStore
	logs *LogStore
	stop <-chan struct{}
}

type indexedSnapshot struct {
	io.ReadCloser
	index uint64
	id    string
}

// Create implements raft.SnapshotStore. A snapshot from the leader is ahead of the
// log, which is emptied then.
func (s indexedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	if !s.logs.Settled(index, s.stop) {
		return nil, fmt.Errorf("begin snapshot: the log has not entry %d on disk", index)
	}
	return s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
}

// Open implements raft.SnapshotStore.
func (s indexedSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, rc, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, indexedSnapshot{rc, meta.Index, meta.ID}, nil
}

// unwrap finds what indexedSnapshots put in, under the library's own wrapping.
func unwrap(rc io.ReadCloser) (indexedSnapshot, error) {
	for {
		if s, ok := rc.(indexedSnapshot); ok {
			return s, nil
		}
		w, ok := rc.(raft.ReadCloserWrapper)
		if !ok {
			return indexedSnapshot{}, errors.New("its index is not known")
		}
		rc = w.WrappedReadCloser()
	}
}

type snapshot struct {
	s    *fsm.Snapshot
	r    *Replica
	zxid int64
}

// Persist implements raft.FSMSnapshot. It runs beside Apply.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	began := time.Now()
	err := s.persist(sink)
	s.r.snapshot(SnapshotWritten, time.Since(began), err)
	return err
}

func (s *snapshot) persist(sink raft.SnapshotSink) error {
	if err := s.s.WriteTo(sink, &s.r.mu); err != nil {
		sink.Cancel()
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := sink.Close(); err != nil {
		return err
	}
	s.r.lastSnapshot.Store(&SnapshotInfo{Zxid: s.zxid, At: snapshotTaken(sink.ID()), id: sink.ID()})
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.s.Release()
}
