package replica

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

// Names of the log stores, as configured.
const (
	WALStore  = "wal"  // hashicorp/raft-wal: one fsync an append
	BoltStore = "bolt" // raft-boltdb/v2: two fsyncs an append
)

// boltLogFile is the file of the bolt log store in the log directory.
const boltLogFile = "log.db"

// wayOut ends the message about a store that cannot be read.
const wayOut = "restore the file, or, if the other servers have a quorum, empty this server's data and log directories and start it: it then joins again as a new member"

// LogStore is Raft's log on disk. It adds to the store that it wraps:
//
//   - any failed write is final: the library's idea of its last index is
//     wrong after one (hashicorp/raft#612), so all later writes fail too, and
//     OnFailure has the owner close Raft and store and open both again;
//   - Stalled and the callback for a watchdog and for metrics;
//   - the entries stored last are read from memory;
//   - a leader's Raft need not wait for its own disk (RunAhead).
//
// Reads go on after a failure. Safe for concurrent use.
type LogStore struct {
	inner     raft.LogStore
	monotonic bool
	onStore   func(d time.Duration, entries int, err error)
	closers   []io.Closer
	stalls    stallWatch
	recent    recent
	ahead     ahead

	mu     sync.Mutex
	failed error       // first failed write; guarded by mu
	onFail func(error) // nil, or told of it; guarded by mu
}

var (
	_ raft.LogStore          = (*LogStore)(nil)
	_ raft.MonotonicLogStore = (*LogStore)(nil)
)

// LogOptions are the settings of OpenLogStore. The zero value is usable.
type LogOptions struct {
	Logger hclog.Logger // nil: silent
	// OnStore, if not nil, is called after each StoreLogs with its duration,
	// its number of entries and its error.
	OnStore func(d time.Duration, entries int, err error)
	// SegmentBytes is the size of raft-wal's files; 0 means its 64 MiB.
	SegmentBytes int

	// VFS and Meta are raft-wal's files and the index of them. They are seams for
	// tests, which lose power; nil: the operating system's, and bolt in the directory.
	VFS  types.VFS
	Meta types.MetaStore
}

// OpenLogStore opens the log named store ("wal" or "bolt") in dir, which must
// exist, creating it if there is none. A write that a crash tore is cut off:
// it was never acknowledged. Damage anywhere else is an error that names the
// file, the offset and the way out. A directory that holds the other kind of
// log is refused, since going on without it would forget acknowledged writes.
func OpenLogStore(store, dir string, o LogOptions) (*LogStore, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	var s *LogStore
	var err error
	switch {
	case store == WALStore && o.VFS != nil:
		s, err = openWAL(dir, o)
	case store == WALStore:
		if err = refuseOther(dir, boltLogFile, store, BoltStore); err == nil {
			s, err = openWAL(dir, o)
		}
	case store == BoltStore:
		if err = refuseOther(dir, metadb.FileName, store, WALStore); err == nil {
			s, err = openBoltLog(dir)
		}
	default:
		err = fmt.Errorf("no log store is called %q: use %q or %q", store, WALStore, BoltStore)
	}
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	s.onStore = o.OnStore
	if o.VFS != nil {
		return s, nil
	}
	if err := SyncDir(dir); err != nil {
		s.Close()
		return nil, fmt.Errorf("open log store: %w", err)
	}
	return s, nil
}

// refuseOther refuses dir if it holds file, which belongs to the store other.
func refuseOther(dir, file, store, other string) error {
	path := filepath.Join(dir, file)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is a log of store %q, but %q is configured: set %q again, or empty the server's directories to let it join as a new member", path, other, store, other)
	}
	return nil
}

// WrapLogStore puts a LogStore around an open store; closers are closed with
// it, in order. onStore may be nil.
func WrapLogStore(inner raft.LogStore, onStore func(d time.Duration, entries int, err error), closers ...io.Closer) *LogStore {
	m, ok := inner.(raft.MonotonicLogStore)
	return &LogStore{
		inner:     inner,
		monotonic: ok && m.IsMonotonic(),
		onStore:   onStore,
		closers:   closers,
	}
}

