package server

import (
	"net"
	"sync"
	"syscall"
)

// bufferSize is what one read from a socket may bring, and how much waits for a
// socket before the buffer has to grow.
const bufferSize = 32 << 10

type buffer [bufferSize]byte

// buffers are for reading and writing. A connection holds them only while it has
// something to read or write: ten thousand idle clients hold none.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// takeBuffer returns an empty slice with a buffer's room.
func takeBuffer() []byte { return buffers.Get().(*buffer)[:0] }

// giveBuffer takes back what takeBuffer gave; a slice that has grown since, and
// nil, are left to the collector.
func giveBuffer(b []byte) {
	if cap(b) == bufferSize {
		buffers.Put((*buffer)(b[:bufferSize]))
	}
}

// reader reads what a connection brings into buffers.
type reader struct {
	nc  net.Conn
	raw syscall.RawConn // nil: nc has none
	try func(fd uintptr) bool
	buf *buffer // of the last read
	n   int
}

func newReader(nc net.Conn) *reader {
	r := &reader{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		r.raw, _ = sc.SyscallConn()
	}
	r.try = r.readNow
	return r
}

// read waits for bytes. It returns 0 of them at the end of the connection.
func (r *reader) read() (*buffer, int) {
	if r.raw == nil {
		buf := buffers.Get().(*buffer)
		n, _ := r.nc.Read(buf[:])
		return buf, n
	}
	if err := r.raw.Read(r.try); err != nil || r.n < 0 {
		return nil, 0
	}
	return r.buf, r.n
}

// readNow holds a buffer only if there is something to read.
func (r *reader) readNow(fd uintptr) bool {
	var err error
	r.buf = buffers.Get().(*buffer)
	for {
		r.n, err = syscall.Read(int(fd), r.buf[:])
		if err != syscall.EINTR {
			break
		}
	}
	if err == syscall.EAGAIN {
		buffers.Put(r.buf)
		r.buf = nil
		return false
	}
	return true
}
