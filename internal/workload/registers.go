package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/protocol"
)

// registerNames are the registers of a group. Multis set the last two together.
var registerNames = []string{"0", "1", "2", "3", "x", "y"}

func (c *client) sawVersion(path string, version int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[path] = max(c.seen[path], version)
}

func (c *client) lastSeen(path string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[path]
}

// pause is between two operations of one loop, n times as long for the rarer
// ones.
func (c *client) pause(ctx context.Context, n int) bool {
	return sleep(ctx, time.Duration(n)*c.run.opts.Pause)
}

// write is the loop of writes: there is one under way all the time, but for the
// pauses.
func (c *client) write(ctx context.Context, random *rand.Rand) {
	changing := change{}
	for n := 0; c.pause(ctx, 1); n++ {
		value := fmt.Sprintf("%d-%d", c.number, n)
		switch random.IntN(8) {
		case 0, 1:
			c.setRegister(ctx, history.Write, c.run.register(registerNames[random.IntN(registers)]), value)
		case 2, 3:
			c.setRegister(ctx, history.CompareAndSet, c.run.register(registerNames[random.IntN(registers)]), value)
		case 4, 5:
			c.append(ctx, n)
		case 6:
			c.multi(ctx, value, random.IntN(4) == 0)
		case 7:
			changing = c.change(ctx, changing, n)
		}
	}
}

func (c *client) setRegister(ctx context.Context, kind history.Kind, path, value string) {
	op := history.Op{Kind: kind, Path: path, Value: value}
	version := int32(protocol.AnyVersion)
	if kind == history.CompareAndSet {
		op.Expected = c.lastSeen(path)
		version = op.Expected
	}
	_, bodies, sent := c.do(ctx, &op, request{protocol.OpSetData, &protocol.SetDataRequest{Path: path, Data: []byte(value), Version: version}})
	if !sent {
		return
	}
	if bodies != nil {
		var resp protocol.StatResponse
		d := protocol.NewDecoder(bodies[0])
		resp.Decode(&d)
		op.Version, op.Mzxid = resp.Stat.Version, resp.Stat.Mzxid
		c.sawVersion(path, op.Version)
	}
	if op.Code == protocol.BadVersion && kind == history.CompareAndSet {
		op.Outcome = history.OK
	}
	c.run.record(op)
}

// append creates a znode with a number in the client's own directory.
func (c *client) append(ctx context.Context, n int) {
	asked := c.run.path(fmt.Sprintf("appends/%d/%d-", c.number, n))
	op := history.Op{Kind: history.Append, Path: asked, Asked: asked}
	if c.create(ctx, &op, asked, protocol.PersistentSequential) {
		c.run.record(op)
	}
}

// create sends a create, and puts the znode's path into the operation.
func (c *client) create(ctx context.Context, op *history.Op, path string, mode protocol.CreateMode) (sent bool) {
	_, bodies, sent := c.do(ctx, op, request{protocol.OpCreate, &protocol.CreateRequest{Path: path, Data: []byte{}, ACL: protocol.WorldAnyone, Mode: mode}})
	if bodies != nil {
		var resp protocol.PathResponse
		d := protocol.NewDecoder(bodies[0])
		resp.Decode(&d)
		op.Path = resp.Path
	}
	return sent
}

// multi creates two znodes and sets two registers as one. One that is to be
// refused asks for a version that no znode has.
func (c *client) multi(ctx context.Context, value string, refused bool) {
	r := c.run
	x, y := r.twins()
	a, b := r.path("multis/"+value+"-a"), r.path("multis/"+value+"-b")
	op := history.Op{Kind: history.Multi, Path: x, Value: value, Names: []string{a, b}}
	ops := []protocol.MultiOp{
		{Type: protocol.OpCreate, Body: &protocol.CreateRequest{Path: a, Data: []byte{}, ACL: protocol.WorldAnyone}},
		{Type: protocol.OpSetData, Body: &protocol.SetDataRequest{Path: y, Data: []byte(value), Version: protocol.AnyVersion}},
		{Type: protocol.OpSetData, Body: &protocol.SetDataRequest{Path: x, Data: []byte(value), Version: protocol.AnyVersion}},
		{Type: protocol.OpCreate, Body: &protocol.CreateRequest{Path: b, Data: []byte{}, ACL: protocol.WorldAnyone}},
	}
	if refused {
		op.Kind = history.AbortedMulti
		ops = append(ops, protocol.MultiOp{Type: protocol.OpCheck, Body: &protocol.DeleteRequest{Path: r.path("multis"), Version: 1 << 30}})
	}
	_, bodies, sent := c.do(ctx, &op, request{protocol.OpMulti, &protocol.MultiRequest{Ops: ops}})
	if !sent {
		return
	}
	if refused && op.Code == protocol.BadVersion {
		op.Outcome = history.OK
	}
	if bodies != nil && !refused {
		var resp protocol.MultiResponse
		d := protocol.NewDecoder(bodies[0])
		resp.Decode(&d)
		if stat, ok := resp.Results[2].Body.(*protocol.StatResponse); ok {
			op.Version, op.Mzxid = stat.Stat.Version, stat.Stat.Mzxid
		}
	}
	r.record(op)
}

