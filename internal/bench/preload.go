package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

const (
	// batchBytes is how much one multi carries, well below jute.maxbuffer, and
	// batchOps how many writes.
	batchBytes = 256 << 10
	batchOps   = 500
	batches    = 4 // under way on a connection
	// treeFan is how many znodes a directory of a tree has.
	treeFan = 1000
	// loaders are the connections that fill a tree.
	loaders = 4
)

// batch is a multi on its way.
type batch struct {
	ops  []protocol.MultiOp
	call *zkclient.Call
}

// batched sends writes of one kind, many in a multi, and several multis at a
// time; size is that of the data in each. A multi that is refused is sent again
// write by write; the first answer other than OK and tolerated is the error.
func batched(c *zkclient.Client, op protocol.OpCode, bodies iter.Seq[protocol.Record], size int, tolerated protocol.ErrCode) error {
	most := max(min(batchOps, batchBytes/(size+100)), 1)
	var flight []batch
	var ops []protocol.MultiOp
	send := func() {
		flight = append(flight, batch{ops, c.Go(protocol.OpMulti, &protocol.MultiRequest{Ops: ops})})
		ops = nil
	}
	oldest := func() error {
		b := flight[0]
		flight = flight[1:]
		h, body, err := b.call.Wait()
		if err != nil {
			return err
		}
		if h.Err == protocol.OK && multiCode(body) == protocol.OK {
			return nil
		}
		return oneByOne(c, b.ops, tolerated)
	}
	for body := range bodies {
		if ops = append(ops, protocol.MultiOp{Type: op, Body: body}); len(ops) < most {
			continue
		}
		send()
		if len(flight) == batches {
			if err := oldest(); err != nil {
				return err
			}
		}
	}
	if len(ops) > 0 {
		send()
	}
	for len(flight) > 0 {
		if err := oldest(); err != nil {
			return err
		}
	}
	return nil
}

// oneByOne sends each write by itself, all at once.
func oneByOne(c *zkclient.Client, ops []protocol.MultiOp, tolerated protocol.ErrCode) error {
	var calls []*zkclient.Call
	for _, op := range ops {
		calls = append(calls, c.Go(op.Type, op.Body))
	}
	for _, call := range calls {
		h, _, err := call.Wait()
		if err != nil {
			return err
		}
		if h.Err != protocol.OK && h.Err != tolerated {
			return h.Err
		}
	}
	return nil
}

// Tree is a large number of znodes in directories of 1,000.
type Tree struct {
	Dir   string
	Count int
	Data  []byte
}

func (t Tree) dir(i int) string { return fmt.Sprintf("%s/d%05d", t.Dir, i) }

// Path is the path of the i-th znode. Below a Dir of six characters it has 28.
func (t Tree) Path(i int) string { return fmt.Sprintf("%s/n%013d", t.dir(i/treeFan), i) }

// Keys are the znodes of the tree.
func (t Tree) Keys(spread Spread) Keys {
	return Keys{Dir: t.dir(0), Path: t.Path, Count: t.Count, Spread: spread}
}

func (t Tree) dirs() int { return (t.Count + treeFan - 1) / treeFan }

// Load makes the tree, several directories at a time. made is how many znodes
// there are already, for those who watch.
func (t Tree) Load(ctx context.Context, servers []string, timeout time.Duration, made *atomic.Int64) error {
	site := Site{servers: servers, timeout: timeout}
	err := site.with(ctx, func(c *zkclient.Client) error {
		for i := 1; i < len(t.Dir); i++ {
			if t.Dir[i] != '/' {
				continue
			}
			if _, err := c.Create(t.Dir[:i], nil, protocol.Persistent, nil); err != nil && !errors.Is(err, protocol.NodeExists) {
				return err
			}
		}
		_, err := c.Create(t.Dir, nil, protocol.Persistent, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("create %s: %w", t.Dir, err)
	}
	err = t.each(ctx, servers, timeout, func(c *zkclient.Client, d int) error {
		if _, err := c.Create(t.dir(d), nil, protocol.Persistent, nil); err != nil {
			return err
		}
		return batched(c, protocol.OpCreate, func(yield func(protocol.Record) bool) {
			for i := d * treeFan; i < min((d+1)*treeFan, t.Count); i++ {
				made.Add(1)
				if !yield(&protocol.CreateRequest{Path: t.Path(i), Data: t.Data, ACL: protocol.WorldAnyone}) {
					return
				}
			}
		}, len(t.Data), protocol.OK)
	})
	if err != nil {
		return fmt.Errorf("fill %s: %w", t.Dir, err)
	}
	return nil
}

// Remove removes the tree; what is not there is passed over.
func (t Tree) Remove(ctx context.Context, servers []string, timeout time.Duration, gone *atomic.Int64) error {
	err := t.each(ctx, servers, timeout, func(c *zkclient.Client, d int) error {
		paths := func(yield func(string) bool) {
			for i := d * treeFan; i < min((d+1)*treeFan, t.Count); i++ {
				gone.Add(1)
				if !yield(t.Path(i)) {
					return
				}
			}
		}
		return errors.Join(deleteAll(c, paths), deleteOne(c, t.dir(d)))
	})
	site := Site{servers: servers, timeout: timeout}
	if err == nil {
		err = site.with(ctx, func(c *zkclient.Client) error { return deleteOne(c, t.Dir) })
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", t.Dir, err)
	}
	return nil
}

// each calls do for each directory, from several connections.
func (t Tree) each(ctx context.Context, servers []string, timeout time.Duration, do func(c *zkclient.Client, dir int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, loaders)
	for n := range loaders {
		wg.Go(func() {
			c, err := zkclient.Dial(ctx, servers[n%len(servers)], zkclient.Options{Timeout: timeout})
			if err != nil {
				errs[n] = err
				return
			}
			for d := int(next.Add(1)) - 1; d < t.dirs() && err == nil; d = int(next.Add(1)) - 1 {
				if err = ctx.Err(); err == nil {
					err = do(c, d)
				}
			}
			errs[n] = errors.Join(err, c.Close())
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
