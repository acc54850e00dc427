// Package zkclient is a small pipelined ZooKeeper client over package
// protocol, for coordd's own tools and load tests: one connection, one
// session, raw requests and replies. It guarantees that requests go out in the
// order of their calls, that replies are matched first in, first out, and that
// a notification is in Events before any later reply completes. It leaves
// reconnecting, choosing a server and setting watches again to its callers.
package zkclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/protocol"
)

const (
	defaultTimeout = 10 * time.Second
	defaultWindow  = 1024
	eventBuffer    = 4096
	// maxFrame bounds a reply in bytes, and wholeFrame what is allocated for
	// one on the word of its length alone.
	maxFrame   = 64 << 20
	wholeFrame = 64 << 10
)

var (
	// ErrClosed is the error of calls on a client that Close or HangUp ended.
	ErrClosed = errors.New("client is closed")
	// ErrSessionExpired is what Dial reports when the server does not know,
	// or no longer knows, the session that was to be taken up again.
	ErrSessionExpired = errors.New("session expired")
	// ErrEventsFull ends a connection whose notifications nobody reads: a
	// client must not lose any of them in silence.
	ErrEventsFull = errors.New("too many unread notifications")
)

// Options say how to connect. The zero value asks for a new session.
type Options struct {
	// Timeout is the session timeout asked for; the server may bound it. 0 is
	// 10 seconds. It also bounds the handshake.
	Timeout time.Duration
	// SessionID and Password take up an earlier session; 0 and nil start one.
	SessionID int64
	Password  []byte
	// LastZxid is the last zxid that the session has seen; a server that is
	// behind it hangs up.
	LastZxid int64
	// Window bounds the requests on their way; 0 is 1024.
	Window int
	// Connect opens the connection to addr; nil dials TCP.
	Connect func(ctx context.Context, addr string) (net.Conn, error)
}

// Notification is one watch event.
type Notification struct {
	// Zxid is that of the reply header: -1 from servers before 3.9.
	Zxid  int64
	Type  protocol.EventType
	State int32
	Path  string
}

// Client is one session on one connection. Its methods are safe for
// concurrent use. When the connection is lost the client is spent: all its
// calls end with an error, and Dial with SessionID, Password and LastZxid takes
// up the session elsewhere.
type Client struct {
	conn     net.Conn
	session  int64
	password []byte
	timeout  time.Duration
	lastZxid atomic.Int64

	slots  chan struct{} // one token for each request in the window
	wake   chan struct{} // tells the writer that out is not empty
	events chan Notification
	done   chan struct{} // closed once err is set
	loops  sync.WaitGroup

	mu  sync.Mutex
	xid int32
	out []byte // frames that the writer has not taken yet
	// pending are the requests without a reply, in the order of their frames.
	pending []*Call
	err     error
}

// Dial connects to the server at addr (host:port) and opens a session, or
// takes one up again. ctx bounds the handshake only. The error is
// ErrSessionExpired when the server refuses the session.
func Dial(ctx context.Context, addr string, opts Options) (*Client, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = defaultTimeout
	}
	if opts.Window <= 0 {
		opts.Window = defaultWindow
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	if opts.Connect == nil {
		opts.Connect = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := opts.Connect(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	resp, err := handshake(conn, opts)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open session at %s: %w", addr, err)
	}
	c := &Client{
		conn:     conn,
		session:  resp.SessionID,
		password: resp.Password,
		timeout:  time.Duration(resp.TimeoutMs) * time.Millisecond,
		slots:    make(chan struct{}, opts.Window),
		wake:     make(chan struct{}, 1),
		events:   make(chan Notification, eventBuffer),
		done:     make(chan struct{}),
	}
	c.lastZxid.Store(opts.LastZxid)
	c.loops.Add(2)
	go c.write()
	go c.read()
	return c, nil
}

// handshake reads without a buffer, so that nothing behind the answer is lost.
func handshake(conn net.Conn, opts Options) (protocol.ConnectResponse, error) {
	req := protocol.ConnectRequest{
		LastZxidSeen: opts.LastZxid,
		TimeoutMs:    int32(min(opts.Timeout.Milliseconds(), math.MaxInt32)),
		SessionID:    opts.SessionID,
		Password:     opts.Password,
		HasReadOnly:  true,
	}
	if req.Password == nil {
		req.Password = make([]byte, 16)
	}
	frame := req.AppendTo(make([]byte, 4))
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	var resp protocol.ConnectResponse
	if _, err := conn.Write(frame); err != nil {
		return resp, err
	}
	body, err := readFrame(conn)
	if err != nil {
		return resp, err
	}
	d := protocol.NewDecoder(body)
	resp.Decode(&d)
	if err := d.Err(); err != nil {
		return resp, err
	}
	if resp.TimeoutMs <= 0 || resp.SessionID == 0 {
		return resp, ErrSessionExpired
	}
	return resp, nil
}

// readFrame reads one frame of r without its length. The result is the
// caller's own.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(int32(binary.BigEndian.Uint32(head[:])))
	if n < 0 || n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, protocol.ErrMalformed)
	}
	if n <= wholeFrame {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r, n))
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// SessionID is the session's id.
func (c *Client) SessionID() int64 { return c.session }

