package replica

import (
	"os"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// fillAhead is how far ahead of the log's end its file is filled with zeros,
// and fillUpTo the largest write for which that is done. A write into space
// that was only reserved makes the file system note, in a transaction of its
// own, that there is data now: an fsync then takes half as long again. One
// fsync in many makes room for those that follow. For large writes that would
// write everything twice.
const (
	fillAhead = 256 << 10
	fillUpTo  = 64 << 10
)

var zeros [fillAhead]byte

// filling hands out raft-wal's files so that they are filled ahead.
type filling struct {
	types.VFS
	size int64 // of a file
}

func (v filling) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := v.VFS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return &filledFile{WritableFile: f, size: v.size}, nil
}

func (v filling) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := v.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &filledFile{WritableFile: f, size: v.size}, nil
}

// filledFile is a segment that raft-wal appends to, one write at a time.
type filledFile struct {
	types.WritableFile
	size   int64
	filled int64 // up to here the file has data or zeros
}

// WriteAt appends b, and zeros behind it if there are none yet.
func (f *filledFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.WritableFile.WriteAt(b, at)
	end := at + int64(len(b))
	if err != nil || end <= f.filled || len(b) > fillUpTo {
		return n, err
	}
	f.filled = min(end+fillAhead, f.size)
	if end < f.filled {
		if _, err := f.WritableFile.WriteAt(zeros[:f.filled-end], end); err != nil {
			f.filled = f.size // the entries are written, and need no zeros
		}
	}
	return n, nil
}

// dataFS is the operating system's file system. Its files' Sync leaves out
// times, which nobody reads and which would cost a transaction.
type dataFS struct{ *fs.FS }

func (v dataFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := v.FS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return &dataFile{WritableFile: f, file: &f.(*fs.File).File}, nil
}

func (v dataFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := v.FS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &dataFile{WritableFile: f, file: f.(*os.File), named: true}, nil
}

// dataFile is a file of dataFS that is written.
type dataFile struct {
	types.WritableFile
	file  *os.File
	named bool // its name is durable; its one writer's
}

// Sync makes durable what was written, at the first time the file's name too.
func (f *dataFile) Sync() error {
	if !f.named {
		err := f.WritableFile.Sync()
		f.named = err == nil
		return err
	}
	return datasync(f.file)
}
