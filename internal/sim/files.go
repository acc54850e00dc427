package sim

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// MakeDir makes a directory; that alone is never lost.
func (d *Disk) MakeDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; name != "/" && name != "."; name = path.Dir(name) {
		d.dirs[name] = true
	}
	return nil
}

// Lock keeps other processes out of dir until the result is closed, or the
// process ends.
func (d *Disk) Lock(dir string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked[dir] {
		return nil, fmt.Errorf("%s: %w", dir, errLocked)
	}
	d.locked[dir] = true
	return unlock(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.locked, dir)
	}), nil
}

type unlock func()

func (u unlock) Close() error {
	u()
	return nil
}

// Exists reports whether there is a file or directory.
func (d *Disk) Exists(name string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[name] != nil || d.dirs[name], nil
}

// ReadFile returns what a file holds.
func (d *Disk) ReadFile(name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return append([]byte(nil), f.now...), nil
}

// WriteFile writes a file anew and syncs it. Its name is not durable yet.
func (d *Disk) WriteFile(name, text string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mutateLocked(); err != nil {
		return err
	}
	f := newFile(0)
	d.renameLocked(renaming{{name, f}})
	if err := d.mutateLocked(); err != nil {
		return err
	}
	f.write([]byte(text), 0)
	if err := d.mutateLocked(); err != nil {
		return err
	}
	if !d.faults.Lying {
		f.sync()
	}
	return nil
}

// Rename gives a file the place of another.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mutateLocked(); err != nil {
		return err
	}
	f := d.files[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	d.renameLocked(renaming{{to, f}, {from, nil}})
	return nil
}

// Remove removes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if err := d.mutateLocked(); err != nil {
		return err
	}
	d.renameLocked(renaming{{name, nil}})
	return nil
}

// SyncDir makes durable what became of the names in dir.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.mutateLocked(); err != nil {
		return err
	}
	d.syncDirLocked(dir)
	return nil
}

// CheckRoom reports why the disk takes no write; nil if it does.
func (d *Disk) CheckRoom(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mutateLocked()
}

// list returns the names of the files in dir.
func (d *Disk) list(dir string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		if base, ok := strings.CutPrefix(name, dir+"/"); ok && !strings.Contains(base, "/") {
			names = append(names, base)
		}
	}
	return names
}
