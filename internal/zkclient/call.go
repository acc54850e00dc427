package zkclient

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Call is a request on its way.
type Call struct {
	op     protocol.OpCode
	xid    int32
	slot   bool // it holds a token of the window
	sent   time.Time
	done   chan struct{}
	header protocol.ReplyHeader
	body   []byte
	err    error
	took   time.Duration
}

func newCall(op protocol.OpCode) *Call {
	return &Call{op: op, done: make(chan struct{})}
}

func (call *Call) finish(h protocol.ReplyHeader, body []byte, err error) {
	call.header, call.body, call.err = h, body, err
	call.took = time.Since(call.sent)
	close(call.done)
}

// Done is closed when the reply has come or the connection was lost.
func (call *Call) Done() <-chan struct{} { return call.done }

// Wait waits for the reply: its header, whose Err is the server's answer, and
// the encoded body behind it, which is the caller's. The error is only about
// the connection; a write that ends with one may or may not have happened.
func (call *Call) Wait() (protocol.ReplyHeader, []byte, error) {
	<-call.done
	return call.header, call.body, call.err
}

// Latency is the time from Go to the arrival of the reply, without the time
// until Wait returned; it is valid once Done is closed.
func (call *Call) Latency() time.Duration { return call.took }

// Go sends a request and does not wait for its reply; body is nil where the
// operation has none, and may be reused once Go returns. It blocks only while
// the window is full. Requests of one goroutine are sent in the order of its
// calls. It never fails: a lost connection shows in Wait.
func (c *Client) Go(op protocol.OpCode, body protocol.Record) *Call {
	call := newCall(op)
	select {
	case c.slots <- struct{}{}:
		call.slot = true
	case <-c.done:
	}
	c.enqueue(call, body)
	return call
}

// enqueue gives the call its xid and its place among the frames to be sent.
func (c *Client) enqueue(call *Call, body protocol.Record) {
	c.mu.Lock()
	call.sent = time.Now()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		call.finish(protocol.ReplyHeader{}, nil, err)
		return
	}
	call.xid = c.nextXidLocked(call.op)
	start := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0)
	c.out = (&protocol.RequestHeader{Xid: call.xid, Op: call.op}).AppendTo(c.out)
	if body != nil {
		c.out = body.AppendTo(c.out)
	}
	binary.BigEndian.PutUint32(c.out[start:], uint32(len(c.out)-start-4))
	c.pending = append(c.pending, call)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Client) nextXidLocked(op protocol.OpCode) int32 {
	switch op {
	case protocol.OpPing:
		return protocol.XidPing
	case protocol.OpAuth:
		return protocol.XidAuth
	case protocol.OpSetWatches, protocol.OpSetWatches2:
		return protocol.XidSetWatches
	}
	if c.xid == math.MaxInt32 {
		c.xid = 0
	}
	c.xid++
	return c.xid
}

// decoder is the reading half of a record.
type decoder interface {
	Decode(d *protocol.Decoder)
}

// ask sends a request, waits, and decodes the reply into resp unless nil. An
// answer that is not OK is a protocol.ErrCode as the error.
func (c *Client) ask(op protocol.OpCode, body protocol.Record, resp decoder) (protocol.ReplyHeader, error) {
	h, b, err := c.Go(op, body).Wait()
	if err != nil {
		return h, fmt.Errorf("%v: %w", op, err)
	}
	if h.Err != protocol.OK {
		return h, h.Err
	}
	if resp == nil {
		return h, nil
	}
	d := protocol.NewDecoder(b)
	resp.Decode(&d)
	if err := d.Err(); err != nil {
		return h, fmt.Errorf("%v reply: %w", op, err)
	}
	return h, nil
}

