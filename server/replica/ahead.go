package replica

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// aheadBytes bounds what a leader's log may lack on disk of what others have
// made safe. A disk that is slower than theirs for good sets the pace again
// beyond it.
const aheadBytes = 16 << 20

// ahead lets a leader's Raft replicate entries while they are being written
// here, and commit those that a quorum of others has (Raft thesis, 10.2.1). The
// library waits for StoreLogs before it replicates, so that each entry would
// cost the time of two writes, one after the other, and it always counts the
// leader among those that have the entry.
//
// So StoreLogs of a leader returns at once, and the Transport keeps each
// follower's word that it has an entry from Raft until the leader has it on disk
// too, or a quorum of voters has it without the leader (Backed). With another
// voter in the configuration nothing is committed without such a word: no entry
// is acknowledged or applied that a majority has not on disk. What else might
// rest on an entry that is not there yet waits until it is (Settled):
//
//   - an entry with a configuration, which may make the leader a majority by
//     itself, and a leader without other voters, are written the usual way;
//   - a server that led takes nothing from its successor, which might hold
//     such an entry for stored, before all are written (Transport.forward);
//   - a snapshot is not begun before the log has its last entry (indexedSnapshots):
//     a log that ends before a snapshot cannot go on behind it;
//   - deletions and a follower's writes come behind.
//
// Votes do not: a log that is longer in memory than on disk only refuses more.
// Nor does the state machine: what it has applied and its log lacks after a
// failed write, or a crash, is committed, and comes again from the next leader.
type ahead struct {
	entries []*raft.Log   // taken and not yet durable, oldest first; guarded by LogStore.mu
	bytes   int           // of their data; guarded by LogStore.mu
	moved   chan struct{} // closed at the next change for whoever waits; nil if nobody does. Guarded by LogStore.mu.
	running bool          // the writer; guarded by LogStore.mu
	ended   chan struct{} // closed when the writer that runs has ended; guarded by LogStore.mu

	voters func() []raft.ServerID   // the others, while Raft leads; nil: never ahead. Guarded by LogStore.mu.
	oldest atomic.Uint64            // index of the first of entries; 0 if there are none
	term   uint64                   // of the leader to whom words were given; guarded by LogStore.mu
	words  map[raft.ServerID]uint64 // the last entry that each has; guarded by LogStore.mu

	hasty bool // a fault for tests to plant: nobody waits for what is not durable
}

// RunAhead has StoreLogs return before entries are durable whenever voters, which
// is asked in StoreLogs and in Backed, names any: the other voters of the latest
// configuration, while Raft leads. The caller must then wait for Backed, or
// for Settled, before it lets anything rest on them.
func (s *LogStore) RunAhead(voters func() []raft.ServerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead.voters = voters
}

// Settled waits until all entries up to index that StoreLogs has taken are
// durable, and reports whether they are: not if a write failed, or if stop was
// closed first.
func (s *LogStore) Settled(index uint64, stop <-chan struct{}) bool {
	return s.wait(index, stop, func() bool { return false })
}

// Backed takes from's word, given to the leader of term, that it has all entries
// up to index on disk. It waits until they are on a quorum's disks, counting this
// server only if it has them on disk too, and reports whether they are: not if a
// write failed, or if stop was closed first.
func (s *LogStore) Backed(from raft.ServerID, term, index uint64, stop <-chan struct{}) bool {
	if s.durable(index) {
		return true
	}
	s.mu.Lock()
	a := &s.ahead
	if term > a.term {
		// What somebody had in another term may have been replaced there.
		a.term, a.words = term, make(map[raft.ServerID]uint64)
	}
	if term == a.term && index > a.words[from] {
		a.words[from] = index
		a.tell()
	}
	s.mu.Unlock()
	return s.wait(index, stop, func() bool { return term == a.term && a.bytes <= aheadBytes && a.elsewhere(index) })
}

// elsewhere reports whether voters that are a quorum without this server have
// the entry at index. LogStore.mu is held.
func (a *ahead) elsewhere(index uint64) bool {
	others, have := a.voters(), 0
	for _, id := range others {
		if a.words[id] >= index {
			have++
		}
	}
	return have >= (len(others)+1)/2+1
}

// durable reports whether the entries up to index are on disk, or said to be.
func (s *LogStore) durable(index uint64) bool {
	oldest := s.ahead.oldest.Load()
	return oldest == 0 || index < oldest || s.ahead.hasty || planted(PlantHasty)
}

// wait is for the entries up to index to be durable, or for enough, which is
// called with mu held whenever something has changed.
func (s *LogStore) wait(index uint64, stop <-chan struct{}, enough func() bool) bool {
	for {
		if s.durable(index) {
			return true
		}
		s.mu.Lock()
		if s.durable(index) || enough() {
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

// tell wakes whoever waits. LogStore.mu is held.
func (a *ahead) tell() {
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
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
	voters := s.ahead.voters
	s.mu.Unlock()
	if voters == nil || len(logs) == 0 {
		return false, nil
	}
	for _, l := range logs {
		if l.Type == raft.LogConfiguration {
			return false, nil
		}
	}
	if len(voters()) == 0 {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return false, s.failed
	}
	s.recent.add(logs)
	s.ahead.entries = append(s.ahead.entries, logs...)
	s.ahead.bytes += size(logs)
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
			a.bytes -= size(batch)
		}
		var oldest uint64
		if len(a.entries) > 0 {
			oldest = a.entries[0].Index
		} else {
			a.entries = nil
		}
		a.oldest.Store(oldest)
		a.tell()
	}
	a.running = false
	close(a.ended)
}

// size is how many bytes of data logs hold.
func size(logs []*raft.Log) int {
	n := 0
	for _, l := range logs {
		n += len(l.Data)
	}
	return n
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
