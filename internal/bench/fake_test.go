package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// fake is a server on pipes, in whatever time there is. It answers each request
// as soon as it comes, unless it is stalled, one after the other.
type fake struct {
	t *testing.T

	mu       sync.Mutex
	cost     time.Duration // of a request
	stall    time.Time     // no answers before
	answer   func(h protocol.RequestHeader, body []byte) (protocol.ErrCode, []byte)
	seen     []protocol.OpCode
	pings    int
	conns    []net.Conn
	sessions []int64 // that connected, as they called themselves
	down     bool
}

func (f *fake) dial(context.Context, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("refused")
	}
	here, there := net.Pipe()
	f.conns = append(f.conns, there)
	go f.serve(there)
	return here, nil
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func framed(parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append(protocol.AppendInt(nil, int32(len(body))), body...)
}

// serve reads all that comes at once, and answers beside that.
func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	frame, err := readFrame(conn)
	if err != nil {
		return
	}
	d := protocol.NewDecoder(frame)
	var req protocol.ConnectRequest
	req.Decode(&d)
	f.mu.Lock()
	f.sessions = append(f.sessions, req.SessionID)
	f.mu.Unlock()
	resp := protocol.ConnectResponse{TimeoutMs: req.TimeoutMs, SessionID: 7, Password: make([]byte, 16), HasReadOnly: true}
	if _, err := conn.Write(framed(resp.AppendTo(nil))); err != nil {
		return
	}
	frames := make(chan []byte, 100_000)
	defer close(frames)
	go func() {
		defer conn.Close()
		for frame := range frames {
			if !f.reply(conn, frame) {
				return
			}
		}
	}()
	for {
		frame, err := readFrame(conn)
		if err != nil {
			return
		}
		frames <- frame
	}
}

// reply answers one request and reports whether the connection goes on.
func (f *fake) reply(conn net.Conn, frame []byte) bool {
	d := protocol.NewDecoder(frame)
	var h protocol.RequestHeader
	h.Decode(&d)
	f.mu.Lock()
	wait := f.cost + max(time.Until(f.stall), 0)
	if h.Op != protocol.OpPing && h.Op != protocol.OpCloseSession {
		f.seen = append(f.seen, h.Op)
	}
	if h.Op == protocol.OpPing {
		f.pings++
	}
	answer := f.answer
	f.mu.Unlock()
	time.Sleep(wait)
	var code protocol.ErrCode
	var body []byte
	if answer != nil {
		code, body = answer(h, d.Rest())
	}
	reply := protocol.ReplyHeader{Xid: h.Xid, Zxid: 1, Err: code}
	_, err := conn.Write(framed(reply.AppendTo(nil), body))
	return err == nil && h.Op != protocol.OpCloseSession
}

// load is one that sends gets to f.
func (f *fake) load() *Load {
	return &Load{
		Servers: []string{"f:1"}, Mix: Mix{{Get, 1}}, Sessions: 1, Outstanding: 1, Duration: time.Second,
		Dir: "/d", Keys: FlatKeys("/k", 10, Uniform), MultiSize: 3, Timeout: 30 * time.Second, dial: f.dial, nap: time.Sleep,
	}
}

// run runs a load to its end.
func (f *fake) run(load *Load) *Result {
	f.t.Helper()
	r, err := Start(f.t.Context(), load)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Wait()
	result := r.Take()
	r.Close()
	return result
}
