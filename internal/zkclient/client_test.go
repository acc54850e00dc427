package zkclient

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's end of one connection, after the handshake.
type peer struct {
	net.Conn
	t       *testing.T
	connect protocol.ConnectRequest
}

// request reads the next request.
func (p *peer) request() (protocol.RequestHeader, []byte) {
	p.t.Helper()
	frame, err := readFrame(p)
	if err != nil {
		p.t.Fatalf("read request: %v", err)
	}
	d := protocol.NewDecoder(frame)
	var h protocol.RequestHeader
	h.Decode(&d)
	return h, d.Rest()
}

func (p *peer) send(records ...protocol.Record) {
	p.t.Helper()
	frame := make([]byte, 4)
	for _, r := range records {
		frame = r.AppendTo(frame)
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if _, err := p.Write(frame); err != nil {
		p.t.Fatalf("write reply: %v", err)
	}
}

func (p *peer) reply(xid int32, zxid int64, code protocol.ErrCode, body ...protocol.Record) {
	p.t.Helper()
	p.send(append([]protocol.Record{&protocol.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}}, body...)...)
}

// accept serves one handshake with answer and gives the peer.
func accept(t *testing.T, answer protocol.ConnectResponse) (addr string, peers <-chan *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ch := make(chan *peer, 1)
	go func() {
		defer close(ch)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		frame, err := readFrame(conn)
		if err != nil {
			conn.Close()
			return
		}
		p := &peer{Conn: conn, t: t}
		d := protocol.NewDecoder(frame)
		p.connect.Decode(&d)
		p.send(&answer)
		ch <- p
	}()
	return l.Addr().String(), ch
}

var granted = protocol.ConnectResponse{TimeoutMs: 30_000, SessionID: 0x77, Password: []byte("0123456789abcdef"), HasReadOnly: true}

// connected is a client and its peer.
func connected(t *testing.T, opts Options, answer protocol.ConnectResponse) (*Client, *peer) {
	t.Helper()
	addr, peers := accept(t, answer)
	c, err := Dial(t.Context(), addr, opts)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	p := <-peers
	t.Cleanup(func() { c.HangUp(); p.Close() })
	return c, p
}

func TestDialTakesUpSession(t *testing.T) {
	c, p := connected(t, Options{Timeout: 20 * time.Second, SessionID: 0x77, Password: []byte("secret"), LastZxid: 9}, granted)
	if got := p.connect; got.TimeoutMs != 20_000 || got.SessionID != 0x77 || string(got.Password) != "secret" || got.LastZxidSeen != 9 {
		t.Errorf("connect request %+v", got)
	}
	if c.SessionID() != 0x77 || string(c.Password()) != "0123456789abcdef" || c.Timeout() != 30*time.Second || c.LastZxid() != 9 {
		t.Errorf("session %x %q %v %d", c.SessionID(), c.Password(), c.Timeout(), c.LastZxid())
	}
}

func TestDialFails(t *testing.T) {
	addr, peers := accept(t, protocol.ConnectResponse{Password: make([]byte, 16)})
	if _, err := Dial(t.Context(), addr, Options{SessionID: 1}); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("refused session: %v", err)
	}
	(<-peers).Close()

	// A listener that never answers: ctx ends the handshake.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, l.Addr().String(), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silent server: %v", err)
	}
}

func TestRepliesFirstInFirstOut(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	const n = 100
	var calls [n]*Call
	for i := range calls {
		calls[i] = c.Go(protocol.OpSync, &protocol.PathRequest{Path: "/" + string(rune('a'+i%26))})
	}
	for i := range calls {
		h, body := p.request()
		if h.Xid != int32(i+1) || h.Op != protocol.OpSync {
			t.Fatalf("request %d: %+v", i, h)
		}
		d := protocol.NewDecoder(body)
		path := &protocol.PathRequest{}
		path.Decode(&d)
		p.reply(h.Xid, int64(i+1), protocol.OK, path)
	}
	for i, call := range calls {
		h, body, err := call.Wait()
		if err != nil || h.Zxid != int64(i+1) || body[4] != '/' || body[5] != byte('a'+i%26) {
			t.Fatalf("call %d: %+v %q %v", i, h, body, err)
		}
		if call.Latency() <= 0 {
			t.Fatalf("call %d: latency %v", i, call.Latency())
		}
	}
	if c.LastZxid() != n {
		t.Errorf("last zxid %d", c.LastZxid())
	}
}

