package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/replica"
)

// Host is the machine that a server runs on, as far as it can fail: network,
// disk and wall clock. It is a seam for tests, which start servers on machines
// in memory; a field that is nil stands for the operating system's.
type Host struct {
	Listen func(addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error) // to other servers
	Disk   Disk
	// Now is the wall clock, which may jump. Only the time in entries is taken
	// from it; what the server measures and waits for is not.
	Now func() time.Time
}

// Disk is where a server keeps what must survive it. What WriteFile has written
// is durable, but not its name before SyncDir, which also makes durable what
// Rename and Remove did.
type Disk interface {
	MakeDir(path string) error            // and those above it
	Lock(dir string) (io.Closer, error)   // keeps other processes out of dir
	Exists(path string) (bool, error)     // a file or a directory
	ReadFile(path string) ([]byte, error) // the error is fs.ErrNotExist if there is none
	WriteFile(path, text string) error    // replaces what the file held
	Rename(from, to string) error         // replaces to
	Remove(path string) error             // the error is fs.ErrNotExist if there is none
	SyncDir(dir string) error
	// CheckRoom reports why dir takes no more; nil if it does.
	CheckRoom(dir string) error
	// OpenStorage opens log, stable store and snapshots in cfg's directories.
	OpenStorage(cfg *config.Config, o replica.LogOptions) (replica.Storage, error)
}

// filled is h with the operating system's in place of what it lacks.
func (h Host) filled() Host {
	if h.Listen == nil {
		h.Listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	if h.Disk == nil {
		h.Disk = osDisk{}
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	return h
}

// osDisk is the operating system's file system.
type osDisk struct{}

func (osDisk) MakeDir(path string) error { return os.MkdirAll(path, 0o750) }

// Lock implements Disk; the lock is held for as long as the file stays open.
func (osDisk) Lock(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, "coordd.lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("data directory %s is in use by another process", dir)
	}
	return f, nil
}

func (osDisk) Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osDisk) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (osDisk) WriteFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) Remove(path string) error     { return os.Remove(path) }

func (osDisk) SyncDir(dir string) error   { return replica.SyncDir(dir) }
func (osDisk) CheckRoom(dir string) error { return replica.CheckRoom(dir) }

func (osDisk) OpenStorage(cfg *config.Config, o replica.LogOptions) (replica.Storage, error) {
	return replica.OpenStorage(string(cfg.Raft.LogStore), cfg.DataDir, cfg.DataLogDir, cfg.SnapRetainCount, o)
}
