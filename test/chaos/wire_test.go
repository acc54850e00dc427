//go:build chaos

package chaos

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// wire is one connection with a session, without a client around it: what is
// sent in one packet leaves in one packet, and what comes is seen in the order
// of the stream.
type wire struct {
	nc net.Conn
	r  *bufio.Reader
}

// open makes a session at s. What is read or written later than patience from
// now fails, unless extend says otherwise.
func open(s *zkprocess.Server) (*wire, error) {
	nc, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return nil, fmt.Errorf("server %d: %w", s.ID, err)
	}
	w := &wire{nc: nc, r: bufio.NewReaderSize(nc, 512)}
	w.extend(patience)
	req := protocol.ConnectRequest{TimeoutMs: int32(longSession.Milliseconds()), Password: make([]byte, 16), HasReadOnly: true}
	frame := req.AppendTo(make([]byte, 4))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	var resp protocol.ConnectResponse
	if _, err = nc.Write(frame); err == nil {
		var body []byte
		if body, err = w.frame(); err == nil {
			d := protocol.NewDecoder(body)
			resp.Decode(&d)
			err = d.Err()
		}
	}
	if err == nil && resp.SessionID == 0 {
		err = zkclient.ErrSessionExpired
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("server %d: open session: %w", s.ID, err)
	}
	return w, nil
}

func (w *wire) extend(limit time.Duration) {
	_ = w.nc.SetDeadline(time.Now().Add(limit)) // fails on a closed connection, as the next read does
}

func (w *wire) frame() ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(w.r, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(w.r, b)
	return b, err
}

// receive reads a reply or a notification.
func (w *wire) receive() (h protocol.ReplyHeader, body []byte, err error) {
	b, err := w.frame()
	if err != nil {
		return h, nil, err
	}
	d := protocol.NewDecoder(b)
	h.Decode(&d)
	return h, d.Rest(), d.Err()
}

// appendRequest appends a request as it goes over the wire.
func appendRequest(b []byte, xid int32, op protocol.OpCode, body protocol.Record) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = (&protocol.RequestHeader{Xid: xid, Op: op}).AppendTo(b)
	b = body.AppendTo(b)
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// statOf decodes the Stat that ends the replies to getData and exists.
func statOf(body []byte) (protocol.Stat, error) {
	var r protocol.StatResponse
	d := protocol.NewDecoder(body[max(0, len(body)-protocol.StatSize):])
	r.Decode(&d)
	return r.Stat, d.Err()
}

// faults collects what was not as it must be, from many goroutines.
type faults struct {
	mu    sync.Mutex
	first []string
	count int
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; len(f.first) < 10 {
		f.first = append(f.first, fmt.Sprintf(format, args...))
	}
}

func (f *faults) report(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count > 0 {
		t.Errorf("%d faults, the first:\n%s", f.count, strings.Join(f.first, "\n"))
	}
}