func TestWindowBlocks(t *testing.T) {
	c, p := connected(t, Options{Window: 2}, granted)
	c.Go(protocol.OpSync, nil)
	c.Go(protocol.OpSync, nil)
	third := make(chan *Call)
	go func() { third <- c.Go(protocol.OpSync, nil) }()
	select {
	case <-third:
		t.Fatal("a third request went into a window of two")
	case <-time.After(20 * time.Millisecond):
	}
	h, _ := p.request()
	p.reply(h.Xid, 1, protocol.OK)
	<-third
}

func TestSpecialXidsOvertake(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	first := c.Go(protocol.OpSync, nil)
	auth := c.Go(protocol.OpAuth, &protocol.AuthRequest{Scheme: "digest", Auth: []byte("a:b")})
	second := c.Go(protocol.OpSync, nil)
	for _, want := range []int32{1, protocol.XidAuth, 2} {
		if h, _ := p.request(); h.Xid != want {
			t.Fatalf("xid %d, want %d", h.Xid, want)
		}
	}
	p.reply(protocol.XidAuth, 0, protocol.OK)
	if h, _, err := auth.Wait(); err != nil || h.Xid != protocol.XidAuth {
		t.Fatalf("auth: %+v %v", h, err)
	}
	p.reply(1, 1, protocol.OK)
	p.reply(2, 2, protocol.NoNode)
	for i, call := range []*Call{first, second} {
		if h, _, err := call.Wait(); err != nil || h.Xid != int32(i+1) {
			t.Fatalf("call %d: %+v %v", i, h, err)
		}
	}
}

func TestEventBeforeReply(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	call := c.Go(protocol.OpGetData, &protocol.PathWatchRequest{Path: "/a"})
	h, _ := p.request()
	p.reply(protocol.XidNotification, 5, protocol.OK,
		&protocol.WatcherEvent{Type: protocol.NodeDataChanged, State: protocol.StateSyncConnected, Path: "/a"})
	p.reply(h.Xid, 5, protocol.OK)
	if _, _, err := call.Wait(); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-c.Events():
		if want := (Notification{5, protocol.NodeDataChanged, protocol.StateSyncConnected, "/a"}); n != want {
			t.Errorf("got %+v", n)
		}
	default:
		t.Error("the reply came before the notification")
	}
}

func TestConnectionFaults(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *peer)
		want error // nil: any
	}{
		{"server hangs up", func(p *peer) { p.Close() }, nil},
		{"wrong xid", func(p *peer) { p.reply(7, 1, protocol.OK) }, nil},
		{"ping that nobody sent", func(p *peer) { p.reply(protocol.XidPing, 1, protocol.OK) }, nil},
		{"short header", func(p *peer) { p.send(&protocol.IntResponse{}) }, protocol.ErrMalformed},
		{"negative length", func(p *peer) { p.Write([]byte{0xff, 0, 0, 0}) }, protocol.ErrMalformed},
		{"huge length", func(p *peer) { p.Write([]byte{0x7f, 0, 0, 0}) }, protocol.ErrMalformed},
		{"short notification", func(p *peer) { p.reply(protocol.XidNotification, 1, protocol.OK) }, protocol.ErrMalformed},
		{"notifications unread", func(p *peer) {
			for range eventBuffer + 1 {
				p.reply(protocol.XidNotification, 1, protocol.OK, &protocol.WatcherEvent{Path: "/a"})
			}
		}, ErrEventsFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connected(t, Options{}, granted)
			call := c.Go(protocol.OpSync, nil)
			p.request()
			tt.do(p)
			_, _, err := call.Wait()
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("pending call: %v", err)
			}
			<-c.Done()
			if c.Err() == nil {
				t.Error("Err is nil after Done")
			}
			if err := c.Sync("/"); err == nil {
				t.Error("a call on a lost connection did not fail")
			}
			for range c.Events() { // closed at the end
			}
		})
	}
}

func TestPingsAndSilence(t *testing.T) {
	answer := granted
	answer.TimeoutMs = 300
	c, p := connected(t, Options{}, answer)
	for range 3 {
		if h, _ := p.request(); h.Op != protocol.OpPing || h.Xid != protocol.XidPing {
			t.Fatalf("request %+v", h)
		}
		p.reply(protocol.XidPing, 3, protocol.OK)
	}
	if err := c.Err(); err != nil {
		t.Fatalf("lost while pings were answered: %v", err)
	}
	<-c.Done() // now the peer is silent
	var timeout net.Error
	if err := c.Err(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("after a silence: %v", err)
	}
}

