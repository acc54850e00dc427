package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// changeTimeout bounds the wait for Raft to take a change of membership, not
// to commit it.
const changeTimeout = 10 * time.Second

// SetJoining turns the switches that keep this server out of every election.
// Until the first call after Open only the VoteStore's own switch does so.
func (r *Replica) SetJoining(on bool) {
	r.transport.SetJoining(on)
	r.storage.Stable.SetJoining(on)
}

// Demote takes member's vote; it returns when the others have committed that.
// Only a leader can. An error does not mean that it will not happen.
func (r *Replica) Demote(member uint8) error {
	if err := r.raft.DemoteVoter(serverID(member), 0, changeTimeout).Error(); err != nil {
		return fmt.Errorf("take the vote of server %d: %w", member, err)
	}
	return nil
}

// Promote gives m a vote; it returns when that is committed. Only a leader
// can. An error does not mean that it will not happen.
func (r *Replica) Promote(m Member) error {
	if err := r.raft.AddVoter(serverID(m.ID), raft.ServerAddress(m.Addr), 0, changeTimeout).Error(); err != nil {
		return fmt.Errorf("give server %d a vote: %w", m.ID, err)
	}
	return nil
}

// StoresPresent reports whether logDir has both a log and a stable store. Ask
// before OpenStorage, which makes what is missing.
func StoresPresent(logDir string) (bool, error) {
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

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
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
