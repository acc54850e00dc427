package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/coordd/coordd/fsm"
)

// brokenSnapshots is a place for a snapshot that takes nothing.
type brokenSnapshots struct{ cancelled bool }

func (s *brokenSnapshots) Write([]byte) (int, error) { return 0, errors.New("disk full") }
func (s *brokenSnapshots) Close() error              { return nil }
func (s *brokenSnapshots) Cancel() error             { s.cancelled = true; return nil }
func (s *brokenSnapshots) ID() string                { return "1-1-1" }

func TestFailedSnapshotIsTold(t *testing.T) {
	var told []error
	r := &Replica{machine: fsm.New(), snapshot: func(did SnapshotStep, _ time.Duration, err error) {
		if did == SnapshotWritten {
			told = append(told, err)
		}
	}}
	s := &snapshot{s: r.machine.Snapshot(), r: r}
	defer s.Release()
	place := &brokenSnapshots{}
	if err := s.Persist(place); err == nil || len(told) != 1 || !errors.Is(err, told[0]) || !place.cancelled {
		t.Errorf("failed with %v, told %v, cancelled %v", err, told, place.cancelled)
	}
}
