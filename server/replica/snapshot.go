package replica

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// SnapshotStep is what was done with a snapshot.
type SnapshotStep uint8

// The steps. One that is no newer than the state is neither loaded nor
// installed.
const (
	SnapshotWritten   SnapshotStep = iota
	SnapshotLoaded                 // at the start, from this server's disk
	SnapshotInstalled              // sent by the leader
	SnapshotSent                   // to another server
)

// SnapshotInfo is a snapshot on this server's disk.
type SnapshotInfo struct {
	Zxid int64 // the last one it has
	At   time.Time
	Size int64 // bytes; known only of one that TakeSnapshot opened

	id string
}

// LastSnapshot is the snapshot that was written or restored last; its time is
// zero if there is none.
func (r *Replica) LastSnapshot() SnapshotInfo {
	if last := r.lastSnapshot.Load(); last != nil {
		return *last
	}
	return SnapshotInfo{}
}

// TakeSnapshot has Raft write a snapshot and opens it; the caller closes it. It
// fails where there is no Raft at present, and before the first entry.
func (r *Replica) TakeSnapshot() (SnapshotInfo, io.ReadCloser, error) {
	var f raft.SnapshotFuture
	take := func(library *raft.Raft) raft.Future {
		f = library.Snapshot()
		return f
	}
	if err := r.current.Load().run(take, 0); err != nil {
		return SnapshotInfo{}, nil, fmt.Errorf("take snapshot: %w", err)
	}
	meta, rc, err := f.Open()
	if err != nil {
		return SnapshotInfo{}, nil, fmt.Errorf("open snapshot: %w", err)
	}
	info := r.LastSnapshot()
	if info.id != meta.ID {
		rc.Close()
		return SnapshotInfo{}, nil, errors.New("open snapshot: another one has replaced it")
	}
	info.Size = meta.Size
	return info, rc, nil
}

// snapshotTaken is when the snapshot was begun, which its name ends with in
// milliseconds.
func snapshotTaken(id string) time.Time {
	ms, err := strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		return time.Time{} // not of the library's file store
	}
	return time.UnixMilli(ms)
}