// Create makes a znode and returns its path, with the counter that a
// sequential mode appends. A nil acl is protocol.WorldAnyone. Modes with a
// time to live need Go and OpCreateTTL.
//
// Create and the methods below wait for the server. Their error is a
// protocol.ErrCode when the server refused, and about the connection otherwise.
func (c *Client) Create(path string, data []byte, mode protocol.CreateMode, acl []protocol.ACL) (string, error) {
	op := protocol.OpCreate
	if mode == protocol.Container {
		op = protocol.OpCreateContainer
	}
	if acl == nil {
		acl = protocol.WorldAnyone
	}
	// The answer to createContainer starts with the path, too.
	var resp protocol.PathResponse
	_, err := c.ask(op, &protocol.CreateRequest{Path: path, Data: data, ACL: acl, Mode: mode}, &resp)
	return resp.Path, err
}

// Get reads a znode's data (nil when null), and sets a data watch if asked.
func (c *Client) Get(path string, watch bool) ([]byte, protocol.Stat, error) {
	var resp protocol.GetDataResponse
	_, err := c.ask(protocol.OpGetData, &protocol.PathWatchRequest{Path: path, Watch: watch}, &resp)
	return resp.Data, resp.Stat, err
}

// Set replaces a znode's data if it has the version, or protocol.AnyVersion
// was given.
func (c *Client) Set(path string, data []byte, version int32) (protocol.Stat, error) {
	var resp protocol.StatResponse
	_, err := c.ask(protocol.OpSetData, &protocol.SetDataRequest{Path: path, Data: data, Version: version}, &resp)
	return resp.Stat, err
}

// Delete removes a childless znode if it has the version, or
// protocol.AnyVersion was given.
func (c *Client) Delete(path string, version int32) error {
	_, err := c.ask(protocol.OpDelete, &protocol.DeleteRequest{Path: path, Version: version}, nil)
	return err
}

// Exists reads a znode's Stat, and sets a watch if asked, on a missing znode
// too. The error for a missing znode is protocol.NoNode.
func (c *Client) Exists(path string, watch bool) (protocol.Stat, error) {
	var resp protocol.StatResponse
	_, err := c.ask(protocol.OpExists, &protocol.PathWatchRequest{Path: path, Watch: watch}, &resp)
	return resp.Stat, err
}

// Children lists the names of a znode's children in no particular order, and
// sets a child watch if asked.
func (c *Client) Children(path string, watch bool) ([]string, protocol.Stat, error) {
	var resp protocol.GetChildren2Response
	_, err := c.ask(protocol.OpGetChildren2, &protocol.PathWatchRequest{Path: path, Watch: watch}, &resp)
	return resp.Names, resp.Stat, err
}

// Multi runs writes and checks as one: all of them or none. When one is
// refused the error is its code, and the results say which it was (those
// before it are OK, those behind it RuntimeInconsistency).
func (c *Client) Multi(ops ...protocol.MultiOp) ([]protocol.MultiResult, error) {
	var resp protocol.MultiResponse
	if _, err := c.ask(protocol.OpMulti, &protocol.MultiRequest{Ops: ops}, &resp); err != nil {
		return nil, err
	}
	for _, r := range resp.Results {
		if r.Type == protocol.OpError && r.Err != protocol.OK {
			return resp.Results, r.Err
		}
	}
	return resp.Results, nil
}

// Sync makes the session's server catch up with what was committed before.
func (c *Client) Sync(path string) error {
	_, err := c.ask(protocol.OpSync, &protocol.PathRequest{Path: path}, nil)
	return err
}

// Ping asks the server for a sign of life, beside the automatic pings.
func (c *Client) Ping() error {
	_, err := c.ask(protocol.OpPing, nil, nil)
	return err
}

// AddWatch sets a persistent watch; mode is protocol.WatchPersistent or
// protocol.WatchPersistentRecursive.
func (c *Client) AddWatch(path string, mode int32) error {
	_, err := c.ask(protocol.OpAddWatch, &protocol.PathTypeRequest{Path: path, Type: mode}, nil)
	return err
}