func TestClose(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	h, _ := p.request()
	if h.Op != protocol.OpCloseSession {
		t.Fatalf("request %+v", h)
	}
	p.reply(h.Xid, 1, protocol.OK)
	p.Close()
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestHangUpSendsNothing(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	call := c.Go(protocol.OpSync, nil)
	p.request()
	c.HangUp()
	if _, _, err := call.Wait(); !errors.Is(err, ErrClosed) {
		t.Errorf("pending call: %v", err)
	}
	if frame, err := readFrame(p); err == nil {
		t.Errorf("server got %x", frame)
	}
}

func TestWrappers(t *testing.T) {
	stat := protocol.Stat{Czxid: 3, Version: 4, DataLength: 1}
	tests := []struct {
		name  string
		op    protocol.OpCode
		reply protocol.Record
		code  protocol.ErrCode
		call  func(c *Client) (any, error)
		want  any
	}{
		{"create", protocol.OpCreate, &protocol.PathResponse{Path: "/a1"}, protocol.OK,
			func(c *Client) (any, error) {
				return c.Create("/a", nil, protocol.PersistentSequential, nil)
			}, "/a1"},
		{"create container", protocol.OpCreateContainer, &protocol.Create2Response{Path: "/c", Stat: stat}, protocol.OK,
			func(c *Client) (any, error) { return c.Create("/c", nil, protocol.Container, nil) }, "/c"},
		{"get", protocol.OpGetData, &protocol.GetDataResponse{Data: []byte("x"), Stat: stat}, protocol.OK,
			func(c *Client) (any, error) {
				data, st, err := c.Get("/a", true)
				return string(data) == "x" && st == stat, err
			}, true},
		{"set", protocol.OpSetData, &protocol.StatResponse{Stat: stat}, protocol.OK,
			func(c *Client) (any, error) { return c.Set("/a", nil, 3) }, stat},
		{"set bad version", protocol.OpSetData, nil, protocol.BadVersion,
			func(c *Client) (any, error) { return c.Set("/a", nil, 3) }, protocol.Stat{}},
		{"delete", protocol.OpDelete, nil, protocol.OK,
			func(c *Client) (any, error) { return nil, c.Delete("/a", 1) }, nil},
		{"exists", protocol.OpExists, nil, protocol.NoNode,
			func(c *Client) (any, error) { return c.Exists("/a", false) }, protocol.Stat{}},
		{"children", protocol.OpGetChildren2, &protocol.GetChildren2Response{Names: []string{"a", "b"}, Stat: stat}, protocol.OK,
			func(c *Client) (any, error) {
				names, st, err := c.Children("/", false)
				return len(names) == 2 && names[1] == "b" && st == stat, err
			}, true},
		{"sync", protocol.OpSync, &protocol.PathResponse{Path: "/"}, protocol.OK,
			func(c *Client) (any, error) { return nil, c.Sync("/") }, nil},
		{"ping", protocol.OpPing, nil, protocol.OK,
			func(c *Client) (any, error) { return nil, c.Ping() }, nil},
		{"addWatch", protocol.OpAddWatch, &protocol.IntResponse{}, protocol.OK,
			func(c *Client) (any, error) {
				return nil, c.AddWatch("/", protocol.WatchPersistentRecursive)
			}, nil},
		{"multi", protocol.OpMulti, &protocol.MultiResponse{Results: []protocol.MultiResult{{Type: protocol.OpCheck}}}, protocol.OK,
			func(c *Client) (any, error) {
				rs, err := c.Multi(protocol.MultiOp{Type: protocol.OpCheck, Body: &protocol.CheckRequest{Path: "/"}})
				return len(rs), err
			}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, p := connected(t, Options{}, granted)
			type outcome struct {
				got any
				err error
			}
			ended := make(chan outcome, 1)
			go func() {
				got, err := tt.call(c)
				ended <- outcome{got, err}
			}()
			h, _ := p.request()
			if h.Op != tt.op {
				t.Fatalf("sent %v, want %v", h.Op, tt.op)
			}
			if tt.reply == nil {
				p.reply(h.Xid, 1, tt.code)
			} else {
				p.reply(h.Xid, 1, tt.code, tt.reply)
			}
			o := <-ended
			if o.got != tt.want || !errors.Is(o.err, tt.code) && !(tt.code == protocol.OK && o.err == nil) {
				t.Errorf("got %v, %v", o.got, o.err)
			}
		})
	}
}

func TestMultiRefused(t *testing.T) {
	c, p := connected(t, Options{}, granted)
	go func() {
		h, _ := p.request()
		p.reply(h.Xid, 1, protocol.OK, &protocol.MultiResponse{Results: []protocol.MultiResult{
			{Type: protocol.OpError, Err: protocol.OK},
			{Type: protocol.OpError, Err: protocol.NoNode},
			{Type: protocol.OpError, Err: protocol.RuntimeInconsistency},
		}})
	}()
	results, err := c.Multi()
	if !errors.Is(err, protocol.NoNode) || len(results) != 3 {
		t.Errorf("got %v, %v", results, err)
	}
}
