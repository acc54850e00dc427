package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// How a connection ends on our side, beside io.EOF and the network's errors.
var (
	ErrClosed    = errors.New("connection closed")
	ErrSilent    = errors.New("peer has gone silent")
	ErrQueueFull = errors.New("peer does not read: too many bytes wait for it")
	ErrTooLarge  = errors.New("message too large")
)

const (
	frameHeaderLen = 5 // length of what follows, type
	ioBufferLen    = 64 << 10
	firstRead      = 64 << 10 // of a large message; then as much again as has arrived
	messageCost    = 64       // counted per queued message beside its payload
)

type message struct {
	typ     byte
	payload []byte
}

// Conn is a connection after its handshake. Send, Finish, Close, Done and Err
// are safe for concurrent use; Recv belongs to one goroutine, which should
// always be in it: it is what notices that the peer is gone.
type Conn struct {
	link    *link
	purpose Purpose
	opts    Options
	in      *bufio.Reader
	wake    chan struct{} // capacity 1: something changed for the writer
	done    chan struct{}

	mu        sync.Mutex
	queue     []message     // guarded by mu
	queued    int           // bytes of messages not yet written; guarded by mu
	finishing bool          // guarded by mu
	patience  time.Duration // once finishing; guarded by mu
	err       error         // why it closed; guarded by mu
}

func newConn(l *link, p Purpose, opts Options) *Conn {
	c := &Conn{
		link:    l,
		purpose: p,
		opts:    opts,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	if p == PurposeStream {
		c.in = bufio.NewReaderSize(&patientReader{l, opts}, ioBufferLen)
		go c.write()
	}
	return c
}

// Raw returns the connection itself. Only for PurposeRaft, whose bytes are
// not framed; Send and Recv must not be used on such a Conn.
func (c *Conn) Raw() net.Conn { return c.link }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.link.RemoteAddr() }

// Done is closed when the connection has ended. For PurposeRaft only Close
// ends it.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended, nil while it is open. After the
// peer's end it wraps io.EOF or the network's error (see Lost).
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Lost reports whether err says that the peer's side of a connection ended,
// as it does when its process dies, rather than that it hangs.
func Lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.ErrClosedPipe) // what net.Pipe says instead
}

// Close ends the connection at once; what is queued is lost.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	return nil
}

func (c *Conn) end(why error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = why
		c.queue, c.queued = nil, 0
		close(c.done)
	}
	c.mu.Unlock()
	if first {
		c.link.Close()
	}
}

// Finish lets what is queued be sent, then ends the connection; after patience
// it ends in any case. It does not wait. Later Sends fail. For a last word,
// such as MsgRefused.
func (c *Conn) Finish(patience time.Duration) {
	c.mu.Lock()
	c.finishing, c.patience = true, patience
	c.mu.Unlock()
	c.link.SetWriteDeadline(time.Now().Add(patience))
	c.signal()
}

// Send queues a message and returns. The payload must not change afterwards.
// It fails with ErrTooLarge, which harms nobody; with ErrQueueFull when the
// peer reads too slowly, which ends the connection; or with the reason for
// which the connection has ended.
func (c *Conn) Send(typ byte, payload []byte) error {
	if len(payload) > c.opts.MaxMessage {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(payload))
	}
	c.mu.Lock()
	if c.err != nil || c.finishing {
		err := c.err
		c.mu.Unlock()
		if err == nil {
			err = ErrClosed
		}
		return err
	}
	cost := len(payload) + messageCost
	// A single message may exceed the bound, or it could never be sent.
	if c.queued > 0 && c.queued+cost > c.opts.MaxQueued {
		err := fmt.Errorf("%w: %d", ErrQueueFull, c.queued)
		c.mu.Unlock()
		c.end(err)
		return err
	}
	c.queued += cost
	c.queue = append(c.queue, message{typ, payload})
	c.mu.Unlock()
	c.signal()
	return nil
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine: all that is queued goes out in one go, and a
// ping when nothing went out since the last tick.
func (c *Conn) write() {
	tick := time.NewTicker(c.opts.KeepAlive)
	defer tick.Stop()
	out := bufio.NewWriterSize(c.link, ioBufferLen)
	spoken := false
	for {
		var err error
		select {
		case <-c.done:
			return
		case <-c.wake:
			queue, finishing, patience := c.take()
			err = c.writeAll(out, queue)
			spoken = true
			if finishing && err == nil {
				c.hangUp(patience)
				return
			}
		case <-tick.C:
			if !spoken {
				err = c.writeAll(out, []message{{typ: msgPing}})
			}
			spoken = false
		}
		if err != nil {
			c.end(fmt.Errorf("write to peer: %w", err))
			return
		}
	}
}

