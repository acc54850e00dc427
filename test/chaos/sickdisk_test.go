//go:build chaos

package chaos

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// sickDisk is a directory whose writes this process passes on to another one,
// or stalls, slows down or refuses.
type sickDisk struct {
	fuse.RawFileSystem

	mu       sync.Mutex
	stalled  chan struct{} // closed when a stall ends; nil: there is none
	delay    time.Duration // of each sync
	failSync bool          // syncs fail with EIO
	full     bool          // writes fail with ENOSPC
}

// newSickDisk mounts one at dir, which must not exist.
func newSickDisk(t *testing.T, dir string) *sickDisk {
	t.Helper()
	backing := filepath.Join(t.TempDir(), "backing")
	for _, d := range []string{backing, dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		t.Fatal(err)
	}
	d := &sickDisk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{NullPermissions: true})}
	server, err := fuse.NewServer(d, dir, &fuse.MountOptions{DirectMountStrict: true, FsName: "coordd-test", Name: "sick"})
	if err != nil {
		t.Fatalf("mount a disk of the test's own (this test needs root and /dev/fuse): %v", err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.mend() // or who waits for it would wait for ever
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return d
}

// stall has every write and sync wait until mend.
func (d *sickDisk) stall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalled = make(chan struct{})
}

// set makes the disk sick in another way.
func (d *sickDisk) set(delay time.Duration, failSync, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay, d.failSync, d.full = delay, failSync, full
}

// mend makes it a good one again.
func (d *sickDisk) mend() {
	d.set(0, false, false)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stalled != nil {
		close(d.stalled)
		d.stalled = nil
	}
}

// write is what becomes of a write.
func (d *sickDisk) write() fuse.Status {
	d.mu.Lock()
	stalled, full := d.stalled, d.full
	d.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	if full {
		return fuse.Status(28) // ENOSPC
	}
	return fuse.OK
}

// Write implements fuse.RawFileSystem.
func (d *sickDisk) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if status := d.write(); status != fuse.OK {
		return 0, status
	}
	return d.RawFileSystem.Write(cancel, in, data)
}

// Fallocate implements fuse.RawFileSystem.
func (d *sickDisk) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if status := d.write(); status != fuse.OK {
		return status
	}
	return d.RawFileSystem.Fallocate(cancel, in)
}

// Create implements fuse.RawFileSystem.
func (d *sickDisk) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if status := d.write(); status != fuse.OK {
		return status
	}
	return d.RawFileSystem.Create(cancel, in, name, out)
}

// Fsync implements fuse.RawFileSystem.
func (d *sickDisk) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d.mu.Lock()
	stalled, delay, fails := d.stalled, d.delay, d.failSync
	d.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	time.Sleep(delay)
	if fails {
		return fuse.EIO
	}
	return d.RawFileSystem.Fsync(cancel, in)
}
