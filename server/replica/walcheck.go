package replica

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// raft-wal's file format: a header of 32 bytes, then frames of 8 bytes of
// header (type, three zero bytes, length or checksum, little endian) and a
// payload padded to 8 bytes. One append is a batch of entry frames, perhaps
// the index that seals the file, and a commit frame with the checksum of all
// that follows the previous commit frame. What is not written is zero.
const (
	walHeaderLen   = 32
	walFrameLen    = 8
	walSearchBytes = 1 << 30 // most bytes that the search for later batches may sum up
)

var walTable = crc32.MakeTable(crc32.Castagnoli)

// checkWAL verifies every batch of every segment in dir and mends what a crash
// leaves behind and raft-wal v0.4.0 stumbles over. To raft-wal, a damaged
// frame in the last segment is the end of the log, and what was acknowledged
// behind it is gone; it reads all other segments without a look at their
// checksums. Here damage is an error, except in the very last batch, which may
// be torn: that is overwritten with zeros, so that no leftovers can later be
// taken for entries. A last batch that is whole is made durable.
//
// Mended are: a last segment that is full but not noted as such (a crash
// before its rotation; appending to it would fail forever), and a segment
// without an index (a truncation and then a restart, hashicorp/raft-wal#31).
func checkWAL(dir string, vfs types.VFS, meta types.MetaStore, segmentBytes int) error {
	state, err := meta.Load(dir)
	if err != nil {
		return fmt.Errorf("log index of %s cannot be read (%w): %s", dir, err, wayOut)
	}
	mended := false
	for i := range state.Segments {
		changed, err := checkSegment(dir, vfs, &state.Segments[i])
		if err != nil {
			return err
		}
		mended = mended || changed
	}
	if !mended {
		return nil
	}
	if last := state.Segments[len(state.Segments)-1]; !last.SealTime.IsZero() {
		state.Segments = append(state.Segments, types.SegmentInfo{
			ID:         state.NextSegmentID,
			BaseIndex:  last.MaxIndex + 1,
			MinIndex:   last.MaxIndex + 1,
			SizeLimit:  uint32(min(segmentBytes, math.MaxInt32)),
			Codec:      wal.CodecBinaryV1,
			CreateTime: time.Now(),
		})
		state.NextSegmentID++
	}
	if err := meta.CommitState(state); err != nil {
		return fmt.Errorf("mend log in %s: %w", dir, err)
	}
	return nil
}

// checkSegment checks one segment file, mends it, and reports whether it
// changed info.
func checkSegment(dir string, vfs types.VFS, info *types.SegmentInfo) (changed bool, err error) {
	name := segment.FileName(*info)
	path := filepath.Join(dir, name)
	tail := info.SealTime.IsZero()
	r, err := vfs.OpenReader(dir, name)
	if errors.Is(err, os.ErrNotExist) && tail {
		return false, nil // a crash before the file was made: raft-wal makes it
	}
	if err != nil {
		return false, fmt.Errorf("open log file %s: %w", path, err)
	}
	defer r.Close()
	s, err := scanSegment(r)
	if err != nil {
		return false, fmt.Errorf("read log file %s: %w", path, err)
	}
	open := tail || info.IndexStart == 0 // may end in a torn batch
	missing := !tail && uint64(len(s.offsets)) < info.MaxIndex-info.BaseIndex+1
	if s.damage >= 0 && (s.more || !open) || missing {
		return false, fmt.Errorf("log file %s is damaged at offset %d, with acknowledged entries behind it: %s", path, max(s.damage, s.end), wayOut)
	}
	if s.damage >= 0 {
		if err := zeroFrom(dir, name, vfs, s.end, s.last); err != nil {
			return false, fmt.Errorf("cut off torn write in %s: %w", path, err)
		}
	}
	if tail {
		if err := writeAgain(dir, name, vfs, r, s); err != nil {
			return false, fmt.Errorf("make the end of %s durable: %w", path, err)
		}
	}
	switch {
	case tail && s.index > 0: // full, and the crash came before the rotation
		info.SealTime = time.Now()
		info.IndexStart = uint64(s.index)
		info.MaxIndex = info.BaseIndex + uint64(len(s.offsets)) - 1
		return true, nil
	case !tail && info.IndexStart == 0:
		if s.index == 0 {
			s.index = s.end + walFrameLen
			if err := writeIndex(dir, name, vfs, s); err != nil {
				return false, fmt.Errorf("write index of %s: %w", path, err)
			}
		}
		info.IndexStart = uint64(s.index)
		return true, nil
	}
	return false, nil
}

