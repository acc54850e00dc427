package server

import (
	"net"
	"sync"
	"syscall"
)

// Sizes of buffers. A connection reads and writes with small ones until one is
// full: a storm of ten thousand clients then takes little memory.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

// Buffers are for reading and writing. A connection holds one only while it has
// something to read or write: ten thousand idle clients hold none.
var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// takeBuffer returns an empty slice with a buffer's room.
func takeBuffer(large bool) []byte {
	if large {
		return largeBuffers.Get().(*[largeBuffer]byte)[:0]
	}
	return smallBuffers.Get().(*[smallBuffer]byte)[:0]
}

// giveBuffer takes back what takeBuffer gave; a slice that has grown since, and
// nil, are left to the collector.
func giveBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// reader reads what a connection brings into buffers.
type reader struct {
	nc    net.Conn
	raw   syscall.RawConn // nil: nc has none
	try   func(fd uintptr) bool
	large bool // the last read filled its buffer
	buf   []byte
}

func newReader(nc net.Conn) *reader {
	r := &reader{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		r.raw, _ = sc.SyscallConn()
	}
	r.try = r.readNow
	return r
}

// read waits for bytes. It returns none at the end of the connection, and
// otherwise a buffer for giveBuffer.
func (r *reader) read() []byte {
	if r.raw == nil {
		buf := takeBuffer(r.large)
		n, _ := r.nc.Read(buf[:cap(buf)])
		return r.filled(buf, n)
	}
	if err := r.raw.Read(r.try); err != nil {
		return nil
	}
	buf := r.buf
	r.buf = nil
	return buf
}

// readNow holds a buffer only if there is something to read.
func (r *reader) readNow(fd uintptr) bool {
	buf := takeBuffer(r.large)
	for {
		n, err := syscall.Read(int(fd), buf[:cap(buf)])
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			giveBuffer(buf)
			return false
		}
		r.buf = r.filled(buf, n)
		return true
	}
}

// filled is buf with the n bytes that were read into it; nil without any.
func (r *reader) filled(buf []byte, n int) []byte {
	if n <= 0 {
		giveBuffer(buf)
		return nil
	}
	r.large = n == cap(buf)
	return buf[:n]
}
