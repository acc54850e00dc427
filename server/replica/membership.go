package replica

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// changeTimeout bounds the wait for Raft to take a change of membership, not
// to commit it.
const changeTimeout = 10 * time.Second

// SetJoining turns the switches that keep this server out of every election,
// and from following leaders that have not vouched for it: on with the number
// of its joining mark, off with 0. Options.Joining is how they stand at first.
func (r *Replica) SetJoining(number uint64) {
	r.joinMu.Lock()
	defer r.joinMu.Unlock()
	r.joining = number
	r.latest.setJoining(number)
}

// Vouch tells member, which is joining under number, that it may follow this
// leader and later ones. Call it only once Demote(member) has returned nil after
// number was learned, or an entry that admits member under number is applied.
// See Transport.Vouch for why.
func (r *Replica) Vouch(member uint8, number uint64) {
	r.current.Load().transport.Vouch(serverID(member), number)
}

// Demote takes member's vote; it returns when the others have committed that,
// also if member had none. Only a leader can. An error does not mean that it will not happen.
func (r *Replica) Demote(member uint8) error {
	demote := func(library *raft.Raft) raft.Future { return library.DemoteVoter(serverID(member), 0, changeTimeout) }
	if err := r.current.Load().run(demote, 0); err != nil {
		return fmt.Errorf("take the vote of server %d: %w", member, err)
	}
	return nil
}

// Add takes m into the group, without a vote; it returns when that is
// committed. Only a leader can. An error does not mean that it will not happen.
func (r *Replica) Add(m Member) error {
	add := func(library *raft.Raft) raft.Future {
		return library.AddNonvoter(serverID(m.ID), raft.ServerAddress(m.Addr), 0, changeTimeout)
	}
	if err := r.current.Load().run(add, 0); err != nil {
		return fmt.Errorf("take server %d in: %w", m.ID, err)
	}
	return nil
}

// Promote gives m a vote; it returns when that is committed. Only a leader
// can. An error does not mean that it will not happen.
func (r *Replica) Promote(m Member) error {
	promote := func(library *raft.Raft) raft.Future {
		return library.AddVoter(serverID(m.ID), raft.ServerAddress(m.Addr), 0, changeTimeout)
	}
	if err := r.current.Load().run(promote, 0); err != nil {
		return fmt.Errorf("give server %d a vote: %w", m.ID, err)
	}
	return nil
}

// StoresPresent reports whether logDir has both a log and a stable store. Ask
// before OpenStorage, which makes what is missing. exists looks for a file.
func StoresPresent(logDir string, exists func(path string) (bool, error)) (bool, error) {
	stable, err := exists(filepath.Join(logDir, stableFile))
	if err != nil || !stable {
		return false, err
	}
	wal, err := exists(filepath.Join(logDir, metadb.FileName))
	if err != nil || wal {
		return wal, err
	}
	return exists(filepath.Join(logDir, boltLogFile))
}

// HasEntries reports whether s holds a log entry or a snapshot.
func HasEntries(s Storage) (bool, error) {
	last, err := s.Logs.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read the last index: %w", err)
	}
	snapshots, err := s.Snapshots.List()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	return last > 0 || len(snapshots) > 0, nil
}

// SnapshotMissing returns what is missing when s holds a log whose beginning
// was given up for a snapshot that is not there; nil when all is well. Raft
// cannot start on such a log.
func SnapshotMissing(s Storage) (missing, err error) {
	first, err := s.Logs.FirstIndex()
	if err != nil {
		return nil, fmt.Errorf("read the first index: %w", err)
	}
	snapshots, err := s.Snapshots.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var last uint64
	for _, m := range snapshots {
		last = max(last, m.Index)
	}
	if first > last+1 {
		return fmt.Errorf("the log begins at index %d, the newest snapshot ends at %d", first, last), nil
	}
	return nil, nil
}

// ClearLog drops all entries of s, for good.
func ClearLog(s Storage) error {
	first, err := s.Logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read the first index: %w", err)
	}
	last, err := s.Logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read the last index: %w", err)
	}
	if last == 0 {
		return nil
	}
	if err := s.Logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("clear the log: %w", err)
	}
	return nil
}
