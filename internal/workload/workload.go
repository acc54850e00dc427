// Package workload is a mixed load of real-looking clients on a ZooKeeper,
// coordd or the original, that records everything the clients were told for
// package history to judge: registers, appends, multis, locks, ephemerals,
// watches. A client that loses its server takes its session to the next one.
//
// All that it does goes through Options.Connect and package time, and all its
// goroutines have ended when Stop returns, so it runs in virtual time as well.
// What happens to the servers meanwhile is left to the caller.
package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

const (
	// Registers come in groups, and a group has its turn for a while: a search
	// for the order of a register's operations is the faster the fewer they are.
	groups    = 32
	groupTurn = 10 * time.Second
	registers = 4
	// retry is the pause of a client that was turned away by a server.
	retry = 50 * time.Millisecond
)

// Options say what to run. Zero values but for Servers are of use.
type Options struct {
	// Servers are the addresses of all servers, by whose places here the
	// history calls them.
	Servers []string
	// Root is the znode that has everything; "" is DefaultRoot. It must not
	// exist, but for the znodes above it.
	Root string
	// Clients is the number of sessions, which begin at the servers in turn; 0
	// is three for each server. One more at each server is a watcher.
	Clients int
	// Timeout is the session timeout; 0 is 10 seconds. Sessions that are left
	// alone have 0.4 times as much.
	Timeout time.Duration
	// Pause is between two operations of one kind at one client; 0 is 10 ms.
	Pause time.Duration
	// Slack is how much longer than its timeout a session may live once the
	// servers are left in peace; 0 is 10 seconds.
	Slack time.Duration
	Seed  uint64
	// Connect opens a connection; nil dials TCP.
	Connect func(ctx context.Context, addr string) (net.Conn, error)
}

// DefaultRoot is where the load has its znodes.
const DefaultRoot = "/coordd-chaos"

// Run is a load on its way.
type Run struct {
	opts  Options
	began time.Time
	order atomic.Int64

	clients  []*client
	watchers []*client
	loops    sync.WaitGroup
	keepers  sync.WaitGroup
	stop     context.CancelFunc // the loops
	finish   context.CancelFunc // the sessions
	made     bool               // the root is there, or may be
	above    []string           // znodes above the root that Start has made

	mu   sync.Mutex
	h    history.History
	last map[string]bool // registers that were used
}

// Start makes the tree and sets the clients going. ctx bounds the making.
func Start(ctx context.Context, opts Options) (*Run, error) {
	if len(opts.Servers) == 0 {
		return nil, errors.New("start the load: no servers")
	}
	opts.Root = cmp.Or(opts.Root, DefaultRoot)
	opts.Clients = cmp.Or(opts.Clients, 3*len(opts.Servers))
	opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	opts.Pause = cmp.Or(opts.Pause, 10*time.Millisecond)
	if opts.Connect == nil {
		opts.Connect = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	opts.Slack = cmp.Or(opts.Slack, 10*time.Second)
	r := &Run{opts: opts, began: time.Now(), last: map[string]bool{}}
	r.h.Slack = opts.Slack
	if err := r.makeTree(ctx); err != nil {
		if r.made {
			removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.Timeout)
			defer cancel()
			err = errors.Join(err, r.Remove(removing))
		}
		return nil, fmt.Errorf("make the tree of the load: %w", err)
	}
	loops, stop := context.WithCancel(context.Background())
	sessions, finish := context.WithCancel(context.Background())
	r.stop, r.finish = stop, finish
	for i := range opts.Clients {
		c := r.newClient(i, i%len(opts.Servers))
		r.clients = append(r.clients, c)
		r.keepers.Go(func() { c.keep(sessions) })
		for n, loop := range []func(context.Context, *rand.Rand){c.write, c.read, c.syncAndRead, c.lock, c.others} {
			random := rand.New(rand.NewPCG(opts.Seed, uint64(i*16+n)))
			r.loops.Go(func() { loop(loops, random) })
		}
	}
	r.loops.Go(func() { r.mortals(loops) })
	for i := range opts.Servers {
		c := r.newClient(opts.Clients+i, i)
		c.persistent = r.path("watched")
		r.watchers = append(r.watchers, c)
		r.keepers.Go(func() { c.keep(sessions) })
		r.loops.Go(func() { c.look(loops) })
	}
	return r, nil
}

// Now is the time since the history began.
func (r *Run) Now() time.Duration { return time.Since(r.began) }

// Calm says that from now on nothing is done to the servers.
func (r *Run) Calm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Calm = r.Now()
}

