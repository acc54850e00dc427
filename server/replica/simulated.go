//go:build simulate

package replica

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/fsm"
)

// Simulated is a replica without Raft, for simulations: its caller says what is
// applied when, through the code that Raft calls. One goroutine uses it.
type Simulated struct {
	*Replica
	calls *machineFSM // what Raft would call
}

// Simulate returns a replica of an empty state, or of a snapshot of the state at
// index.
func Simulate(sink Sink, index uint64, snapshot []byte) (*Simulated, error) {
	r := &Replica{
		sink: sink, machine: fsm.New(), fatal: func(err error) { panic(err) },
		snapshot: func(SnapshotStep, time.Duration, error) {},
	}
	s := &Simulated{r, &machineFSM{r, &core{}}}
	if snapshot != nil {
		if err := s.Restore(index, snapshot); err != nil {
			return nil, err
		}
	}
	r.running = true
	return s, nil
}

// Entry is one committed entry of the log.
type Entry struct {
	Index, Term uint64
	Data        []byte
}

// Apply applies a run of committed entries.
func (s *Simulated) Apply(entries []Entry) {
	logs := make([]*raft.Log, len(entries))
	for i, e := range entries {
		logs[i] = &raft.Log{Type: raft.LogCommand, Index: e.Index, Term: e.Term, Data: e.Data}
	}
	s.calls.ApplyBatch(logs)
}

// Applied is the index of the last entry applied.
func (s *Simulated) Applied() uint64 { return s.applied }

// hooked calls before whenever the writer of a snapshot is about to look at the
// state: there the state may go on.
type hooked struct {
	*sync.RWMutex
	before func()
}

func (h hooked) RLock() {
	h.before()
	h.RWMutex.RLock()
}

// Write writes a snapshot of the present state to w and calls between again and
// again meanwhile, which may apply entries.
func (s *Simulated) Write(w io.Writer, between func()) error {
	begun, err := s.calls.Snapshot()
	if err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	defer begun.Release()
	return begun.(*snapshot).s.WriteTo(w, hooked{&s.mu, between})
}

// Restore takes over a snapshot of the state at index.
func (s *Simulated) Restore(index uint64, snapshot []byte) error {
	return s.calls.Restore(indexedSnapshot{io.NopCloser(bytes.NewReader(snapshot)), index, "simulated"})
}
