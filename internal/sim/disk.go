package sim

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// ErrBroken is what a failing disk says.
var ErrBroken = &fs.PathError{Op: "write", Path: "disk", Err: syscall.EIO}

// errFull is what a full disk says.
var errFull = &fs.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}

// Faults are what ails a disk.
type Faults struct {
	// Latency is how long a write that waits for the disk takes at most.
	Latency time.Duration
	Full    bool
	// Failing is the chance that a write fails.
	Failing float64
	// Lying makes syncs do nothing.
	Lying bool
}

// Disk is a file system in memory that knows what would be left of it after a
// power cut: what was synced, and of what was not, each sector and each change
// of a directory by chance; the changes of one directory in their order.
type Disk struct {
	mu      sync.Mutex
	random  *rand.Rand
	faults  Faults
	stalled chan struct{}         // closed when the disk goes on; nil if it does
	files   map[string]*file      // by path, as now seen
	durable map[string]*file      // as on disk
	pending map[string][]renaming // by directory: changes that are not on disk
	dirs    map[string]bool
	locked  map[string]bool
	left    int    // mutations until trap; 0: none is set
	trap    func() // see Trap
}

// renaming is a change of names: f is then at path, nobody if it is nil.
type renaming []struct {
	path string
	f    *file
}

type file struct {
	now, durable []byte
	dirty        map[int]struct{} // sectors that differ
	cell         any              // see Disk.commit; a value is never changed
}

// NewDisk returns an empty disk. random is its own.
func NewDisk(random *rand.Rand) *Disk {
	return &Disk{
		random:  random,
		faults:  Faults{Latency: Usual},
		files:   map[string]*file{},
		durable: map[string]*file{},
		pending: map[string][]renaming{},
		dirs:    map[string]bool{},
		locked:  map[string]bool{},
	}
}

// Ail changes the disk's faults.
func (d *Disk) Ail(change func(*Faults)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.faults)
}

// Usual is the latency of a disk that nothing ails.
const Usual = 2 * time.Millisecond

// Heal takes all faults from the disk but a stall.
func (d *Disk) Heal() {
	d.Ail(func(f *Faults) { *f = Faults{Latency: Usual} })
}

// Stall makes the disk stand still, or go on.
func (d *Disk) Stall(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case on && d.stalled == nil:
		d.stalled = make(chan struct{})
	case !on && d.stalled != nil:
		close(d.stalled)
		d.stalled = nil
	}
}

// Wait takes as long as a write does that waits for the disk. Stores call it
// before such a write, without a lock.
func (d *Disk) Wait() {
	d.mu.Lock()
	var took time.Duration
	if d.faults.Latency > 0 {
		took = time.Duration(d.random.Int64N(int64(d.faults.Latency)))
	}
	d.mu.Unlock()
	if took > 0 {
		time.Sleep(took)
	}
	for {
		d.mu.Lock()
		stalled := d.stalled
		d.mu.Unlock()
		if stalled == nil {
			return
		}
		<-stalled
	}
}

// Trap has fn called within the n-th next change of the disk, before it is
// done: between any two of them a machine may lose its power. n 0 takes the
// trap away, and reports whether it had not sprung. fn may call CrashLocked and
// nothing else of the disk.
func (d *Disk) Trap(n int, fn func()) (armed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	armed = d.left > 0
	d.left, d.trap = n, fn
	return armed
}

// Crash returns the disk as it is found after a power cut now. This one lives
// on, for a process that nobody hears any more.
func (d *Disk) Crash() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.CrashLocked()
}

// CrashLocked is Crash within a trap.
func (d *Disk) CrashLocked() *Disk {
	after := NewDisk(rand.New(rand.NewPCG(d.random.Uint64(), d.random.Uint64())))
	after.dirs = maps.Clone(d.dirs)
	names := maps.Clone(d.durable)
	for _, dir := range slices.Sorted(maps.Keys(d.pending)) {
		changes := d.pending[dir]
		for _, c := range changes[:d.random.IntN(len(changes)+1)] {
			c.apply(names)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name].crash(d.random)
		after.files[name], after.durable[name] = f, f
	}
	after.faults = d.faults
	d.zombie()
	return after
}