// Connected reports whether all clients have a server.
func (r *Run) Connected() bool {
	for _, c := range append(r.clients[:len(r.clients):len(r.clients)], r.watchers...) {
		if c.current() == nil {
			return false
		}
	}
	return true
}

// Home sends clients that have wandered back to the servers that they began at.
// Clients of ZooKeeper do not do that by themselves; it is for who does one thing
// after the other to the servers, and wants each to have clients.
func (r *Run) Home() {
	for _, c := range append(r.clients[:len(r.clients):len(r.clients)], r.watchers...) {
		c.mu.Lock()
		l := c.link
		c.goHome = l != nil && l.server != c.home
		leave := c.goHome
		c.mu.Unlock()
		if leave {
			l.HangUp()
		}
	}
}

// Snapshot is what was recorded until now, to be measured. It has no replicas,
// and operations under way are not in it.
func (r *Run) Snapshot() history.History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.h
	h.Length = r.Now()
	return h
}

func (r *Run) path(name string) string { return r.opts.Root + "/" + name }

func (r *Run) tick() int64 { return r.order.Add(1) }

func (r *Run) record(op history.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Ops = append(r.h.Ops, op)
}

// register names one of the registers whose turn it is.
func (r *Run) register(name string) string {
	path := r.path(fmt.Sprintf("registers/%d-%s", int(r.Now()/groupTurn)%groups, name))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[path] = true
	return path
}

// twins names the two registers whose turn it is that multis set together.
func (r *Run) twins() (x, y string) {
	x = r.register("x")
	return x, strings.TrimSuffix(x, "x") + "y"
}

// dial opens a session at a server, or goes on with one. spoke has when the
// server last said something.
func (r *Run) dial(ctx context.Context, server int, opts zkclient.Options) (conn *zkclient.Client, spoke *atomic.Int64, err error) {
	// As the Java client, which gives each server its share of the timeout.
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout/time.Duration(len(r.opts.Servers)))
	defer cancel()
	spoke = new(atomic.Int64)
	opts.Connect = func(ctx context.Context, addr string) (net.Conn, error) {
		nc, err := r.opts.Connect(ctx, addr)
		if err != nil {
			return nil, err
		}
		return hearing{nc, r, spoke}, nil
	}
	conn, err = zkclient.Dial(ctx, r.opts.Servers[server], opts)
	return conn, spoke, err
}

// dialAny opens a session at the first server that takes it.
func (r *Run) dialAny(ctx context.Context) (*zkclient.Client, int, error) {
	var last error
	for i := 0; ; i++ {
		server := i % len(r.opts.Servers)
		c, _, err := r.dial(ctx, server, zkclient.Options{Timeout: r.opts.Timeout})
		if err == nil {
			return c, server, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !sleep(ctx, retry) {
			return nil, 0, last
		}
	}
}

// sleep reports whether the time has passed and the context has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// makeTree creates the znodes that are there from the start to the end.
func (r *Run) makeTree(ctx context.Context) error {
	c, _, err := r.dialAny(ctx)
	if err != nil {
		return err
	}
	defer c.HangUp()
	if err := c.Sync("/"); err != nil {
		return err
	}
	for i, char := range r.opts.Root {
		if char == '/' && i > 0 {
			_, err := c.Create(r.opts.Root[:i], nil, protocol.Persistent, nil)
			switch {
			case err == nil:
				r.above = append(r.above, r.opts.Root[:i])
			case !errors.Is(err, protocol.NodeExists):
				return fmt.Errorf("create %s: %w", r.opts.Root[:i], err)
			}
		}
	}
	_, err = c.Create(r.opts.Root, nil, protocol.Persistent, nil)
	if errors.Is(err, protocol.NodeExists) {
		return fmt.Errorf("%s exists: another load runs, or one was killed; delete it or name another root", r.opts.Root)
	}
	r.made = true
	if err != nil {
		return fmt.Errorf("create %s: %w", r.opts.Root, err)
	}
	paths := []string{"registers", "appends", "multis", "locks", "ephemerals", "watched"}
	for i := range r.opts.Clients {
		paths = append(paths, fmt.Sprintf("appends/%d", i))
	}
	for g := range groups {
		for _, name := range registerNames {
			paths = append(paths, fmt.Sprintf("registers/%d-%s", g, name))
		}
	}
	var calls []*zkclient.Call
	for _, p := range paths {
		calls = append(calls, c.Go(protocol.OpCreate, &protocol.CreateRequest{Path: r.path(p), Data: []byte{}, ACL: protocol.WorldAnyone}))
	}
	for i, call := range calls {
		h, _, err := call.Wait()
		if err == nil && h.Err != protocol.OK {
			err = h.Err
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", r.path(paths[i]), err)
		}
	}
	return c.Close()
}
