package fsm

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// RLocker is the reader's side of the lock around a machine, a *sync.RWMutex.
type RLocker interface {
	RLock()
	RUnlock()
}

// A stream is streamMagic with its version, blocks, and an end block with the
// number of blocks, their bytes and the state's digest; then nothing. A block
// is a header (kind, length, stored length, checksum; little endian) and the
// payload, as it is when both lengths are equal and as one zstd frame
// otherwise. The checksum is CRC-32C over everything up to here, so that blocks
// lost, repeated or moved are found as well.
const (
	streamMagic = "coordd-state\x00\x01\x00\x00" // version 1

	blockEnd byte = 0
	// blockTree is the kind of every block of the tree; 1 to 15 are kept for it.
	blockTree byte = 1

	blockHeaderSize = 13
	// maxBlock bounds what a reader takes into memory, in bytes. A node that
	// came through Raft is smaller.
	maxBlock = 64 << 20
	// maxFold is how many times its stored length a block may have: what a
	// reader allocates stays in proportion to what it was given.
	maxFold = 1024
	// maxWindow is above the window of the writer's compression level, 4 MiB.
	maxWindow = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errStream = errors.New("corrupt state stream")

// streamWriter writes a stream. After an error it is of no more use.
type streamWriter struct {
	w      io.Writer
	zstd   *zstd.Encoder
	out    []byte
	sum    uint32
	blocks uint64
	size   uint64
	err    error
}

func newStreamWriter(w io.Writer) *streamWriter {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	s := &streamWriter{w: w, zstd: enc, err: err}
	if s.err == nil {
		s.sum = crc32.Checksum([]byte(streamMagic), castagnoli)
		_, s.err = io.WriteString(w, streamMagic)
	}
	return s
}

// block writes one block of a kind above 0. The payload may be used again
// afterwards.
func (s *streamWriter) block(kind byte, payload []byte) error {
	if s.err != nil {
		return s.err
	}
	if len(payload) > maxBlock {
		s.err = fmt.Errorf("state stream: block of %d bytes, at most %d", len(payload), maxBlock)
		return s.err
	}
	var head [blockHeaderSize]byte
	s.out = s.zstd.EncodeAll(payload, append(s.out[:0], head[:]...))
	if n := len(s.out) - blockHeaderSize; n >= len(payload) || n*maxFold < len(payload) {
		s.out = append(s.out[:blockHeaderSize], payload...)
	}
	s.out[0] = kind
	binary.LittleEndian.PutUint32(s.out[1:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(s.out[5:], uint32(len(s.out)-blockHeaderSize))
	s.sum = crc32.Update(s.sum, castagnoli, s.out[:9])
	s.sum = crc32.Update(s.sum, castagnoli, s.out[blockHeaderSize:])
	binary.LittleEndian.PutUint32(s.out[9:], s.sum)
	s.blocks++
	s.size += uint64(len(payload))
	_, s.err = s.w.Write(s.out)
	return s.err
}

// close writes the end block. It does not close the writer below.
func (s *streamWriter) close(digest uint64) error {
	p := binary.LittleEndian.AppendUint64(nil, s.blocks)
	p = binary.LittleEndian.AppendUint64(p, s.size)
	p = binary.LittleEndian.AppendUint64(p, digest)
	return s.block(blockEnd, p)
}

// streamReader reads a stream. What it gives out has passed its checksum, but
// only io.EOF says that the stream is whole.
type streamReader struct {
	r       *bufio.Reader
	zstd    *zstd.Decoder // nil until the first compressed block
	stored  bytes.Buffer
	plain   []byte // what zstd gave
	payload []byte // the last block's: plain, or what is in stored
	sum     uint32
	blocks  uint64
	size    uint64
	end     uint64
	started bool
	err     error
}

func newStreamReader(r io.Reader) *streamReader {
	return &streamReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next block, whose payload lasts until the call after. It
// returns io.EOF once the end block has been checked and nothing follows it.
// Any other error is final.
func (s *streamReader) next() (kind byte, payload []byte, err error) {
	if s.err == nil && !s.started {
		s.err = s.readMagic()
		s.started = true
	}
	if s.err == nil {
		kind, s.err = s.readBlock()
	}
	if s.err == nil && kind == blockEnd {
		s.err = s.readEnd()
	}
	if s.err != nil {
		return 0, nil, s.err
	}
	s.blocks++
	s.size += uint64(len(s.payload))
	return kind, s.payload, nil
}

func (s *streamReader) readMagic() error {
	var b [len(streamMagic)]byte
	if _, err := io.ReadFull(s.r, b[:]); err != nil {
		return early(err)
	}
	if string(b[:]) != streamMagic {
		return fmt.Errorf("%w: not a stream of this version", errStream)
	}
	s.sum = crc32.Checksum(b[:], castagnoli)
	return nil
}

func (s *streamReader) readBlock() (kind byte, err error) {
	var head [blockHeaderSize]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return 0, early(err)
	}
	size, stored := int64(binary.LittleEndian.Uint32(head[1:])), int64(binary.LittleEndian.Uint32(head[5:]))
	if size > maxBlock || stored > size || stored*maxFold < size {
		return 0, fmt.Errorf("%w: block of %d bytes in %d", errStream, size, stored)
	}
	// The buffer grows with what is there, not with what the header claims.
	s.stored.Reset()
	if _, err := io.CopyN(&s.stored, s.r, stored); err != nil {
		return 0, early(err)
	}
	s.sum = crc32.Update(s.sum, castagnoli, head[:9])
	s.sum = crc32.Update(s.sum, castagnoli, s.stored.Bytes())
	if s.sum != binary.LittleEndian.Uint32(head[9:]) {
		return 0, fmt.Errorf("%w: checksum of block %d", errStream, s.blocks)
	}
	s.payload = s.stored.Bytes()
	if stored < size {
		s.payload, err = s.decompress(s.payload, int(size))
	}
	return head[0], err
}

// decompress returns the size bytes that frame holds; it allocates no more,
// whatever the frame says.
func (s *streamReader) decompress(frame []byte, size int) (p []byte, err error) {
	if s.zstd == nil {
		s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, fmt.Errorf("read state stream: %w", err)
		}
	}
	if cap(s.plain) < size {
		s.plain = make([]byte, 0, size)
	}
	p, err = s.zstd.DecodeAll(frame, s.plain[:0:size])
	if err != nil {
		return nil, fmt.Errorf("%w: decompress block %d: %w", errStream, s.blocks, err)
	}
	if len(p) != size {
		return nil, fmt.Errorf("%w: length of block %d", errStream, s.blocks)
	}
	return p, nil
}

// readEnd checks the end block and returns io.EOF if all is well.
func (s *streamReader) readEnd() error {
	p := s.payload
	if len(p) != 24 || binary.LittleEndian.Uint64(p) != s.blocks || binary.LittleEndian.Uint64(p[8:]) != s.size {
		return fmt.Errorf("%w: end block does not match", errStream)
	}
	s.end = binary.LittleEndian.Uint64(p[16:])
	switch _, err := s.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: bytes after the end", errStream)
	case err != io.EOF:
		return fmt.Errorf("read state stream: %w", err)
	}
	return io.EOF
}

// digest is the digest that close wrote; valid once next returned io.EOF.
func (s *streamReader) digest() uint64 { return s.end }

// early makes the end of the input an error that is not taken for io.EOF.
func early(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends early", errStream)
	}
	return fmt.Errorf("read state stream: %w", err)
}