func openBoltLog(dir string) (s *LogStore, err error) {
	b, err := openBolt(filepath.Join(dir, boltLogFile))
	if err != nil {
		return nil, err
	}
	return WrapLogStore(b, nil, b), nil
}

// newBolt opens or creates a bolt file. It takes no freelist from disk and
// writes none: a long one slows every commit (consul#5181). Damage that makes
// bolt panic is an error.
func newBolt(path string) (s *raftboltdb.BoltStore, err error) {
	old := debug.SetPanicOnFault(true) // a file cut short faults in its memory map
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("damaged: %v", r)
		}
	}()
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			Timeout:        time.Second, // for the file lock
		},
	})
}

// IsMonotonic implements raft.MonotonicLogStore: raft-wal takes no gaps, and
// Raft then empties the log when it restores a snapshot.
func (s *LogStore) IsMonotonic() bool { return s.monotonic }

// FirstIndex implements raft.LogStore.
func (s *LogStore) FirstIndex() (uint64, error) {
	oldest := s.ahead.oldest.Load() // before the store is asked, which may get it meanwhile
	if first, err := s.inner.FirstIndex(); first != 0 || err != nil {
		return first, err
	}
	return oldest, nil
}

// LastIndex implements raft.LogStore.
func (s *LogStore) LastIndex() (uint64, error) {
	if taken := s.Taken(); taken != 0 {
		return taken, nil
	}
	return s.inner.LastIndex()
}

// GetLog implements raft.LogStore. The data must not be changed.
func (s *LogStore) GetLog(index uint64, log *raft.Log) error {
	if s.recent.get(index, log) || s.waiting(index, log) {
		return nil
	}
	return s.inner.GetLog(index, log)
}

// StoreLog implements raft.LogStore.
func (s *LogStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. Its first error is final. See RunAhead for
// when the entries are durable.
func (s *LogStore) StoreLogs(logs []*raft.Log) error {
	if taken, err := s.take(logs); taken || err != nil {
		return err
	}
	s.Settled(s.Taken(), nil)
	err := s.store(logs)
	if err == nil {
		s.recent.add(logs)
	}
	return err
}

// store writes logs.
func (s *LogStore) store(logs []*raft.Log) error {
	start := time.Now()
	err := s.write("store", func() error { return s.inner.StoreLogs(logs) })
	if s.onStore != nil {
		s.onStore(time.Since(start), len(logs), err)
	}
	return err
}

// DeleteRange implements raft.LogStore. Its first error is final: raft-wal may
// then hold in memory what it no longer has on disk.
func (s *LogStore) DeleteRange(lo, hi uint64) error {
	s.Settled(hi, nil)
	s.recent.clear()
	return s.write("delete", func() error { return s.inner.DeleteRange(lo, hi) })
}

// write runs op unless a write has failed before.
func (s *LogStore) write(verb string, op func() error) error {
	s.mu.Lock()
	err := s.failed
	s.mu.Unlock()
	if err != nil {
		return err
	}
	end := s.stalls.begin()
	err = op()
	end()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s log entries: %w", verb, err)
	if planted(PlantNoGuardD) {
		return err
	}
	s.mu.Lock()
	if s.failed != nil {
		defer s.mu.Unlock()
		return s.failed
	}
	s.failed = err
	tell := s.onFail
	s.mu.Unlock()
	if tell != nil {
		tell(err)
	}
	return err
}

// OnFailure has fn called at the first failed write, once, before that write
// returns or anybody hears of it, and from its goroutine. The owner must then close Raft and this
// store and open both again, or exit. Call it before the first write.
func (s *LogStore) OnFailure(fn func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onFail = fn
}

// Stalled returns how long the write under way has been running, 0 if there
// is none.
func (s *LogStore) Stalled() time.Duration { return s.stalls.stalled() }

// Close closes the store's files, once all is written that was taken. Call it
// after Raft has shut down.
func (s *LogStore) Close() error {
	s.mu.Lock()
	ended := s.ahead.ended
	s.mu.Unlock()
	if ended != nil {
		<-ended
	}
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
