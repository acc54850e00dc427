package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// LogFiles is a Disk as raft-wal sees it.
type LogFiles struct{ Disk *Disk }

var _ types.VFS = LogFiles{}

// ListDir implements types.VFS.
func (l LogFiles) ListDir(dir string) ([]string, error) {
	names := l.Disk.list(dir)
	slices.Sort(names)
	return names, nil
}

// Create implements types.VFS.
func (l LogFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	d := l.Disk
	d.mu.Lock()
	defer d.mu.Unlock()
	full := path.Join(dir, name)
	if d.files[full] != nil {
		return nil, &fs.PathError{Op: "create", Path: full, Err: fs.ErrExist}
	}
	err := d.mutateLocked()
	if err == nil {
		d.renameLocked(renaming{{full, newFile(int(size))}})
		return &logFile{d: d, f: d.files[full], dir: dir}, nil
	}
	if errors.Is(err, errFull) { // it has room for the name and none for the space
		d.renameLocked(renaming{{full, newFile(0)}})
	}
	return nil, err
}

// Delete implements types.VFS.
func (l LogFiles) Delete(dir, name string) error {
	if err := l.Disk.Remove(path.Join(dir, name)); err != nil {
		return err
	}
	return l.Disk.SyncDir(dir)
}

// OpenReader implements types.VFS.
func (l LogFiles) OpenReader(dir, name string) (types.ReadableFile, error) { return l.open(dir, name) }

// OpenWriter implements types.VFS.
func (l LogFiles) OpenWriter(dir, name string) (types.WritableFile, error) { return l.open(dir, name) }

func (l LogFiles) open(dir, name string) (*logFile, error) {
	d := l.Disk
	d.mu.Lock()
	defer d.mu.Unlock()
	full := path.Join(dir, name)
	if d.files[full] == nil {
		return nil, &fs.PathError{Op: "open", Path: full, Err: fs.ErrNotExist}
	}
	return &logFile{d: d, f: d.files[full], dir: dir}, nil
}

// logFile is an open file of raft-wal.
type logFile struct {
	d     *Disk
	f     *file
	dir   string
	named bool // its name was synced; guarded by Disk.mu
}