// Kill returns the disk as it is found after the end of a process, which forgets
// nothing.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := NewDisk(rand.New(rand.NewPCG(d.random.Uint64(), d.random.Uint64())))
	after.dirs = maps.Clone(d.dirs)
	copies := map[*file]*file{}
	clone := func(f *file) *file {
		if copies[f] == nil {
			copies[f] = &file{now: slices.Clone(f.now), durable: slices.Clone(f.durable), dirty: maps.Clone(f.dirty), cell: f.cell}
		}
		return copies[f]
	}
	for name, f := range d.files {
		after.files[name] = clone(f)
	}
	for name, f := range d.durable {
		after.durable[name] = clone(f)
	}
	for dir, changes := range d.pending {
		for _, c := range changes {
			own := slices.Clone(c)
			for i := range own {
				if own[i].f != nil {
					own[i].f = clone(own[i].f)
				}
			}
			after.pending[dir] = append(after.pending[dir], own)
		}
	}
	after.faults = d.faults
	d.zombie()
	return after
}

// zombie takes all faults from the disk of a process that nobody hears any more,
// so that it can end.
func (d *Disk) zombie() {
	d.faults, d.left = Faults{}, 0
	if d.stalled != nil {
		close(d.stalled)
		d.stalled = nil
	}
}

// Wipe loses all files under the directory.
func (d *Disk) Wipe(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, names := range []map[string]*file{d.files, d.durable} {
		maps.DeleteFunc(names, func(name string, _ *file) bool { return strings.HasPrefix(name, dir+"/") })
	}
	clear(d.pending)
}

func (f *file) crash(random *rand.Rand) *file {
	size := max(len(f.now), len(f.durable))
	b := make([]byte, size)
	copy(b, f.durable)
	for _, s := range slices.Sorted(maps.Keys(f.dirty)) {
		if random.IntN(2) == 0 {
			end := min((s+1)*sector, len(f.now))
			copy(b[s*sector:end], f.now[s*sector:end])
		}
	}
	return &file{now: b, durable: slices.Clone(b), dirty: map[int]struct{}{}, cell: f.cell}
}

func (r renaming) apply(names map[string]*file) {
	for _, c := range r {
		if c.f == nil {
			delete(names, c.path)
		} else {
			names[c.path] = c.f
		}
	}
}

// mutateLocked comes before every change, which it may refuse.
func (d *Disk) mutateLocked() error {
	if d.left > 0 {
		if d.left--; d.left == 0 {
			d.trap()
		}
	}
	switch {
	case d.faults.Full:
		return errFull
	case d.faults.Failing > 0 && d.random.Float64() < d.faults.Failing:
		return ErrBroken
	}
	return nil
}

// renameLocked makes a change of names that is not on disk yet.
func (d *Disk) renameLocked(r renaming) {
	r.apply(d.files)
	dir := path.Dir(r[0].path)
	d.pending[dir] = append(d.pending[dir], r)
}

// syncDirLocked makes the names in dir durable.
func (d *Disk) syncDirLocked(dir string) {
	if d.faults.Lying {
		return
	}
	for _, r := range d.pending[dir] {
		r.apply(d.durable)
	}
	delete(d.pending, dir)
}

func (f *file) write(b []byte, at int) {
	if need := at + len(b); need > len(f.now) {
		f.now = append(f.now, make([]byte, need-len(f.now))...)
	}
	copy(f.now[at:], b)
	for s := at / sector; s*sector < at+len(b); s++ {
		f.dirty[s] = struct{}{}
	}
}

func (f *file) sync() {
	if grown := len(f.now) - len(f.durable); grown > 0 {
		f.durable = append(f.durable, make([]byte, grown)...)
	}
	for s := range f.dirty {
		end := min((s+1)*sector, len(f.now))
		copy(f.durable[s*sector:end], f.now[s*sector:end])
	}
	clear(f.dirty)
}

func newFile(size int) *file {
	return &file{now: make([]byte, size), dirty: map[int]struct{}{}}
}

// commit replaces a value that is written whole or not at all, and durably, as
// databases do; its name, too.
func (d *Disk) commit(name string, change func(old any) any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mutateLocked(); err != nil {
		return err
	}
	f := d.files[name]
	if f == nil {
		f = newFile(0)
		d.files[name] = f
	}
	f = &file{dirty: map[int]struct{}{}, cell: change(f.cell)}
	d.files[name] = f
	if !d.faults.Lying {
		d.durable[name] = f
	}
	return nil
}

// value is what was committed last; nil if nothing was.
func (d *Disk) value(name string) any {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		return f.cell
	}
	return nil
}

var errLocked = errors.New("in use by another process")
