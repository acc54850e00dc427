package server

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
	"github.com/coordd/coordd/server/metrics"
	"github.com/coordd/coordd/server/watch"
)

const (
	// softQueue is how many bytes may wait for a client before its requests
	// are read no further.
	softQueue = 1 << 20
	// hardQueue is how many bytes may wait for a client that does not read
	// before it is cut off: notifications come whether it reads or not.
	hardQueue = 16 << 20
	// maxPending and maxPendingBytes bound the requests of one connection
	// that wait for an answer.
	maxPending      = 4096
	maxPendingBytes = 8 << 20
	// runLength is how many frames are served under one read lock.
	runLength = 64
)

// conn is one client connection. One goroutine reads it and runs what needs no
// log; results, deferred reads and notifications come from apply. What leaves
// goes through one buffer in order.
//
// Lock order: the replica's lock, then mu, then the forwarder's and the watch
// manager's.
type conn struct {
	s  *Server
	nc net.Conn
	ip netip.Addr

	// Set when the handshake is answered, before the first request is read.
	sessionID atomic.Int64
	timeoutMs atomic.Int32
	epoch     uint32         // attachment epoch, fsm.LocalEpoch for a local session; guarded by mu
	readOnly  atomic.Bool    // opened in read-only mode
	ready     sync.WaitGroup // until the handshake is over
	readyOnce sync.Once

	arrivals chan arrival // to the goroutine that takes turns; nil without a throttle

	touched atomic.Bool  // already among the server's touched ones
	acked   atomic.Int64 // when the leader last acknowledged life, by Server.running
	dead    atomic.Bool  // closed

	mu       sync.Mutex
	room     sync.Cond // signalled when queue or out shrink, and on close
	ids      auth.Identities
	queue    []*pending     // not answered yet, in order. Guarded by mu.
	queued   int            // bytes of queue; guarded by mu
	writes   int            // of queue; guarded by mu
	large    int            // bytes of the large request being served; guarded by mu
	expected int            // bytes of the replies to reads of queue, a guess; guarded by mu
	out      []byte         // not written yet; guarded by mu
	verbose  bool           // the last bytes written were more than fit a small buffer; guarded by mu
	pong     [pongSize]byte // the answer to a ping; whoever writes may use it
	writing  bool           // somebody writes out to the socket; guarded by mu
	dirty    bool           // on the server's list for the end of this entry; only in apply
	gathered bool           // writes of this run wait to be sent; only where requests are served
	fenced   bool           // a sync of linearizableReads covers this run; guarded by mu
	asked    bool           // for a four-letter word; guarded by mu
	closing  bool           // close once out is written, serve nothing more; guarded by mu
	watching *watch.Handle
	now      time.Time // when what is being run came, or was applied; guarded by mu
	reading  reading   // what is being run; guarded by mu
	stats    connStats
	tally    metrics.Tally // what is not in the server's metrics yet; guarded by mu
}

// pending is a request that waits: a write for its result, anything else for
// the writes before it.
type pending struct {
	xid   int32
	op    protocol.OpCode
	body  []byte          // of what is not a write
	ids   auth.Identities // whose it is: those at the time it came
	write bool
	local bool // a write of a local session
	size  int
	reply int  // bytes of what a read will answer, a guess
	large int  // bytes that count as a large request
	late  bool // waited too long for its turn: not run
	since time.Time
}

// connStats is what the cons word shows; guarded by conn.mu.
type connStats struct {
	received, sent int64
	established    time.Time
	shook          time.Time // when the handshake came
	lastOp         protocol.OpCode
	lastCxid       int64
	lastZxid       int64
	lastResponse   time.Time
	last, min, max int64 // latency, ms
	sum, count     int64
}

var errGone = errors.New("connection closed")

// timeout is that of the session, as negotiated; 0 before the handshake.
func (c *conn) timeout() time.Duration {
	return time.Duration(c.timeoutMs.Load()) * time.Millisecond
}

// serve runs the connection until it ends.
func (c *conn) serve() {
	in := newReader(c.nc)
	if rest := c.greet(in); rest != nil {
		// On a new goroutine: a handshake takes more stack than an idle session.
		go c.converse(in, rest)
		return
	}
	c.close()
}

// greet waits for the handshake and answers it, and returns what followed it,
// which is not nil. It returns nil at the end of the connection.
func (c *conn) greet(in *reader) (rest []byte) {
	deadline := time.Now().Add(c.s.cfg.SessionlessTimeout)
	c.nc.SetReadDeadline(deadline)
	var data []byte
	for {
		buf := in.read()
		if buf == nil {
			c.countEnd(!time.Now().Before(deadline))
			return nil
		}
		data = append(data, buf...)
		giveBuffer(buf)
		if len(data) >= 4 && c.s.admin.IsWord([4]byte(data)) {
			c.word(string(data[:4]), data[4:])
			return nil
		}
		frame, rest, err := c.s.cut(data)
		if err != nil || frame != nil && !c.handshake(frame) {
			return nil
		}
		if frame != nil {
			c.nc.SetReadDeadline(time.Time{})
			return append([]byte{}, rest...)
		}
	}
}