// segmentScan is what a segment file holds.
type segmentScan struct {
	offsets []uint32 // of the entries in whole batches
	index   int64    // where the index's numbers start; 0: no index in a whole batch
	final   int64    // start of the last whole batch
	end     int64    // end of the last whole batch before any damage
	damage  int64    // offset of the first thing that does not belong; -1: none
	more    bool     // acknowledged batches follow the damage
	last    int64    // end of the last byte that is not zero
}

// scanSegment reads a segment file to its end. Its errors are those of
// reading.
func scanSegment(r io.ReaderAt) (*segmentScan, error) {
	s := &segmentScan{damage: -1}
	w := newWalker(r, 0)
	for {
		b, err := w.batch()
		if err != nil {
			return nil, err
		}
		if b.whole {
			s.offsets = append(s.offsets, b.offsets...)
			if b.index > 0 {
				s.index = b.index
			}
			s.final, s.end = s.end, w.pos
			continue
		}
		if s.last, err = lastNonZero(r, s.end); err != nil {
			return nil, err
		}
		if s.last == s.end {
			return s, nil
		}
		s.damage = b.bad
		if b.committed && s.last > w.pos {
			// An append in progress ends with its commit frame.
			s.more = true
			return s, nil
		}
		s.more, err = laterBatch(r, b.bad, s.last)
		return s, err
	}
}

// laterBatch reports whether a whole batch starts between from and to. The
// one damaged at from was then acknowledged, since appends come one at a time.
func laterBatch(r io.ReaderAt, from, to int64) (bool, error) {
	budget := int64(walSearchBytes)
	buf := make([]byte, 64<<10)
	for base := from &^ (walFrameLen - 1); base < to; base += int64(len(buf)) {
		n, err := r.ReadAt(buf, base)
		if err != nil && err != io.EOF {
			return false, err
		}
		for i := 0; i+walFrameLen <= n; i += walFrameLen {
			// The damaged frame may have been a commit frame itself.
			at := base + int64(i)
			if at != from && binary.LittleEndian.Uint32(buf[i:]) != uint32(segment.FrameCommit) {
				continue
			}
			w := newWalker(r, at+walFrameLen)
			w.limit = min(to, at+budget)
			b, err := w.batch()
			if err != nil {
				return false, err
			}
			if b.whole && len(b.offsets) > 0 {
				return true, nil
			}
			if budget -= w.pos - at; budget <= 0 {
				return true, nil // too much that looks like batches to call it torn
			}
		}
	}
	return false, nil
}

// walker reads batches one after the other.
type walker struct {
	r     *bufio.Reader
	pos   int64
	limit int64
}

func newWalker(r io.ReaderAt, pos int64) *walker {
	return &walker{
		r:     bufio.NewReaderSize(io.NewSectionReader(r, pos, math.MaxInt64-pos), 4<<10),
		pos:   pos,
		limit: math.MaxInt64,
	}
}

// walBatch is one append as found in the file.
type walBatch struct {
	offsets   []uint32
	index     int64
	whole     bool  // it ends with a commit frame whose checksum is right
	committed bool  // it ends with a commit frame
	bad       int64 // if not whole: the frame that cannot be read, or the batch's start if a checksum is wrong
}

