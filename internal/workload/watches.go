package workload

import (
	"context"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/protocol"
)

// watch is an ordinary watch that has not fired yet.
type watch struct {
	history.Watch
	armed bool          // the reply has come
	told  chan struct{} // closed when it has fired, or never will
}

// arm sets a data watch unless there is one; nil when there is none afterwards.
func (c *client) arm(ctx context.Context, path string) *watch {
	w := &watch{Watch: history.Watch{Path: path, Last: -1}, told: make(chan struct{})}
	c.mu.Lock()
	if c.pending[path] != nil {
		c.mu.Unlock()
		return nil
	}
	c.pending[path] = w // the event may come before its turn here
	c.mu.Unlock()
	op := history.Op{Kind: history.Look, Path: path}
	l, bodies, sent := c.do(ctx, &op, request{protocol.OpGetData, &protocol.PathWatchRequest{Path: path, Watch: true}})
	c.mu.Lock()
	if sent {
		op = refusedWith(op, protocol.NoNode)
		defer c.run.record(op)
	}
	defer c.mu.Unlock()
	if bodies == nil {
		if c.pending[path] == w {
			delete(c.pending, path)
		}
		return nil
	}
	w.armed, w.Session, w.Set, w.Version = true, op.Session, op.Zxid, decodeGet(bodies[0]).Stat.Version
	c.watches = append(c.watches, w)
	if !w.Fired && c.link != l { // lost in between: it was not taken along
		w.Gone = true
		if c.pending[path] == w {
			delete(c.pending, path)
			close(w.told)
		}
	}
	return w
}

// notified takes an event of an ordinary watch.
func (c *client) notified(l *link, e history.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.pending[e.Path]
	if w == nil && c.session.End == history.Closed {
		return // it came before the end, which has already been noted
	}
	if w == nil {
		c.run.mu.Lock()
		defer c.run.mu.Unlock()
		c.run.h.Unasked = append(c.run.h.Unasked, history.Unasked{Session: l.SessionID(), Server: l.server, At: c.run.Now(), Event: e})
		return
	}
	delete(c.pending, e.Path)
	w.Fired, w.Event = true, e
	close(w.told)
}

// lookAtWatched reads, behind a sync, what pending watches of the session are
// on: those that should have fired have, before the reply.
func (c *client) lookAtWatched(ctx context.Context) {
	c.mu.Lock()
	var paths []string
	for path := range c.pending {
		paths = append(paths, path)
	}
	c.mu.Unlock()
	for _, path := range paths {
		op := history.Op{Kind: history.Look, Path: path}
		_, bodies, sent := c.do(ctx, &op, request{protocol.OpSync, &protocol.PathRequest{Path: path}}, get(path))
		if !sent {
			return
		}
		op = refusedWith(op, protocol.NoNode)
		c.run.record(op)
		c.mu.Lock()
		for _, w := range c.watches {
			switch {
			case w.Path != path || w.Session != op.Session:
			case bodies != nil:
				w.Last = decodeGet(bodies[1]).Stat.Version
			case op.Outcome == history.OK:
				w.Last = w.Version + 1 // deleted
			}
		}
		c.mu.Unlock()
	}
}

// look is the loop of a persistent watcher: its replies say how far it has been
// told everything.
func (c *client) look(ctx context.Context) {
	for c.pause(ctx, 1) {
		op := history.Op{Kind: history.Look, Path: c.persistent}
		_, _, sent := c.do(ctx, &op, request{protocol.OpExists, &protocol.PathWatchRequest{Path: c.persistent}})
		if sent {
			c.run.record(op)
		}
	}
}