func (c *Conn) take() (queue []message, finishing bool, patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	queue, c.queue = c.queue, nil
	return queue, c.finishing, c.patience
}

func (c *Conn) writeAll(out *bufio.Writer, queue []message) error {
	for i, m := range queue {
		var head [frameHeaderLen]byte
		binary.BigEndian.PutUint32(head[:], uint32(1+len(m.payload)))
		head[4] = m.typ
		out.Write(head[:]) // bufio.Writer keeps the first error
		if _, err := out.Write(m.payload); err != nil {
			return err
		}
		queue[i].payload = nil
		if m.typ != msgPing {
			c.mu.Lock()
			c.queued = max(0, c.queued-len(m.payload)-messageCost)
			c.mu.Unlock()
		}
	}
	return out.Flush()
}

// hangUp tells the peer that nothing more comes. The connection stays until
// Recv sees the peer close it or patience runs out, because closing it with
// bytes unread would reset it and lose what was just sent.
func (c *Conn) hangUp(patience time.Duration) {
	half, ok := c.link.Conn.(interface{ CloseWrite() error })
	if ok && half.CloseWrite() == nil {
		select {
		case <-c.done:
		case <-time.After(patience):
		}
	}
	c.end(ErrClosed)
}

// Recv returns the next message. The payload is the caller's. After an error
// the connection has ended.
func (c *Conn) Recv() (typ byte, payload []byte, err error) {
	for {
		typ, payload, err = readMessage(c.in, c.opts.MaxMessage)
		if err != nil {
			c.end(fmt.Errorf("read from peer: %w", err))
			return 0, nil, c.Err()
		}
		if typ != msgPing {
			return typ, payload, nil
		}
	}
}

// readMessage reads one frame. Beyond firstRead it allocates no more than twice
// what has arrived.
func readMessage(r io.Reader, limit int) (byte, []byte, error) {
	var head [frameHeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n-1 > uint64(limit) {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrTooLarge, n)
	}
	want := int(n - 1)
	buf := make([]byte, min(want, firstRead))
	for got := 0; got < want; {
		if got == len(buf) {
			grown := make([]byte, min(want, 2*got))
			copy(grown, buf)
			buf = grown
		}
		m, err := io.ReadFull(r, buf[got:])
		got += m
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
	return head[4], buf, nil
}

// patientReader turns silence into ErrSilent. Only time spent waiting in Read
// counts, so a caller busy elsewhere does not blame the peer.
type patientReader struct {
	link *link
	opts Options
}

func (r *patientReader) Read(p []byte) (int, error) {
	last := min(r.opts.KeepAlive, r.opts.IdleTimeout/2)
	n, err := r.wait(p, r.opts.IdleTimeout-last)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// When this process itself was stopped, the deadline has passed
		// although bytes may lie here: look once more.
		n, err = r.wait(p, last)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w for %v", ErrSilent, r.opts.IdleTimeout)
	}
	return n, err
}

func (r *patientReader) wait(p []byte, d time.Duration) (int, error) {
	if err := r.link.SetReadDeadline(time.Now().Add(d)); err != nil {
		return 0, err
	}
	return r.link.Read(p)
}
