package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// lock is the loop that stands in line for the lock, holds it for some writes,
// and gives it back.
func (c *client) lock(ctx context.Context, _ *rand.Rand) {
	for n := 0; c.pause(ctx, 1); n++ {
		prefix := c.run.path(fmt.Sprintf("locks/%d-%d-", c.number, n))
		op := history.Op{Kind: history.Other, Path: prefix}
		if !c.create(ctx, &op, prefix, protocol.EphemeralSequential) {
			return
		}
		c.run.record(op)
		ticket := op.Path
		if op.Outcome != history.OK {
			ticket = c.find(ctx, prefix)
		} else if c.standInLine(ctx, ticket) {
			for range 3 {
				hold := history.Op{Kind: history.Hold, Path: ticket}
				_, _, sent := c.do(ctx, &hold, request{protocol.OpSetData, &protocol.SetDataRequest{Path: ticket, Data: []byte("mine"), Version: protocol.AnyVersion}})
				if sent {
					c.run.record(refusedWith(hold, protocol.NoNode))
				}
				if !sent || hold.Outcome != history.OK || !c.pause(ctx, 1) {
					break
				}
			}
		}
		if ticket != "" {
			c.giveBack(ctx, ticket)
		}
	}
}

// refusedWith lets a refusal count as an answer: the session may have expired
// meanwhile, and what it had is gone.
func refusedWith(op history.Op, code protocol.ErrCode) history.Op {
	if op.Outcome == history.Failed && op.Code == code {
		op.Outcome = history.OK
	}
	return op
}

// tickets lists the line, first come first.
func (c *client) tickets(ctx context.Context, op *history.Op, requests ...request) (names []string, ok bool) {
	path := c.run.path("locks")
	requests = append(requests, request{protocol.OpGetChildren2, &protocol.PathWatchRequest{Path: path}})
	_, bodies, sent := c.do(ctx, op, requests...)
	if !sent {
		return nil, false
	}
	if bodies == nil {
		c.run.record(*op)
		return nil, true
	}
	var resp protocol.GetChildren2Response
	d := protocol.NewDecoder(bodies[len(bodies)-1])
	resp.Decode(&d)
	slices.SortFunc(resp.Names, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	return resp.Names, true
}

// number is what the server has appended to a name.
func number(name string) string { return name[strings.LastIndexByte(name, '-')+1:] }

// find looks for the ticket of a create whose reply was lost.
func (c *client) find(ctx context.Context, prefix string) (ticket string) {
	for {
		op := history.Op{Kind: history.Other, Path: c.run.path("locks")}
		names, ok := c.tickets(ctx, &op, request{protocol.OpSync, &protocol.PathRequest{Path: op.Path}})
		if !ok {
			return ""
		}
		if op.Outcome == history.OK {
			c.run.record(op)
			for _, name := range names {
				if path := c.run.path("locks/" + name); strings.HasPrefix(path, prefix) {
					return path
				}
			}
			return ""
		}
		if !c.pause(ctx, 1) {
			return ""
		}
	}
}

// standInLine waits until the ticket is the first, and reports whether it is.
func (c *client) standInLine(ctx context.Context, ticket string) bool {
	for {
		op := history.Op{Kind: history.Other, Path: ticket}
		names, ok := c.tickets(ctx, &op)
		if !ok {
			return false
		}
		if op.Outcome != history.OK {
			c.pause(ctx, 1)
			continue
		}
		place := slices.Index(names, strings.TrimPrefix(ticket, c.run.path("locks/")))
		if place == 0 {
			op.Kind = history.Claim
		}
		c.run.record(op)
		if place <= 0 {
			return place == 0 // or gone, with the session
		}
		w := c.arm(ctx, c.run.path("locks/"+names[place-1]))
		if w == nil {
			if !c.pause(ctx, 1) {
				return false
			}
			continue
		}
		select {
		case <-w.told:
		case <-ctx.Done():
			return false
		}
	}
}

// giveBack deletes a ticket until it is gone.
func (c *client) giveBack(ctx context.Context, ticket string) {
	for {
		op := history.Op{Kind: history.Release, Path: ticket}
		_, _, sent := c.do(ctx, &op, request{protocol.OpDelete, &protocol.DeleteRequest{Path: ticket, Version: protocol.AnyVersion}})
		if !sent {
			return
		}
		op = refusedWith(op, protocol.NoNode)
		c.run.record(op)
		if op.Outcome == history.OK || !c.pause(ctx, 1) {
			return
		}
	}
}

// others is the loop that sets ordinary watches, and makes and deletes
// ephemerals.
func (c *client) others(ctx context.Context, random *rand.Rand) {
	mine := ""
	for n := 0; c.pause(ctx, 4); n++ {
		switch {
		case random.IntN(2) == 0:
			c.arm(ctx, c.run.register(registerNames[random.IntN(registers)]))
		case mine == "":
			op := history.Op{Kind: history.NewEphemeral, Path: c.run.path(fmt.Sprintf("ephemerals/%d-%d", c.number, n))}
			if c.create(ctx, &op, op.Path, protocol.Ephemeral) {
				c.run.record(op)
			}
			if op.Outcome == history.OK {
				mine = op.Path
			}
		case random.IntN(4) == 0:
			op := history.Op{Kind: history.DropEphemeral, Path: mine}
			_, _, sent := c.do(ctx, &op, request{protocol.OpDelete, &protocol.DeleteRequest{Path: mine, Version: protocol.AnyVersion}})
			if sent {
				c.run.record(refusedWith(op, protocol.NoNode))
			}
			mine = ""
		}
	}
}

// mortals opens sessions that each make an ephemeral, and closes them or leaves
// them alone.
func (r *Run) mortals(ctx context.Context) {
	random := rand.New(rand.NewPCG(r.opts.Seed, 1<<32))
	for n := 0; sleep(ctx, 300*time.Millisecond); n++ {
		server := random.IntN(len(r.opts.Servers))
		conn, _, err := r.dial(ctx, server, zkclient.Options{Timeout: r.opts.Timeout * 2 / 5})
		if err != nil {
			continue
		}
		c := r.newClient(-1-n, server)
		c.session = history.Session{ID: conn.SessionID(), Client: c.number, Timeout: conn.Timeout()}
		c.link = &link{conn, server}
		op := history.Op{Kind: history.NewEphemeral, Path: r.path(fmt.Sprintf("ephemerals/mortal-%d", n))}
		if c.create(ctx, &op, op.Path, protocol.Ephemeral) {
			r.record(op)
		}
		if random.IntN(2) == 0 {
			h, _, err := conn.Go(protocol.OpCloseSession, nil).Wait()
			if err == nil && h.Err == protocol.OK {
				c.ended(history.Closed, h.Zxid, 0)
			}
		}
		conn.HangUp()
		c.ended(history.Left, 0, 0)
	}
}

// settle lists the ephemerals until those of sessions that were left are gone,
// or must be.
func (r *Run) settle(ctx context.Context, c *client) error {
	limit := time.Duration(0)
	for _, s := range r.h.Sessions {
		if s.End == history.Left {
			limit = max(limit, max(s.Ended, r.h.Calm)+s.Timeout+r.opts.Slack)
		}
	}
	for {
		late := r.Now() > limit
		names := c.list(ctx)
		if len(names) == 0 || late {
			break
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.New("wait for ephemerals to go: " + ctx.Err().Error())
		}
	}
	return nil
}