// converse serves the session's requests, beginning with partial, until the end of
// the connection.
func (c *conn) converse(in *reader, partial []byte) {
	serve := c.requests
	if c.s.throttle != nil {
		c.arrivals = make(chan arrival, arrivalsAhead)
		defer close(c.arrivals)
		go c.takeTurns()
		serve = c.handOver
	}
	if c.read(in, partial, serve) != nil {
		c.finish() // what came before is answered
		return
	}
	c.close()
}

// read serves partial, a part of a frame or more, and what the client sends after
// it. It returns nil at the end of the connection, and an error for a request that
// ends it.
func (c *conn) read(in *reader, partial []byte, serve func([]byte) ([]byte, error)) (err error) {
	if partial, err = serve(partial); err != nil {
		return err
	}
	for {
		buf := in.read()
		if buf == nil {
			c.countEnd(false)
			return nil
		}
		data := buf
		switch {
		case len(partial) > 0:
			partial = append(partial, data...)
			data = partial
		case c.pinged(buf):
			giveBuffer(buf)
			continue
		}
		if data, err = serve(data); err != nil {
			return err
		}
		if len(data) == 0 {
			partial = nil
		} else { // data may lie in partial itself: append moves it to the front
			partial = append(partial[:0], data...)
		}
		giveBuffer(buf)
	}
}

// Sizes of a ping and of its answer on the wire.
const (
	pingSize = 4 + protocol.RequestHeaderSize
	pongSize = 4 + protocol.ReplyHeaderSize
)

// pinged answers data if it is a ping and nothing else, of a client that waits for
// nothing, and reports whether it was. It is what idle clients send, and takes
// less stack than requests: ten thousand of them then have small ones.
func (c *conn) pinged(data []byte) bool {
	if len(data) != pingSize || binary.BigEndian.Uint32(data) != protocol.RequestHeaderSize ||
		protocol.OpCode(binary.BigEndian.Uint32(data[8:])) != protocol.OpPing || c.arrivals != nil {
		return false
	}
	idle := false
	c.s.replica.View(func(m *fsm.Machine) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if idle = len(c.queue) == 0 && len(c.out) == 0 && !c.writing && !c.closing && !c.dead.Load(); idle {
			c.writing = true // from now on; flush finds out that it is not its turn
			c.pongLocked(m.Zxid())
		}
	})
	if !idle {
		return false
	}
	c.s.touch(c)
	_, err := c.nc.Write(c.pong[:])
	if err != nil {
		c.close()
	}
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
	c.flush() // what came meanwhile
	return true
}

// pongLocked makes the answer to a ping and keeps the books of both.
func (c *conn) pongLocked(zxid int64) {
	c.now = time.Now()
	c.tally.Received(pingSize)
	c.stats.received++
	h := protocol.ReplyHeader{Xid: protocol.XidPing, Zxid: zxid}
	h.AppendTo(protocol.AppendInt(c.pong[:0], protocol.ReplyHeaderSize))
	c.sentLocked(protocol.XidPing, protocol.OpPing, zxid, c.now, protocol.ReplyHeaderSize)
	c.tally.Flush(c.s.metrics) // before the client can know of it
}

// countEnd counts that nothing more comes, unless that was the server's doing.
func (c *conn) countEnd(expired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing || c.dead.Load():
	case expired:
		c.s.metrics.SessionlessExpired.Inc()
	default:
		c.s.metrics.ConnectionDrops.Inc()
	}
}

// word answers a four-letter word, behind which rest came, and ends the
// connection. It counts as a packet each way, as in ZooKeeper.
func (c *conn) word(w string, rest []byte) {
	c.mu.Lock()
	c.asked = true
	c.stats.received++
	c.mu.Unlock()
	c.s.metrics.PacketsReceived.Add(1)
	c.s.metrics.BytesReceived.Add(4)
	c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	c.s.admin.Word(w, rest, c.nc)
	c.s.metrics.PacketsSent.Add(1)
}

// cut splits the first frame off data; nil when it is not complete.
func (s *Server) cut(data []byte) (frame, rest []byte, err error) {
	if len(data) < 4 {
		return nil, data, nil
	}
	n := int32(binary.BigEndian.Uint32(data))
	if n < 0 || int(n) > s.cfg.MaxBuffer {
		return nil, nil, io.ErrUnexpectedEOF
	}
	if s.large != nil && !s.large.fits(int(n)) {
		s.metrics.LargeRejected.Inc()
		return nil, nil, errGone
	}
	if len(data) < 4+int(n) {
		return nil, data, nil
	}
	return data[4 : 4+n], data[4+n:], nil
}

