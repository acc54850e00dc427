package workload

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// client is a session that goes from server to server, and what uses it.
type client struct {
	run        *Run
	number     int
	home       int    // the server that it began at
	server     int    // to be dialed next; of keep
	persistent string // the znode of the persistent recursive watch, if any

	mu      sync.Mutex
	link    *link         // nil while there is no connection
	goHome  bool          // the connection is to end, and the next one to be at home
	changed chan struct{} // closed with the next change of link
	seen    map[string]int32
	pending map[string]*watch
	watches []*watch
	session history.Session
}

// link is one connection of a session.
type link struct {
	*zkclient.Client
	server int
}

// hearing notes when something came.
type hearing struct {
	net.Conn
	run   *Run
	heard *atomic.Int64
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.heard.Store(int64(h.run.Now()))
	}
	return n, err
}

func (r *Run) newClient(number, server int) *client {
	return &client{run: r, number: number, home: server, server: server, changed: make(chan struct{}), seen: map[string]int32{}, pending: map[string]*watch{}}
}

func (c *client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

func (c *client) setLink(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits for a connection; nil when the context ends first.
func (c *client) await(ctx context.Context) *link {
	for {
		c.mu.Lock()
		l, changed := c.link, c.changed
		c.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		if l != nil {
			select {
			case <-l.Done(): // keep will see it
			default:
				return l
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// keep holds the session until the context ends, at one server after the other,
// and opens a new one when it has expired. In the end it closes the session.
func (c *client) keep(ctx context.Context) {
	r := c.run
	var opts zkclient.Options
	var heard time.Duration // when the last connection said something
	fresh := func() { opts = zkclient.Options{Timeout: r.opts.Timeout} }
	fresh()
	for ctx.Err() == nil {
		conn, spoke, err := r.dial(ctx, c.server, opts)
		if errors.Is(err, zkclient.ErrSessionExpired) {
			c.ended(history.Expired, 0, r.Now()-heard)
			fresh()
			continue
		}
		if err != nil {
			c.server = (c.server + 1) % len(r.opts.Servers)
			sleep(ctx, retry)
			continue
		}
		if opts.SessionID == 0 {
			c.mu.Lock()
			c.session = history.Session{ID: conn.SessionID(), Client: c.number, Timeout: conn.Timeout()}
			c.mu.Unlock()
		}
		c.serve(ctx, &link{conn, c.server})
		heard = time.Duration(spoke.Load())
		opts.SessionID, opts.Password, opts.LastZxid = conn.SessionID(), conn.Password(), max(opts.LastZxid, conn.LastZxid())
		c.mu.Lock()
		homewards := c.goHome
		c.goHome = false
		c.mu.Unlock()
		if homewards {
			c.server = c.home
		} else if ctx.Err() == nil {
			r.mu.Lock()
			r.h.Losses = append(r.h.Losses, history.Loss{Client: c.number, Server: c.server, At: r.Now()})
			r.mu.Unlock()
			c.server = (c.server + 1) % len(r.opts.Servers)
		}
	}
	if c.session.ID != 0 && c.session.End == history.Open {
		c.ended(history.Left, 0, 0)
	}
}

// serve has one connection used, until it is lost or the context ends; then it
// closes the session.
func (c *client) serve(ctx context.Context, l *link) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		select {
		case <-l.Done():
		case <-ctx.Done():
			h, _, err := l.Go(protocol.OpCloseSession, nil).Wait()
			if err == nil && h.Err == protocol.OK {
				c.ended(history.Closed, h.Zxid, 0)
			}
			l.HangUp()
		}
	}()
	segment, ok := c.restore(l)
	if ok {
		c.setLink(l)
		for event := range l.Events() {
			e := history.Event{Zxid: event.Zxid, Type: event.Type, Path: event.Path}
			if c.persistent != "" {
				segment.Events = append(segment.Events, e)
			} else {
				c.notified(l, e)
			}
		}
		c.setLink(nil)
	}
	if ok && c.persistent != "" {
		segment.To = max(segment.From, l.LastZxid())
		r := c.run
		r.mu.Lock()
		r.h.Segments = append(r.h.Segments, segment)
		r.mu.Unlock()
	}
	<-closed
	l.HangUp()
}

// restore sets the watches of the session on a new connection, as clients do
// before anything else.
func (c *client) restore(l *link) (segment history.Segment, ok bool) {
	segment = history.Segment{Session: l.SessionID(), Server: l.server}
	var call *zkclient.Call
	if c.persistent != "" {
		if l.LastZxid() == 0 {
			call = l.Go(protocol.OpAddWatch, &protocol.PathTypeRequest{Path: c.persistent, Type: protocol.WatchPersistentRecursive})
		} else {
			call = l.Go(protocol.OpSetWatches2, &protocol.SetWatches2Request{
				SetWatchesRequest:   protocol.SetWatchesRequest{RelativeZxid: l.LastZxid(), Data: []string{}, Exist: []string{}, Child: []string{}},
				Persistent:          []string{},
				PersistentRecursive: []string{c.persistent},
			})
		}
	} else {
		c.mu.Lock()
		paths := []string{}
		for path, w := range c.pending {
			if w.armed {
				w.Moved = true
				paths = append(paths, path)
			}
		}
		c.mu.Unlock()
		if len(paths) == 0 {
			return segment, true
		}
		slices.Sort(paths)
		call = l.Go(protocol.OpSetWatches, &protocol.SetWatchesRequest{RelativeZxid: l.LastZxid(), Data: paths, Exist: []string{}, Child: []string{}})
	}
	h, _, err := call.Wait()
	segment.From = h.Zxid
	if err == nil && h.Err != protocol.OK {
		c.run.record(history.Op{Client: c.number, Session: l.SessionID(), Server: l.server, Kind: history.Other, Path: "set watches",
			Began: c.run.Now(), Ended: c.run.Now(), Call: c.run.tick(), Return: c.run.tick(), Outcome: history.Failed, Code: h.Err})
	}
	if err != nil || h.Err != protocol.OK {
		l.HangUp()
		for event := range l.Events() {
			if c.persistent == "" {
				c.notified(l, history.Event{Zxid: event.Zxid, Type: event.Type, Path: event.Path})
			}
		}
		return segment, false
	}
	return segment, true
}

// ended records the end of the session; the first one counts.
func (c *client) ended(end history.End, zxid int64, silent time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.ID == 0 || c.session.End != history.Open {
		return
	}
	r := c.run
	c.session.End, c.session.Ended, c.session.Return, c.session.Zxid, c.session.Silent = end, r.Now(), r.tick(), zxid, silent
	if end != history.Closed { // then events may be on their way to notified
		for path, w := range c.pending {
			w.Gone = true
			close(w.told)
			delete(c.pending, path)
		}
	}
	r.mu.Lock()
	r.h.Sessions = append(r.h.Sessions, c.session)
	r.mu.Unlock()
}

// request is one request of an operation.
type request struct {
	op   protocol.OpCode
	body protocol.Record
}

// do sends the requests of an operation at once, waits for the replies, and fills
// in what they say of all operations; the caller adds what is special and
// records it. The bodies are nil unless all replies are OK. It reports whether
// anything was sent.
func (c *client) do(ctx context.Context, op *history.Op, requests ...request) (l *link, bodies [][]byte, sent bool) {
	if l = c.await(ctx); l == nil {
		return nil, nil, false
	}
	r := c.run
	op.Client, op.Session, op.Server = c.number, l.SessionID(), l.server
	op.Began, op.Call = r.Now(), r.tick()
	calls := make([]*zkclient.Call, len(requests))
	for i, q := range requests {
		calls[i] = l.Go(q.op, q.body)
	}
	for i, call := range calls {
		h, body, err := call.Wait()
		switch {
		case err != nil:
			op.Outcome = history.Unknown
		case h.Err != protocol.OK && op.Code == protocol.OK:
			op.Code = h.Err
		}
		op.Zxid = h.Zxid
		if requests[i].op == protocol.OpMulti && err == nil {
			op.Code = multiCode(h.Err, body)
		}
		bodies = append(bodies, body)
	}
	op.Ended, op.Return = r.Now(), r.tick()
	if op.Outcome == history.Unknown || op.Code != protocol.OK {
		bodies = nil
	}
	if op.Outcome == history.OK && op.Code != protocol.OK {
		op.Outcome = history.Failed // unless the caller knows better
	}
	return l, bodies, true
}

// multiCode is the error for which a multi was refused.
func multiCode(code protocol.ErrCode, body []byte) protocol.ErrCode {
	if code != protocol.OK {
		return code
	}
	var resp protocol.MultiResponse
	d := protocol.NewDecoder(body)
	resp.Decode(&d)
	for _, result := range resp.Results {
		// Those before the one that failed say OK, and those behind it
		// RuntimeInconsistency.
		if result.Type == protocol.OpError && result.Err != protocol.OK {
			return result.Err
		}
	}
	return protocol.OK
}