// batch reads one batch. The walker is then behind its commit frame, or at the
// frame that is none.
func (w *walker) batch() (walBatch, error) {
	var b walBatch
	start, sum := w.pos, uint32(0)
	if w.pos == 0 {
		ok, err := w.take(walHeaderLen, &sum)
		if !ok || err != nil {
			return b, err
		}
	}
	for {
		b.bad = w.pos
		head, err := w.r.Peek(walFrameLen)
		if err != nil {
			return b, notEOF(err)
		}
		kind, n := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		switch kind {
		case uint32(segment.FrameEntry), uint32(segment.FrameIndex):
			if kind == uint32(segment.FrameEntry) {
				b.offsets = append(b.offsets, uint32(w.pos))
			} else {
				b.index = w.pos + walFrameLen
			}
			padded := (int64(n) + walFrameLen - 1) &^ (walFrameLen - 1)
			if n > segment.MaxEntrySize || w.pos+padded > w.limit {
				return b, nil
			}
			ok, err := w.take(walFrameLen+padded, &sum)
			if !ok || err != nil {
				return b, err
			}
		case uint32(segment.FrameCommit):
			b.committed, b.whole = true, n == sum
			if !b.whole {
				b.bad = start
			}
			var none uint32
			_, err := w.take(walFrameLen, &none)
			return b, err
		default:
			return b, nil
		}
	}
}

// take moves n bytes on and adds them to sum; it reports whether the file has
// that many.
func (w *walker) take(n int64, sum *uint32) (bool, error) {
	for n > 0 {
		b, err := w.r.Peek(int(min(n, 4<<10)))
		*sum = crc32.Update(*sum, walTable, b)
		w.r.Discard(len(b))
		w.pos += int64(len(b))
		n -= int64(len(b))
		if err != nil {
			return false, notEOF(err)
		}
	}
	return true, nil
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// lastNonZero returns the end of the last byte from from on that is not zero,
// or from.
func lastNonZero(r io.ReaderAt, from int64) (int64, error) {
	last := from
	buf := make([]byte, 256<<10)
	for at := from; ; at += int64(len(buf)) {
		n, err := r.ReadAt(buf, at)
		for i := n - 1; i >= 0; i-- {
			if buf[i] != 0 {
				last = at + int64(i) + 1
				break
			}
		}
		if err != nil {
			return last, notEOF(err)
		}
	}
}

// zeroFrom overwrites the file from from to to with zeros, durably.
func zeroFrom(dir, name string, vfs types.VFS, from, to int64) error {
	return writeFile(dir, name, vfs, make([]byte, to-from), from)
}

// writeAgain writes the last whole batch once more, durably. It may have been
// written and never fsynced, or the fsync failed, after which the kernel takes
// its pages for clean: Raft would count on an entry that the next power cut
// takes away.
func writeAgain(dir, name string, vfs types.VFS, r io.ReaderAt, s *segmentScan) error {
	b := make([]byte, s.end-s.final)
	if _, err := r.ReadAt(b, s.final); err != nil && err != io.EOF {
		return err
	}
	return writeFile(dir, name, vfs, b, s.final)
}

// writeIndex appends the index of s's entries to a segment that has none, as
// raft-wal does when a segment is full, durably.
func writeIndex(dir, name string, vfs types.VFS, s *segmentScan) error {
	b := make([]byte, 0, walFrameLen*3+4*len(s.offsets))
	b = binary.LittleEndian.AppendUint32(b, uint32(segment.FrameIndex))
	b = binary.LittleEndian.AppendUint32(b, uint32(4*len(s.offsets)))
	for _, o := range s.offsets {
		b = binary.LittleEndian.AppendUint32(b, o)
	}
	for len(b)%walFrameLen != 0 {
		b = append(b, 0)
	}
	sum := crc32.Checksum(b, walTable)
	b = binary.LittleEndian.AppendUint32(b, uint32(segment.FrameCommit))
	b = binary.LittleEndian.AppendUint32(b, sum)
	return writeFile(dir, name, vfs, b, s.end)
}

func writeFile(dir, name string, vfs types.VFS, b []byte, at int64) error {
	w, err := vfs.OpenWriter(dir, name)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(b, at)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}