// change is what a client does to a znode that is watched: create, set, delete.
type change struct {
	path string
	next protocol.EventType
}

func (c *client) change(ctx context.Context, now change, n int) change {
	if now.path == "" {
		now = change{c.run.path(fmt.Sprintf("watched/%d-%d", c.number, n)), protocol.NodeCreated}
	}
	op := history.Op{Kind: history.Change, Path: now.path, Event: now.next}
	var q request
	after := change{}
	switch now.next {
	case protocol.NodeCreated:
		q = request{protocol.OpCreate, &protocol.CreateRequest{Path: now.path, Data: []byte{}, ACL: protocol.WorldAnyone}}
		after = change{now.path, protocol.NodeDataChanged}
	case protocol.NodeDataChanged:
		q = request{protocol.OpSetData, &protocol.SetDataRequest{Path: now.path, Data: []byte("x"), Version: protocol.AnyVersion}}
		after = change{now.path, protocol.NodeDeleted}
	case protocol.NodeDeleted:
		q = request{protocol.OpDelete, &protocol.DeleteRequest{Path: now.path, Version: protocol.AnyVersion}}
	}
	_, _, sent := c.do(ctx, &op, q)
	if sent {
		c.run.record(op)
	}
	if op.Outcome != history.OK {
		return change{} // nobody knows: another one
	}
	return after
}

// read is the loop of reads that the session's server answers by itself.
func (c *client) read(ctx context.Context, random *rand.Rand) {
	for c.pause(ctx, 1) {
		if random.IntN(4) > 0 {
			c.get(ctx, history.Read, c.run.register(registerNames[random.IntN(registers)]))
			continue
		}
		x, y := c.run.twins()
		op := history.Op{Kind: history.PairRead, Path: x}
		_, bodies, sent := c.do(ctx, &op, get(x), get(y))
		if bodies != nil {
			first, second := decodeGet(bodies[0]), decodeGet(bodies[1])
			op.Version, op.Second, op.Value = first.Stat.Version, second.Stat.Version, string(first.Data)
		}
		if sent {
			c.run.record(op)
		}
	}
}

func get(path string) request {
	return request{protocol.OpGetData, &protocol.PathWatchRequest{Path: path}}
}

func decodeGet(body []byte) (resp protocol.GetDataResponse) {
	d := protocol.NewDecoder(body)
	resp.Decode(&d)
	return resp
}

// get reads a register, behind a sync for SyncRead.
func (c *client) get(ctx context.Context, kind history.Kind, path string) {
	op := history.Op{Kind: kind, Path: path}
	requests := []request{get(path)}
	if kind == history.SyncRead {
		requests = []request{{protocol.OpSync, &protocol.PathRequest{Path: path}}, get(path)}
	}
	_, bodies, sent := c.do(ctx, &op, requests...)
	if bodies != nil {
		resp := decodeGet(bodies[len(bodies)-1])
		op.Version, op.Value, op.Mzxid = resp.Stat.Version, string(resp.Data), resp.Stat.Mzxid
		c.sawVersion(path, op.Version)
	}
	if sent {
		c.run.record(op)
	}
}

// syncAndRead is the loop of reads that see all that was answered before.
func (c *client) syncAndRead(ctx context.Context, random *rand.Rand) {
	for c.pause(ctx, 2) {
		if random.IntN(8) == 0 {
			c.list(ctx)
			continue
		}
		c.get(ctx, history.SyncRead, c.run.register(registerNames[random.IntN(registers+1)]))
	}
}

// list lists the ephemerals.
func (c *client) list(ctx context.Context) (names []string) {
	path := c.run.path("ephemerals")
	op := history.Op{Kind: history.List, Path: path}
	_, bodies, sent := c.do(ctx, &op, request{protocol.OpSync, &protocol.PathRequest{Path: path}},
		request{protocol.OpGetChildren2, &protocol.PathWatchRequest{Path: path}})
	if bodies != nil {
		var resp protocol.GetChildren2Response
		d := protocol.NewDecoder(bodies[1])
		resp.Decode(&d)
		op.Names = resp.Names
	}
	if sent {
		c.run.record(op)
	}
	return op.Names
}
