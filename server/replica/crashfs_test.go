package replica

import (
	"bytes"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/types"
)

const sector = 512

// crashFS is a file system in memory for raft-wal that can lose power: what
// was not fsynced is then lost, sector by sector.
type crashFS struct {
	mu    sync.Mutex
	files map[string]*crashFile
	fail  func(op string) error // nil, or asked before each write, sync and create
	lying bool                  // Sync does nothing
	slow  func() time.Duration  // nil, or how long a Sync takes
}

type crashFile struct {
	fs      *crashFS
	now     []byte
	durable []byte
	named   bool // its name is durable
}

func newCrashFS() *crashFS { return &crashFS{files: make(map[string]*crashFile)} }

// crash returns the file system as found after a power cut. keep decides for
// each sector that was written and not synced, and for each new name, whether
// it survives.
func (f *crashFS) crash(keep func() bool) *crashFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := newCrashFS()
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[name]
		if !file.named && !keep() {
			continue
		}
		size := max(len(file.now), len(file.durable))
		now, old := make([]byte, size), make([]byte, size)
		copy(now, file.now)
		copy(old, file.durable)
		for at := 0; at < size; at += sector {
			end := min(at+sector, size)
			if !bytes.Equal(now[at:end], old[at:end]) && keep() {
				copy(old[at:end], now[at:end])
			}
		}
		after.files[name] = &crashFile{fs: after, now: old, durable: bytes.Clone(old), named: true}
	}
	return after
}

func (f *crashFS) may(op string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(op)
}

func (f *crashFS) ListDir(string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.files)), nil
}

func (f *crashFS) Create(_, name string, size uint64) (types.WritableFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] != nil {
		return nil, os.ErrExist
	}
	if err := f.may("create"); err != nil {
		// A full disk has room for the name and none for the space.
		f.files[name] = &crashFile{fs: f}
		return nil, err
	}
	f.files[name] = &crashFile{fs: f, now: make([]byte, size)}
	return f.files[name], nil
}

func (f *crashFS) Delete(_, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
	return nil
}

func (f *crashFS) OpenReader(_, name string) (types.ReadableFile, error) {
	return f.open(name)
}

func (f *crashFS) OpenWriter(_, name string) (types.WritableFile, error) {
	return f.open(name)
}

func (f *crashFS) open(name string) (*crashFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil {
		return nil, os.ErrNotExist
	}
	return f.files[name], nil
}

func (c *crashFile) ReadAt(b []byte, at int64) (int, error) {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	if at >= int64(len(c.now)) {
		return 0, io.EOF
	}
	n := copy(b, c.now[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (c *crashFile) WriteAt(b []byte, at int64) (int, error) {
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	err := c.fs.may("write")
	if err != nil {
		b = b[:len(b)/2] // a full disk takes a part
	}
	if need := at + int64(len(b)); need > int64(len(c.now)) {
		c.now = append(c.now, make([]byte, need-int64(len(c.now)))...)
	}
	return copy(c.now[at:], b), err
}

// Sync makes the file durable, and its name, as raft-wal's own file does.
func (c *crashFile) Sync() error {
	if c.fs.slow != nil {
		time.Sleep(c.fs.slow())
	}
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	if err := c.fs.may("sync"); err != nil {
		return err
	}
	if !c.fs.lying {
		c.durable, c.named = bytes.Clone(c.now), true
	}
	return nil
}

func (c *crashFile) Close() error { return nil }

// crashMeta is raft-wal's meta store in memory; what it is given is durable.
type crashMeta struct {
	mu    sync.Mutex
	state types.PersistentState
	fail  func() error // nil, or asked before each commit
	delay time.Duration
}

func (m *crashMeta) Load(string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	s.Segments = slices.Clone(s.Segments)
	return s, nil
}

func (m *crashMeta) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	time.Sleep(m.delay)
	if m.fail != nil {
		if err := m.fail(); err != nil {
			return err
		}
	}
	s.Segments = slices.Clone(s.Segments)
	m.state = s
	return nil
}

func (m *crashMeta) GetStable([]byte) ([]byte, error) { return nil, nil }
func (m *crashMeta) SetStable(_, _ []byte) error      { return nil }
func (m *crashMeta) Close() error                     { return nil }

// lie makes Sync return at once from now on, with nothing durable.
func (f *crashFS) lie() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lying = true
}
