package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// openWAL opens raft-wal in dir, after checkWAL has verified and mended what
// raft-wal v0.4.0 does not.
func openWAL(dir string, o LogOptions) (*LogStore, error) {
	if o.VFS == nil {
		o.VFS = dataFS{fs.New()}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = wal.DefaultSegmentSize
	}
	if o.Meta == nil {
		if err := probeMeta(filepath.Join(dir, metadb.FileName)); err != nil {
			return nil, err
		}
		o.Meta = &metadb.BoltMetaDB{}
	}
	if err := checkWAL(dir, o.VFS, o.Meta, o.SegmentBytes); err != nil {
		o.Meta.Close()
		return nil, err
	}
	turns := newRotations()
	w, err := wal.Open(dir,
		wal.WithLogger(o.Logger),
		wal.WithMetaStore(o.Meta),
		wal.WithSegmentFiler(turnFiler{segment.NewFiler(dir, filling{o.VFS, int64(o.SegmentBytes)}), turns}),
		wal.WithMetricsCollector(turns),
		wal.WithSegmentSize(o.SegmentBytes))
	if err != nil {
		o.Meta.Close()
		return nil, fmt.Errorf("log in %s cannot be read (%w): %s", dir, err, wayOut)
	}
	// raft-wal does not close its meta store, whose file lock would then keep
	// this process from opening it again.
	return WrapLogStore(walStore{w, turns}, nil, turns, w, o.Meta), nil
}

// probeMeta opens and closes raft-wal's meta file if it is there. raft-wal
// itself would wait forever for another process's lock, and panic on some
// damage.
func probeMeta(path string) (err error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Size() == 0: // bolt would take it for a new one
		return fmt.Errorf("%s is empty: %s", path, wayOut)
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s cannot be read (damaged: %v): %s", path, r, wayOut)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%s is in use by another process", path)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read (%w): %s", path, err, wayOut)
	}
	return db.Close()
}

// walStore makes deletions wait for a segment rotation under way. raft-wal
// rotates on a goroutine of its own, and if a deletion that replaces the tail
// comes first, it seals the new tail with the old one's index.
type walStore struct {
	*wal.WAL
	turns *rotations
}

// DeleteRange implements raft.LogStore.
func (s walStore) DeleteRange(lo, hi uint64) error {
	s.turns.await()
	return s.WAL.DeleteRange(lo, hi)
}

var (
	_ raft.LogStore          = walStore{}
	_ raft.MonotonicLogStore = walStore{}
)

// rotations knows whether a full segment waits to be rotated. raft-wal tells
// it: by asking whether a segment is sealed, after each append, and by
// counting a rotation as it begins, with its write lock held.
type rotations struct {
	mu     sync.Mutex
	cond   *sync.Cond
	due    int  // full segments not yet being rotated; guarded by mu
	closed bool // no rotation begins any more; guarded by mu
}

func newRotations() *rotations {
	r := &rotations{}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *rotations) await() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.due > 0 && !r.closed {
		r.cond.Wait()
	}
}

// Close lets go of whoever waits.
func (r *rotations) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.cond.Broadcast()
	return nil
}

func (r *rotations) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due += n
	r.cond.Broadcast()
}

// IncrementCounter implements raft-wal's metrics.Collector.
func (r *rotations) IncrementCounter(name string, delta uint64) {
	if name == "segment_rotations" {
		r.add(-int(delta))
	}
}

// SetGauge implements raft-wal's metrics.Collector.
func (r *rotations) SetGauge(string, uint64) {}

// turnFiler notices full segments for rotations.
type turnFiler struct {
	types.SegmentFiler
	turns *rotations
}

func (f turnFiler) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.SegmentFiler.Create(info)
	if err != nil {
		return nil, err
	}
	return turnWriter{w, f.turns}, nil
}

func (f turnFiler) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.SegmentFiler.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	return turnWriter{w, f.turns}, nil
}

type turnWriter struct {
	types.SegmentWriter
	turns *rotations
}

func (w turnWriter) Sealed() (bool, uint64, error) {
	sealed, start, err := w.SegmentWriter.Sealed()
	if sealed && err == nil {
		w.turns.add(1)
	}
	return sealed, start, err
}
