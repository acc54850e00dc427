package sim

import (
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// half is one direction of a connection. All is guarded by Network.mu.
type half struct {
	from, to string // machines
	chunks   []chunk
	bytes    int
	ended    bool          // no more is written
	lost     bool          // the reader's machine is gone, or has forgotten the connection
	until    time.Time     // nothing arrives before; see Network.Stall
	lag      time.Duration // see Network.Lag
}

// chunk is what one Write brought, or the end.
type chunk struct {
	at   time.Time
	data []byte
	end  error // io.EOF or ECONNRESET
}

// conn is one side of a connection, a net.Conn.
type conn struct {
	n                  *Network
	m                  *Machine
	peer               *conn
	local, remote      address
	in, out            *half
	closed             bool      // guarded by Network.mu
	broken             bool      // a reset has arrived; guarded by Network.mu
	readBy, writeBy    time.Time // guarded by Network.mu
	readable, writable chan struct{}
}

var _ net.Conn = (*conn)(nil)

func port(n int) string { return strconv.Itoa(10000 + n%50000) }

// wake has whoever waits in Read or Write look again.
func (c *conn) wake() {
	for _, ch := range []chan struct{}{c.readable, c.writable} {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Read implements net.Conn. One goroutine at a time may be in it.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, again, err := c.read(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		wait(c.readable, again)
	}
}

// wait waits for word, or until a time that is not zero.
func wait(word <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-word
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-word:
	case <-t.C:
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// read takes what has arrived. If there is nothing, again is when to look
// again; zero: when woken.
func (c *conn) read(b []byte) (n int, again time.Time, err error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	h, now := c.in, time.Now()
	switch {
	case c.closed:
		return 0, again, net.ErrClosed
	case !c.readBy.IsZero() && !now.Before(c.readBy):
		return 0, again, os.ErrDeadlineExceeded
	case c.broken:
		return 0, again, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	again = c.readBy
	if len(h.chunks) == 0 || c.m.frozen || c.peer.m.frozen || c.n.linkLocked(h.from, h.to).Cut {
		return 0, again, nil
	}
	at := h.chunks[0].at
	if held := c.n.held[[2]string{h.from, h.to}]; held.After(at) {
		at = held
	}
	if h.until.After(at) {
		at = h.until
	}
	if now.Before(at) {
		return 0, earlier(again, at), nil
	}
	first := &h.chunks[0]
	if first.end != nil {
		if first.end == io.EOF {
			return 0, again, io.EOF
		}
		c.broken = true
		return 0, again, &net.OpError{Op: "read", Net: "tcp", Err: first.end}
	}
	n = copy(b, first.data)
	h.bytes -= n
	if first.data = first.data[n:]; len(first.data) == 0 {
		h.chunks = h.chunks[1:]
	}
	c.peer.wake()
	return n, again, nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	for {
		taken, again, err := c.write(b)
		if taken || err != nil {
			return len(b), err
		}
		wait(c.writable, again)
	}
}

func (c *conn) write(b []byte) (taken bool, again time.Time, err error) {
	n := c.n
	n.mu.Lock()
	defer n.mu.Unlock()
	h, now := c.out, time.Now()
	switch {
	case c.closed:
		return false, again, net.ErrClosed
	case c.broken || h.ended:
		return false, again, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	case !c.writeBy.IsZero() && !now.Before(c.writeBy):
		return false, again, os.ErrDeadlineExceeded
	case h.lost || c.peer.closed:
		// Nobody answers as long as the machine is off; then it is one that
		// knows nothing of this connection.
		if n.machines[h.to] != nil && len(c.in.chunks) == 0 {
			n.sendLocked(c.in, chunk{end: syscall.ECONNRESET})
			c.wake()
		}
		return true, again, nil
	case h.bytes >= window:
		return false, c.writeBy, nil
	}
	n.sendLocked(h, chunk{data: append([]byte(nil), b...)})
	c.peer.wake()
	return true, again, nil
}

// sendLocked puts ch on its way.
func (n *Network) sendLocked(h *half, ch chunk) {
	l := n.linkLocked(h.from, h.to)
	ch.at = time.Now().Add(n.delayLocked(l) + h.lag)
	for again := resend; again < 10*time.Second && l.Loss > 0 && n.random.Float64() < l.Loss; again *= 2 {
		ch.at = ch.at.Add(again)
	}
	if k := len(h.chunks); k > 0 && ch.at.Before(h.chunks[k-1].at) {
		ch.at = h.chunks[k-1].at
	}
	h.bytes += len(ch.data)
	h.chunks = append(h.chunks, ch)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closeLocked(io.EOF)
	return nil
}

// closeLocked closes this side and sends the other how, unless that is nil.
func (c *conn) closeLocked(how error) {
	if c.closed {
		return
	}
	c.closed = true
	if how != nil && !c.out.ended && !c.out.lost {
		if how != io.EOF && c.n.random.IntN(2) == 0 {
			c.out.chunks, c.out.bytes = nil, 0
		}
		c.n.sendLocked(c.out, chunk{end: how})
	}
	c.out.ended = true
	delete(c.n.conns, c)
	c.wake()
	c.peer.wake()
}

// CloseWrite tells the other side that nothing more comes.
func (c *conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed || c.out.ended {
		return net.ErrClosed
	}
	c.out.ended = true
	c.n.sendLocked(c.out, chunk{end: io.EOF})
	c.peer.wake()
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.readBy, c.writeBy = t, t
	c.wake()
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.readBy = t
	c.wake()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.writeBy = t
	c.wake()
	return nil
}