// requests serves all complete frames of data and returns the rest. Frames are
// served under the read lock in runs, so that reads need take it only once.
func (c *conn) requests(data []byte) (rest []byte, err error) {
	for {
		served := 0
		c.s.replica.View(func(m *fsm.Machine) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.fenced, c.now = false, time.Now()
			if c.out == nil {
				c.out = takeBuffer(c.verbose)
			}
			for served < runLength && err == nil {
				frame, rest, bad := c.s.cut(data)
				if err = bad; frame == nil || c.fullLocked(frame) {
					return
				}
				data = rest
				served++
				err = c.serveLocked(m, frame, false)
			}
		})
		c.sendGathered()
		c.s.touch(c)
		c.flush()
		if err != nil {
			return nil, err
		}
		if served == 0 {
			frame, _, err := c.s.cut(data)
			if err != nil || frame == nil {
				return data, err
			}
			if err := c.awaitRoom(frame); err != nil {
				return nil, err
			}
		}
	}
}

// fullLocked reports whether the request in frame has to wait until the client
// reads or writes are answered.
func (c *conn) fullLocked(frame []byte) bool {
	return c.heldLocked() || c.expected > softQueue && travels(frame)
}

// heldLocked reports whether every request has to wait.
func (c *conn) heldLocked() bool {
	return len(c.out) > softQueue || len(c.queue) >= maxPending || c.queued > maxPendingBytes ||
		len(c.queue) > 0 && c.s.metrics.OutstandingRequests.Load() > int64(c.s.cfg.GlobalOutstandingLimit)
}

// awaitRoom waits until the connection is no longer full for frame.
func (c *conn) awaitRoom(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.fullLocked(frame) && !c.dead.Load() && !c.closing {
		c.room.Wait()
	}
	if c.dead.Load() || c.closing {
		return errGone
	}
	return nil
}

// Notify implements watch.Watcher; it runs in apply.
func (c *conn) Notify(frame []byte) {
	if c.plantLate(frame) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eventLocked(frame)
	c.s.markDirty(c)
}

// CanRead implements watch.Watcher; it runs in apply, and in requests that
// hold mu: identities only grow, and lists are never changed in place.
func (c *conn) CanRead(acl []protocol.ACL) bool {
	c.mu.Lock()
	ids := c.ids.List()
	c.mu.Unlock()
	return c.s.replica.Machine().CanRead(acl, ids)
}

// eventLocked queues a watch event, unless the client is too far behind.
func (c *conn) eventLocked(frame []byte) {
	if c.overflowLocked() {
		return
	}
	c.out = append(c.out, frame...)
	c.stats.sent++
	c.tally.Event(len(frame) - 4)
}

// overflowLocked cuts off a client that leaves too many bytes unread, and
// reports whether nothing more is to be queued.
func (c *conn) overflowLocked() bool {
	if c.dead.Load() {
		return true
	}
	if len(c.out) > hardQueue {
		c.s.log.Warn("client does not read: connection closed", "remote", c.nc.RemoteAddr(), "bytes", len(c.out))
		c.s.metrics.SlowClientsCut.Inc()
		c.out = nil
		c.closing = true
		go c.close()
		return true
	}
	return false
}

// flush writes what is queued, unless somebody is writing already, and runs
// the reads that waited for room. It must not be called under the replica's
// lock.
func (c *conn) flush() {
	c.mu.Lock()
	c.tally.Flush(c.s.metrics)
	if c.writing || len(c.out) == 0 && !c.closing {
		if len(c.out) == 0 {
			c.releaseLocked()
		}
		c.mu.Unlock()
		return
	}
	c.writing = true
	for len(c.out) > 0 && !c.dead.Load() {
		p := c.out
		c.verbose = len(p) > smallBuffer
		c.out = nil
		c.tally.Flush(c.s.metrics) // before the client can know of it
		reads := len(c.queue) > 0 && !c.queue[0].write
		c.mu.Unlock()
		_, err := c.nc.Write(p)
		giveBuffer(p)
		if err != nil {
			c.close()
		}
		if reads {
			c.s.replica.View(func(m *fsm.Machine) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.now = time.Now()
				c.readsLocked(m)
			})
		}
		c.mu.Lock()
		c.room.Broadcast()
	}
	c.releaseLocked()
	c.writing = false
	closing := c.closing
	c.mu.Unlock()
	if closing {
		c.close()
	}
}

// releaseLocked gives out, which is empty, back: a connection without anything
// to say holds no buffer.
func (c *conn) releaseLocked() {
	giveBuffer(c.out)
	c.out = nil
}

// finish lets the connection end once what is queued is written.
func (c *conn) finish() {
	c.mu.Lock()
	c.finishLocked()
	c.mu.Unlock()
	c.flush()
}

// finishLocked lets the connection end once what is queued is written, for
// which a client has as long as its session may be silent.
func (c *conn) finishLocked() {
	if !c.closing {
		c.nc.SetWriteDeadline(time.Now().Add(c.timeout()))
	}
	c.closing = true
	c.dropLocked()
	c.room.Broadcast()
}

// close ends the connection at once. Safe to call more than once; it must not
// be called with mu held.
func (c *conn) close() {
	if c.dead.Swap(true) {
		return
	}
	c.nc.Close()
	c.mu.Lock()
	h := c.watching
	c.watching = nil
	c.tally.Flush(c.s.metrics)
	c.dropLocked()
	c.room.Broadcast()
	c.mu.Unlock()
	if h != nil {
		c.s.watches.Close(h)
	}
	c.s.forget(c)
}
