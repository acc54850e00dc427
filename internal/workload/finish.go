package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// Stop ends the load and returns what was recorded, with the last state of every
// server. All servers must be there to be asked, until the context ends; what
// was recorded is returned beside the error, too. The tree stays: Remove.
func (r *Run) Stop(ctx context.Context) (*history.History, error) {
	r.stop()
	r.loops.Wait()
	for _, c := range r.clients {
		c.lookAtWatched(ctx)
	}
	last, err := r.lastClient(ctx)
	if err == nil {
		for _, path := range slices.Sorted(maps.Keys(r.last)) {
			last.get(ctx, history.SyncRead, path)
		}
	}
	r.finish()
	r.keepers.Wait()
	for _, c := range r.clients {
		for _, w := range c.watches {
			r.h.Watches = append(r.h.Watches, w.Watch)
		}
	}
	if err == nil {
		err = r.settle(ctx, last)
		last.link.HangUp()
	}
	for server := range r.opts.Servers {
		var replica history.Replica
		if err == nil {
			replica, err = r.replica(ctx, server)
			r.h.Replicas = append(r.h.Replicas, replica)
		}
	}
	r.h.Length = r.Now()
	h := r.h
	if err != nil {
		h.Replicas = nil
		return &h, fmt.Errorf("read the last state: %w", err)
	}
	return &h, nil
}

// lastClient is one that nothing happens to, for the end.
func (r *Run) lastClient(ctx context.Context) (*client, error) {
	conn, server, err := r.dialAny(ctx)
	if err != nil {
		return nil, err
	}
	c := r.newClient(len(r.clients)+len(r.watchers), server)
	c.link = &link{conn, server}
	return c, nil
}

// replica reads the tree of one server, brought up to date.
func (r *Run) replica(ctx context.Context, server int) (history.Replica, error) {
	for {
		c, _, err := r.dial(ctx, server, zkclient.Options{Timeout: r.opts.Timeout})
		if err == nil {
			var nodes map[string]history.Node
			if err = c.Sync(r.opts.Root); err == nil {
				nodes, err = walk(c, r.opts.Root)
			}
			if err == nil {
				return history.Replica{Server: server, Nodes: nodes}, c.Close()
			}
			c.HangUp()
		}
		if !sleep(ctx, retry) {
			return history.Replica{}, fmt.Errorf("server %d, %s: %w", server, r.opts.Servers[server], err)
		}
	}
}

// walk reads a znode and all below it.
func walk(c *zkclient.Client, root string) (map[string]history.Node, error) {
	type reading struct {
		path           string
		data, children *zkclient.Call
	}
	nodes := map[string]history.Node{}
	for level := []string{root}; len(level) > 0; {
		var readings []reading
		for _, path := range level {
			readings = append(readings, reading{path, c.Go(protocol.OpGetData, &protocol.PathWatchRequest{Path: path}),
				c.Go(protocol.OpGetChildren2, &protocol.PathWatchRequest{Path: path})})
		}
		level = nil
		for _, n := range readings {
			var data protocol.GetDataResponse
			var children protocol.GetChildren2Response
			for call, decode := range map[*zkclient.Call]func(*protocol.Decoder){n.data: data.Decode, n.children: children.Decode} {
				h, body, err := call.Wait()
				if err == nil && h.Err != protocol.OK {
					err = h.Err
				}
				if err != nil {
					return nil, fmt.Errorf("read %s: %w", n.path, err)
				}
				d := protocol.NewDecoder(body)
				decode(&d)
			}
			nodes[n.path] = history.Node{Data: string(data.Data), Stat: data.Stat}
			for _, name := range children.Names {
				level = append(level, n.path+"/"+name)
			}
		}
	}
	return nodes, nil
}

// Remove deletes the tree, and what Start has made above it.
func (r *Run) Remove(ctx context.Context) error {
	for {
		c, _, err := r.dialAny(ctx)
		if err == nil {
			err = remove(c, r.opts.Root)
			for _, path := range slices.Backward(r.above) {
				if err == nil {
					if err = c.Delete(path, protocol.AnyVersion); errors.Is(err, protocol.NoNode) || errors.Is(err, protocol.NotEmpty) {
						err = nil // somebody else's now
					}
				}
			}
			c.HangUp()
		}
		if err == nil {
			return nil
		}
		if !sleep(ctx, retry) {
			return fmt.Errorf("remove %s: %w", r.opts.Root, err)
		}
	}
}

func remove(c *zkclient.Client, root string) error {
	if err := c.Sync(root); err != nil {
		return err
	}
	nodes, err := walk(c, root)
	if errors.Is(err, protocol.NoNode) {
		if _, err := c.Exists(root, false); errors.Is(err, protocol.NoNode) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	paths := slices.Sorted(maps.Keys(nodes))
	slices.Reverse(paths) // a znode's path is a prefix of those below it
	var calls []*zkclient.Call
	for _, path := range paths {
		calls = append(calls, c.Go(protocol.OpDelete, &protocol.DeleteRequest{Path: path, Version: protocol.AnyVersion}))
	}
	for i, call := range calls {
		h, _, err := call.Wait()
		if err == nil && h.Err != protocol.OK && h.Err != protocol.NoNode {
			err = h.Err
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", paths[i], err)
		}
	}
	return nil
}