// Password is the session's password, to take it up again.
func (c *Client) Password() []byte { return c.password }

// Timeout is the session timeout that the server granted.
func (c *Client) Timeout() time.Duration { return c.timeout }

// LastZxid is the last zxid that any reply showed, for the next Dial.
func (c *Client) LastZxid() int64 { return c.lastZxid.Load() }

// Events are the watch notifications in the order of their arrival. It is
// closed with the connection. A client that leaves 4096 unread is ended with
// ErrEventsFull.
func (c *Client) Events() <-chan Notification { return c.events }

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended (ErrClosed after Close and HangUp), or nil
// while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the session at the server, and with it its ephemeral znodes, and
// then the connection. When the connection was lost before, or the server does
// not answer within the session timeout, the error says so and the session
// lives on until it expires.
func (c *Client) Close() error {
	late := time.AfterFunc(c.timeout, func() {
		c.fail(fmt.Errorf("no reply within %v", c.timeout))
	})
	defer late.Stop()
	_, err := c.ask(protocol.OpCloseSession, nil, nil)
	c.HangUp()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// HangUp drops the connection and leaves the session to the server: it lives
// on until it expires or is taken up again. Calls under way end with
// ErrClosed. It returns when the client's goroutines have ended.
func (c *Client) HangUp() {
	c.fail(ErrClosed)
	c.loops.Wait()
}

// fail ends the connection and every call with err; only the first one counts.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	calls := c.pending
	c.pending, c.out = nil, nil
	close(c.done)
	c.mu.Unlock()
	c.conn.Close()
	for _, call := range calls {
		call.finish(protocol.ReplyHeader{}, nil, err)
	}
}

// write sends what has gathered in out, all of it at once, and pings.
func (c *Client) write() {
	defer c.loops.Done()
	ping := time.NewTicker(max(c.timeout/3, time.Millisecond))
	defer ping.Stop()
	var spare []byte
	for {
		select {
		case <-c.done:
			return
		case <-ping.C:
			c.enqueue(newCall(protocol.OpPing), nil)
		case <-c.wake:
		}
		c.mu.Lock()
		frames := c.out
		c.out = spare[:0]
		c.mu.Unlock()
		if len(frames) > 0 {
			if _, err := c.conn.Write(frames); err != nil {
				c.fail(fmt.Errorf("connection lost: %w", err))
				return
			}
		}
		spare = frames
		if cap(spare) > maxFrame/16 {
			spare = nil
		}
	}
}

// impatient is a connection whose reads fail after a silence; pings are
// answered, so a silence longer than a ping's interval means a dead server.
type impatient struct {
	net.Conn
	silence time.Duration
}

func (c impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// read takes replies and notifications until the connection ends.
func (c *Client) read() {
	defer c.loops.Done()
	defer close(c.events)
	r := bufio.NewReaderSize(impatient{c.conn, c.timeout * 2 / 3}, 64<<10)
	for {
		frame, err := readFrame(r)
		if err != nil {
			c.fail(fmt.Errorf("connection lost: %w", err))
			return
		}
		if err := c.receive(frame); err != nil {
			c.fail(err)
			return
		}
	}
}

// receive handles one frame from the server.
func (c *Client) receive(frame []byte) error {
	d := protocol.NewDecoder(frame)
	var h protocol.ReplyHeader
	h.Decode(&d)
	if err := d.Err(); err != nil {
		return fmt.Errorf("reply header: %w", err)
	}
	if h.Xid == protocol.XidNotification {
		var ev protocol.WatcherEvent
		ev.Decode(&d)
		if err := d.Err(); err != nil {
			return fmt.Errorf("notification: %w", err)
		}
		select {
		case c.events <- Notification{h.Zxid, ev.Type, ev.State, ev.Path}:
			return nil
		default:
			return ErrEventsFull
		}
	}
	call, err := c.match(h.Xid)
	if err != nil {
		return err
	}
	if h.Zxid > 0 {
		c.lastZxid.Store(h.Zxid)
	}
	call.finish(h, d.Rest(), nil)
	if call.slot {
		<-c.slots
	}
	if call.op == protocol.OpCloseSession {
		return ErrClosed // the server hangs up now, which is no fault
	}
	return nil
}

// match takes the call that a reply with xid answers out of pending: the
// oldest one, or for the xids of their own the oldest one of that kind, since
// servers may answer auth and ping ahead of others.
func (c *Client) match(xid int32) (*Call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, call := range c.pending {
		if call.xid == xid {
			copy(c.pending[1:], c.pending[:i])
			c.pending[0] = nil
			c.pending = c.pending[1:]
			return call, nil
		}
		if xid >= 0 && call.xid >= 0 {
			return nil, fmt.Errorf("reply to xid %d, want xid %d", xid, call.xid)
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return nil, fmt.Errorf("reply to xid %d, which is not pending", xid)
}
