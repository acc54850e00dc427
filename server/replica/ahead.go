package replica

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// ahead lets a leader's Raft replicate entries while they are being written
// here (Raft thesis, 10.2.1). The library waits for StoreLogs before it
// replicates, so that each entry would cost the time of two writes, one after
// the other; it then counts the leader among those that have the entry.
//
// So StoreLogs of a leader returns at once, and the Transport keeps each
// follower's word that it has an entry from Raft until the leader has it on disk
// too (settled). With another voter in the configuration nothing is committed
// without such a word: no entry is acknowledged or applied that a majority,
// the leader included, has not on disk. What else might rest on an entry that
// is not there yet waits as well:
//
//   - an entry with a configuration, which may make the leader a majority by
//     itself, and a leader without other voters, are written the usual way;
//   - a server that led takes nothing from its successor, which might hold
//     such an entry for stored, before all are written (Transport.forward);
//   - deletions and a follower's writes come behind.
//
// Votes do not: a log that is longer in memory than on disk only refuses more.
type ahead struct {
	entries []*raft.Log   // taken and not yet durable, oldest first; guarded by LogStore.mu
	moved   chan struct{} // closed at the next change for whoever waits; nil if nobody does. Guarded by LogStore.mu.
	running bool          // the writer; guarded by LogStore.mu
	ended   chan struct{} // closed when the writer that runs has ended; guarded by LogStore.mu

	may    func() bool   // Raft leads, and not alone; nil: never. Guarded by LogStore.mu.
	oldest atomic.Uint64 // index of the first of entries; 0 if there are none

	hasty bool // a fault for tests to plant: nobody waits for what is not durable
}

// RunAhead has StoreLogs return before entries are durable whenever may says
// so, which is asked in StoreLogs. The caller must then wait for Settled before
// it lets anything rest on them.
func (s *LogStore) RunAhead(may func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.may = may
}

// Settled waits until all entries up to index that StoreLogs has taken are
// durable, and reports whether they are: not if a write failed, or if stop was
// closed first.
func (s *LogStore) Settled(index uint64, stop <-chan struct{}) bool {
	for {
		if oldest := s.ahead.oldest.Load(); oldest == 0 || index < oldest || s.ahead.hasty || planted(PlantHasty) {
			return true
		}
		s.mu.Lock()
		if oldest := s.ahead.oldest.Load(); oldest == 0 || index < oldest {
			s.mu.Unlock()
			return true
		}
		if s.failed != nil {
			s.mu.Unlock()
			return false
		}
		if s.ahead.moved == nil {
			s.ahead.moved = make(chan struct{})
		}
		moved := s.ahead.moved
		s.mu.Unlock()
		select {
		case <-moved:
		case <-stop:
			return false
		}
	}
}

// Taken returns the index of the last entry that is not yet durable; 0 if all
// are.
func (s *LogStore) Taken() uint64 {
	if s.ahead.oldest.Load() == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takenLocked()
}

func (s *LogStore) takenLocked() uint64 {
	if n := len(s.ahead.entries); n > 0 {
		return s.ahead.entries[n-1].Index
	}
	return 0
}

// take queues logs for the writer, if it may, and reports whether it has.
func (s *LogStore) take(logs []*raft.Log) (bool, error) {
	s.mu.Lock()
	may := s.ahead.may
	s.mu.Unlock()
	if may == nil || len(logs) == 0 {
		return false, nil
	}
	for _, l := range logs {
		if l.Type == raft.LogConfiguration {
			return false, nil
		}
	}
	if !may() {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return false, s.failed
	}
	s.recent.add(logs)
	s.ahead.entries = append(s.ahead.entries, logs...)
	s.ahead.oldest.Store(s.ahead.entries[0].Index)
	if !s.ahead.running {
		s.ahead.running = true
		s.ahead.ended = make(chan struct{})
		go s.writeAhead()
	}
	return true, nil
}

// writeAhead writes what was taken, all that there is at once, until there is
// nothing left.
func (s *LogStore) writeAhead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.ahead
	for len(a.entries) > 0 && s.failed == nil {
		batch := a.entries
		s.mu.Unlock()
		err := s.store(batch)
		s.mu.Lock()
		if err == nil {
			a.entries = a.entries[len(batch):]
		}
		var oldest uint64
		if len(a.entries) > 0 {
			oldest = a.entries[0].Index
		} else {
			a.entries = nil
		}
		a.oldest.Store(oldest)
		if a.moved != nil {
			close(a.moved)
			a.moved = nil
		}
	}
	a.running = false
	close(a.ended)
}

// waiting copies into l the entry at index, if it is taken and not yet durable.
func (s *LogStore) waiting(index uint64, l *raft.Log) bool {
	if oldest := s.ahead.oldest.Load(); oldest == 0 || index < oldest {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.ahead.entries); n > 0 && index >= s.ahead.entries[0].Index && index <= s.ahead.entries[n-1].Index {
		*l = *s.ahead.entries[index-s.ahead.entries[0].Index]
		return true
	}
	return false
}
