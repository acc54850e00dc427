package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxHandshakes is how many unfinished handshakes a listener keeps; further
// connections are closed until some are done.
const maxHandshakes = 1024

// Listener shakes hands with whoever connects, each in a goroutine of its own,
// and passes the connections on by purpose.
type Listener struct {
	ln       net.Listener
	self     *Self
	handlers map[Purpose]func(*Conn, Hello)
	wg       sync.WaitGroup // handshakes, not handlers' connections

	mu      sync.Mutex
	pending map[net.Conn]struct{} // in their handshake; nil once closed; guarded by mu
}

// Listen prepares a Listener on ln. A handler gets each connection of its
// purpose, runs in a goroutine of its own and closes the connection when done
// with it. PurposeProbe needs no handler and is answered on every listener.
// Serve does the work.
func Listen(ln net.Listener, self *Self, handlers map[Purpose]func(*Conn, Hello)) *Listener {
	return &Listener{ln: ln, self: self, handlers: handlers, pending: make(map[net.Conn]struct{})}
}

// Addr returns the address listened on.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Serve accepts until Close, then returns nil; any other error is final. Lack
// of file descriptors and the like is waited out.
func (l *Listener) Serve() error {
	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		nc, err := l.ln.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			if l.begin(nc) {
				go l.handshake(nc)
			} else {
				nc.Close()
			}
		case errors.Is(err, net.ErrClosed) || l.closed():
			return nil
		case !temporary(err):
			return fmt.Errorf("accept connection from a server: %w", err)
		default:
			l.self.logger().Warn("cannot accept connections from servers", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, longest)
		}
	}
}

func temporary(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

func (l *Listener) closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending == nil
}

// begin takes nc into the handshakes under way, unless there are too many or
// the listener is closed.
func (l *Listener) begin(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil || len(l.pending) >= maxHandshakes {
		return false
	}
	l.pending[nc] = struct{}{}
	l.wg.Add(1)
	return true
}

// finish takes nc out again and reports whether the listener is still open.
func (l *Listener) finish(nc net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, nc)
	return l.pending != nil
}

func (l *Listener) handshake(nc net.Conn) {
	serves := func(p Purpose) bool { return p == PurposeProbe || l.handlers[p] != nil }
	link, hello, err := l.self.answer(nc, serves)
	open := l.finish(nc)
	l.wg.Done()
	if err != nil {
		nc.Close()
		if open {
			l.explain(nc, hello, err)
		}
		return
	}
	handle := l.handlers[hello.Purpose]
	if !open || handle == nil || hello.Purpose == PurposeProbe {
		link.Close()
		return
	}
	handle(newConn(link, hello.Purpose, l.self.Options.filled()), hello)
}

// explain logs what an operator should know of a failed handshake. A port
// check that connects and goes away is none of that.
func (l *Listener) explain(nc net.Conn, hello Hello, err error) {
	addr := nc.RemoteAddr().String()
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		l.self.complain(addr, refused.Text, err.Error())
	case errors.Is(err, errGarbage):
		l.self.complain(addr, errGarbage.Error(), err.Error())
	case errors.Is(err, os.ErrDeadlineExceeded):
		l.self.complain(addr, "slow", "the handshake took too long")
	case !errors.Is(err, io.EOF):
		l.self.logger().Debug("handshake failed", "peer", addr, "member", hello.Member, "error", err)
	}
}

// Close stops Serve, breaks off handshakes under way and waits for them.
// Connections already handed to handlers are theirs.
func (l *Listener) Close() error {
	err := l.ln.Close()
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	for nc := range pending {
		nc.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

// RaftLayer carries Raft's own transport: a net.Listener that yields only
// connections whose handshake is done, and a dialer that shakes hands.
type RaftLayer struct {
	listener  *Listener
	self      *Self
	advertise net.Addr
	conns     chan net.Conn
	open      context.Context // until Close
	end       context.CancelFunc
	stopOnce  sync.Once
	served    sync.WaitGroup
}

var _ net.Listener = (*RaftLayer)(nil)

// NewRaftLayer serves Raft on ln until Close. advertise is what Addr returns,
// the address under which the others know this server; empty: that of ln.
func NewRaftLayer(ln net.Listener, self *Self, advertise string) *RaftLayer {
	r := &RaftLayer{self: self, advertise: ln.Addr(), conns: make(chan net.Conn)}
	r.open, r.end = context.WithCancel(context.Background())
	if advertise != "" {
		r.advertise = hostPort(advertise)
	}
	r.listener = Listen(ln, self, map[Purpose]func(*Conn, Hello){PurposeRaft: r.pass})
	r.served.Go(func() {
		if err := r.listener.Serve(); err != nil {
			self.logger().Error("Raft's port is lost", "error", err)
		}
	})
	return r
}

// hostPort is an address that need not resolve here.
type hostPort string

func (hostPort) Network() string  { return "tcp" }
func (a hostPort) String() string { return string(a) }

func (r *RaftLayer) pass(c *Conn, _ Hello) {
	select {
	case r.conns <- c.Raw():
	case <-r.open.Done():
		c.Close()
	}
}

// Accept returns the next connection whose handshake succeeded. After Close
// it returns net.ErrClosed.
func (r *RaftLayer) Accept() (net.Conn, error) {
	select {
	case nc := <-r.conns:
		return nc, nil
	case <-r.open.Done():
		return nil, net.ErrClosed
	}
}

// Addr returns the advertised address.
func (r *RaftLayer) Addr() net.Addr { return r.advertise }

// Close stops accepting and dialling; connections already there stay open.
func (r *RaftLayer) Close() error {
	var err error
	r.stopOnce.Do(func() {
		r.end()
		err = r.listener.Close()
		r.served.Wait()
	})
	return err
}

// DialAddr connects to the member target at addr for Raft. A timeout of zero
// or less leaves it to Options.HandshakeTimeout. Close ends the attempt: Raft
// waits for it, and a name server that is silent takes longer than an operator
// who stops a server.
func (r *RaftLayer) DialAddr(addr string, target uint8, timeout time.Duration) (net.Conn, error) {
	ctx := r.open
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	c, _, err := Dial(ctx, r.self, addr, target, PurposeRaft)
	if err != nil {
		return nil, err
	}
	return c.Raw(), nil
}
