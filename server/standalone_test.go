package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// startStandalone runs a standalone server until the end of the test, which
// fails if the server leaves a goroutine behind. lines are added to zoo.cfg.
func startStandalone(t *testing.T, lines ...string) *Server {
	t.Helper()
	before := goleak.IgnoreCurrent()
	var s *Server
	for try := 0; s == nil; try++ {
		text := fmt.Sprintf("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\ntickTime=100\nmaxSessionTimeout=60000\ncoordd.heartbeatTimeout=50\ncoordd.electionTimeout=50\ncoordd.leaderLeaseTimeout=50\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n%s\n",
			t.TempDir(), zkprocess.FreePorts(t, "127.0.0.1", 1)[0], strings.Join(lines, "\n"))
		cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		s, err = Start(cfg, hclog.NewNullLogger(), Build{})
		if err != nil && (try == 5 || !errors.Is(err, syscall.EADDRINUSE)) {
			t.Fatal(err)
		}
	}
	eventually(t, "the server takes clients", s.Serving)
	t.Cleanup(func() {
		s.Shutdown()
		select {
		case err := <-s.Failed():
			t.Errorf("the server failed: %v", err)
		default:
		}
		goleak.VerifyNone(t, before)
	})
	return s
}

// wire is a client that speaks in frames, so that a test decides what goes
// into one packet.
type wire struct {
	t         testing.TB
	nc        net.Conn
	in        *bufio.Reader
	id        int64
	password  []byte
	timeoutMs int32
	readOnly  bool
}

// reply is a frame from the server: an answer, or an event if the xid is -1.
type reply struct {
	protocol.ReplyHeader
	body []byte
}

func dialRaw(t testing.TB, s *Server) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", s.client.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &wire{t: t, nc: nc, in: bufio.NewReaderSize(nc, 2048)}
}

// dial opens a session.
func dial(t testing.TB, s *Server) *wire {
	t.Helper()
	w := dialRaw(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 10_000}) || w.id == 0 {
		t.Fatal("no session")
	}
	return w
}

// connect shakes hands. It reports false when the server closes instead.
func (w *wire) connect(req protocol.ConnectRequest) bool {
	w.t.Helper()
	req.HasReadOnly = true
	w.send(framed(req.AppendTo(nil)))
	p, err := w.frame()
	if err != nil {
		return false
	}
	var resp protocol.ConnectResponse
	d := protocol.NewDecoder(p)
	if resp.Decode(&d); d.Err() != nil {
		w.t.Fatalf("connect response %x: %v", p, d.Err())
	}
	w.id, w.password, w.timeoutMs, w.readOnly = resp.SessionID, resp.Password, resp.TimeoutMs, resp.ReadOnly
	return true
}

func (w *wire) send(packets ...[]byte) {
	w.t.Helper()
	if _, err := w.nc.Write(bytes.Join(packets, nil)); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

func (w *wire) frame() ([]byte, error) {
	w.nc.SetReadDeadline(time.Now().Add(patience))
	var n [4]byte
	if _, err := io.ReadFull(w.in, n[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(w.in, p)
	return p, err
}

// receive returns the next frame.
func (w *wire) receive() (reply, error) {
	p, err := w.frame()
	if err != nil {
		return reply{}, err
	}
	var r reply
	d := protocol.NewDecoder(p)
	r.Decode(&d)
	r.body = d.Rest()
	return r, d.Err()
}

// next is receive where a frame must come.
func (w *wire) next() reply {
	w.t.Helper()
	r, err := w.receive()
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	return r
}

// expect is next with its xid and code checked.
func (w *wire) expect(xid int32, code protocol.ErrCode) reply {
	w.t.Helper()
	r := w.next()
	if r.Xid != xid || r.Err != code {
		w.t.Fatalf("got xid %d %v, want xid %d %v", r.Xid, r.Err, xid, code)
	}
	return r
}

// expectEvent is next where an event must come; it returns the header's zxid.
func (w *wire) expectEvent(typ protocol.EventType, path string) int64 {
	w.t.Helper()
	r := w.expect(protocol.XidNotification, protocol.OK)
	var e protocol.WatcherEvent
	if decode(w.t, r.body, &e); e.Type != typ || e.Path != path || e.State != protocol.StateSyncConnected {
		w.t.Fatalf("got event %+v, want %d of %s", e, typ, path)
	}
	return r.Zxid
}

// expectClosed waits until the server closes the connection, without another
// frame.
func (w *wire) expectClosed() {
	w.t.Helper()
	r, err := w.receive()
	if err == nil {
		w.t.Fatalf("got xid %d %v, want the connection closed", r.Xid, r.Err)
	}
	if !closedByServer(err) {
		w.t.Fatalf("the connection is still open: %v", err)
	}
}

func closedByServer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// call sends one request and returns its reply.
func (w *wire) call(op protocol.OpCode, body protocol.Record, code protocol.ErrCode) reply {
	w.t.Helper()
	w.send(request(1, op, body))
	return w.expect(1, code)
}

func decode(t testing.TB, p []byte, r protocol.Record) {
	t.Helper()
	d := protocol.NewDecoder(p)
	if r.Decode(&d); d.Err() != nil {
		t.Fatalf("decode %T from %x: %v", r, p, d.Err())
	}
}

func framed(p []byte) []byte {
	return append(protocol.AppendInt(nil, int32(len(p))), p...)
}

// request is the frame of a request; body may be nil.
func request(xid int32, op protocol.OpCode, body protocol.Record) []byte {
	h := protocol.RequestHeader{Xid: xid, Op: op}
	p := h.AppendTo(nil)
	if body != nil {
		p = body.AppendTo(p)
	}
	return framed(p)
}

func create(path, data string) *protocol.CreateRequest {
	return &protocol.CreateRequest{Path: path, Data: []byte(data), ACL: protocol.WorldAnyone}
}

func read(path string) *protocol.PathWatchRequest { return &protocol.PathWatchRequest{Path: path} }

func watching(path string) *protocol.PathWatchRequest {
	return &protocol.PathWatchRequest{Path: path, Watch: true}
}

func setData(path, data string) *protocol.SetDataRequest {
	return &protocol.SetDataRequest{Path: path, Data: []byte(data), Version: protocol.AnyVersion}
}

func remove(path string) *protocol.DeleteRequest {
	return &protocol.DeleteRequest{Path: path, Version: protocol.AnyVersion}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