func (l *logFile) ReadAt(b []byte, at int64) (int, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if at >= int64(len(l.f.now)) {
		return 0, io.EOF
	}
	n := copy(b, l.f.now[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (l *logFile) WriteAt(b []byte, at int64) (int, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	err := l.d.mutateLocked()
	if err != nil {
		b = b[:len(b)/2] // a full disk takes a part
	}
	l.f.write(b, int(at))
	return len(b), err
}

// Sync makes the file durable, and the first time its name, as raft-wal's own
// file does.
func (l *logFile) Sync() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if err := l.d.mutateLocked(); err != nil {
		return err
	}
	if !l.d.faults.Lying {
		l.f.sync()
	}
	if !l.named {
		l.named = true
		l.d.syncDirLocked(l.dir)
	}
	return nil
}

func (l *logFile) Close() error { return nil }

// LogMeta is raft-wal's index of its files, in a file that a database keeps
// whole.
type LogMeta struct {
	Disk *Disk
	Path string
}

var _ types.MetaStore = LogMeta{}

// Load implements types.MetaStore.
func (m LogMeta) Load(string) (types.PersistentState, error) {
	state, _ := m.Disk.value(m.Path).(types.PersistentState)
	state.Segments = slices.Clone(state.Segments)
	return state, nil
}

// CommitState implements types.MetaStore.
func (m LogMeta) CommitState(state types.PersistentState) error {
	state.Segments = slices.Clone(state.Segments)
	return m.Disk.commit(m.Path, func(any) any { return state })
}

// GetStable implements types.MetaStore; raft-wal's is not used.
func (LogMeta) GetStable([]byte) ([]byte, error) { return nil, nil }

// SetStable implements types.MetaStore.
func (LogMeta) SetStable(_, _ []byte) error { return errors.New("not used") }

// Close implements types.MetaStore.
func (LogMeta) Close() error { return nil }

// Stable is a raft.StableStore in a file that a database keeps whole.
type Stable struct {
	Disk *Disk
	Path string
}

var _ raft.StableStore = Stable{}

// Set implements raft.StableStore.
func (s Stable) Set(key, val []byte) error { return s.set(string(key), slices.Clone(val)) }

// SetUint64 implements raft.StableStore.
func (s Stable) SetUint64(key []byte, val uint64) error { return s.set(string(key), val) }

func (s Stable) set(key string, val any) error {
	s.Disk.Wait()
	return s.Disk.commit(s.Path, func(old any) any {
		values, _ := old.(map[string]any)
		values = maps.Clone(values)
		if values == nil {
			values = map[string]any{}
		}
		values[key] = val
		return values
	})
}

// Get implements raft.StableStore.
func (s Stable) Get(key []byte) ([]byte, error) {
	values, _ := s.Disk.value(s.Path).(map[string]any)
	val, ok := values[string(key)].([]byte)
	if !ok {
		return nil, errors.New("not found")
	}
	return slices.Clone(val), nil
}

// GetUint64 implements raft.StableStore.
func (s Stable) GetUint64(key []byte) (uint64, error) {
	values, _ := s.Disk.value(s.Path).(map[string]any)
	val, ok := values[string(key)].(uint64)
	if !ok {
		return 0, errors.New("not found")
	}
	return val, nil
}

// Snapshots is a raft.SnapshotStore that keeps the newest ones as files, each
// written under another name first, as the library's does.
type Snapshots struct {
	Disk *Disk
	Dir  string
	Keep int
}

var _ raft.SnapshotStore = Snapshots{}

// kept is a snapshot on disk.
type kept struct {
	meta raft.SnapshotMeta
	data []byte
}

// Create implements raft.SnapshotStore.
func (s Snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{s: s, kept: kept{meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.Disk.number()), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}}, nil
}

// List implements raft.SnapshotStore.
func (s Snapshots) List() ([]*raft.SnapshotMeta, error) {
	var all []*raft.SnapshotMeta
	for _, name := range s.Disk.list(s.Dir) {
		if k, ok := s.Disk.value(path.Join(s.Dir, name)).(kept); ok {
			all = append(all, &k.meta)
		}
	}
	slices.SortFunc(all, func(a, b *raft.SnapshotMeta) int {
		return cmp.Or(cmp.Compare(b.Term, a.Term), cmp.Compare(b.Index, a.Index), cmp.Compare(b.ID, a.ID))
	})
	return all[:min(len(all), s.Keep)], nil
}

// Open implements raft.SnapshotStore.
func (s Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	k, ok := s.Disk.value(path.Join(s.Dir, id)).(kept)
	if !ok {
		return nil, nil, fmt.Errorf("there is no snapshot %s", id)
	}
	return &k.meta, io.NopCloser(bytes.NewReader(k.data)), nil
}

// sink is a snapshot that is being written.
type sink struct {
	s    Snapshots
	kept kept
}

func (k *sink) Write(b []byte) (int, error) {
	d := k.s.Disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mutateLocked(); err != nil {
		return 0, err
	}
	k.kept.data = append(k.kept.data, b...)
	return len(b), nil
}

func (k *sink) ID() string    { return k.kept.meta.ID }
func (k *sink) Cancel() error { return nil }

// Close makes the snapshot durable and removes old ones.
func (k *sink) Close() error {
	k.s.Disk.Wait()
	k.kept.meta.Size = int64(len(k.kept.data))
	if err := k.s.Disk.commit(path.Join(k.s.Dir, k.ID()), func(any) any { return k.kept }); err != nil {
		return err
	}
	all, err := k.s.all()
	for i := k.s.Keep; err == nil && i < len(all); i++ {
		err = k.s.Disk.Remove(path.Join(k.s.Dir, all[i].ID))
	}
	return err
}

func (s Snapshots) all() ([]*raft.SnapshotMeta, error) {
	s.Keep = 1 << 30
	return s.List()
}

// number is one that no earlier snapshot of this disk has: the milliseconds in
// the names of the library's.
func (d *Disk) number() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return 1e12 + d.random.Int64N(1e12)
}
