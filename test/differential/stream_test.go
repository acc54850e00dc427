//go:build differential

package differential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/coordd/coordd/protocol"
)

// stream is one connection with all that came over it.
type stream struct {
	slot     int
	server   int
	nc       net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	session  *session
	open     bool
	left     bool  // the session has moved to another server
	awaiting []int // steps not answered yet
	entries  []entry
}

// entry is a frame that came, or a note about the connection.
type entry struct {
	step  int // that it answers; -1 for an event, or a note that belongs to no step
	frame []byte
	note  string
	hello bool
}

func header(xid int32, op protocol.OpCode) []byte {
	return (&protocol.RequestHeader{Xid: xid, Op: op}).AppendTo(nil)
}

func dial(addr string) (*stream, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &stream{nc: nc, r: bufio.NewReader(nc), w: bufio.NewWriter(nc), open: true}, nil
}

// put queues a frame, or bytes as they are.
func (st *stream) put(frame []byte, framed bool) {
	if framed {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(frame)))
		st.w.Write(length[:])
	}
	st.w.Write(frame) // an error shows when the answer is read
}

// read returns the next frame.
func (st *stream) read(within time.Duration) ([]byte, error) {
	st.nc.SetReadDeadline(time.Now().Add(within))
	var length [4]byte
	if _, err := io.ReadFull(st.r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(st.r, frame)
	return frame, err
}

// call sends one frame and returns the next that comes.
func (st *stream) call(frame []byte) ([]byte, error) {
	st.put(frame, true)
	if err := st.w.Flush(); err != nil {
		return nil, err
	}
	return st.read(patience)
}

// ask sends a request and returns the header of its answer.
func (st *stream) ask(op protocol.OpCode, body protocol.Record) (protocol.ReplyHeader, error) {
	var h protocol.ReplyHeader
	reply, err := st.call(body.AppendTo(header(1, op)))
	if err != nil {
		return h, fmt.Errorf("%v: %w", op, err)
	}
	d := protocol.NewDecoder(reply)
	h.Decode(&d)
	return h, d.Err()
}

// end closes a connection, with a note on what ended it and at which step.
func (st *stream) end(step int, note string) {
	st.entries = append(st.entries, entry{step: step, note: note})
	st.nc.Close()
	st.open = false
	st.awaiting = nil
}

func (st *stream) hangUp() {
	if st.session != nil {
		st.session.hungUp = true
	}
	st.end(-1, "client closed")
}

// isEvent tells a notification from a reply.
func isEvent(frame []byte, s *step) bool {
	const minEvent = protocol.ReplyHeaderSize + 12
	own := len(s.frame) >= 4 && int32(binary.BigEndian.Uint32(s.frame)) == protocol.XidNotification
	return !own && len(frame) >= minEvent && int32(binary.BigEndian.Uint32(frame)) == protocol.XidNotification
}

// ending names the end of a connection; how TCP says it is luck.
func ending(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "NO ANSWER"
	}
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) {
		return "closed by server"
	}
	return err.Error()
}
