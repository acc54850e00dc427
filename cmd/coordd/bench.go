package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// benchRoot holds all that a bench creates.
const benchRoot = "/coordd-bench"

// benchOps are the loads that --ops may name: the share of reads, in percent,
// or a create each.
var benchOps = map[string]struct {
	reads  int
	create bool
}{
	"set":    {},
	"get":    {reads: 100},
	"mixed":  {reads: 90},
	"create": {create: true},
}

// benchCommand measures a running ensemble, coordd or ZooKeeper.
func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure throughput and latency of a running coordd or ZooKeeper, or compare several",
		Description: "A closed loop: each session keeps its share of --outstanding requests under way and\n" +
			"sends the next one when a reply comes. Sessions are spread over the servers in turn.\n" +
			"Data is kept under " + benchRoot + " and removed at the end. Errors are not in the latencies.\n" +
			"fsyncs/1000 is known where servers answer mntr with zk_coordd_log_stores; it counts what\n" +
			"every server stored in its log, for each 1,000 operations of the whole bench.\n\n" +
			"With --compare twice or more, each load runs at one target after the other, --rounds times\n" +
			"in turn after a round that does not count. Figures are then medians over the rounds, and\n" +
			"ratios are of the first target's operations per second to each other's:\n\n" +
			"   coordd bench --ops get,set,create,mixed --compare coordd=HOST:2181 --compare zookeeper=HOST:2181",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "servers", Value: "127.0.0.1:2181", Usage: "client addresses, `HOST:PORT,...`"},
			&cli.StringSliceFlag{Name: "compare", Usage: "instead of --servers, a target by a name: `NAME=HOST:PORT,...`; may be repeated"},
			&cli.IntFlag{Name: "rounds", Value: 3, Usage: "how often each target of --compare has its turn"},
			&cli.StringFlag{Name: "ops", Value: "set", Usage: "loads, one after another: set, create, get, mixed (90% get, 10% set)"},
			&cli.IntFlag{Name: "sessions", Value: 8, Usage: "sessions, each on a connection of its own"},
			&cli.IntFlag{Name: "outstanding", Value: 64, Usage: "requests under way, over all sessions"},
			&cli.IntFlag{Name: "size", Value: 100, Usage: "bytes of data in a znode"},
			&cli.DurationFlag{Name: "duration", Value: 10 * time.Second, Usage: "how long each load runs"},
			&cli.Int64Flag{Name: "requests", Usage: "requests of each load, instead of a duration", DefaultText: "no limit"},
			&cli.IntFlag{Name: "keys", Value: 1000, Usage: "znodes that set, get and mixed choose from"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "session timeout"},
			&cli.BoolFlag{Name: "per-server", Usage: "show each server, too"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON instead of a table"},
		},
		Action: func(c *cli.Context) error {
			b, err := newBench(c)
			if err != nil {
				return cli.Exit(err, exitInvalidArguments)
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			// The first signal ends the loads and cleans up, the second one kills.
			context.AfterFunc(ctx, stop)
			if b.targets != nil {
				comparison, err := b.compare(ctx)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return comparison.writeJSON(c.App.Writer)
				}
				return comparison.writeTable(c.App.Writer)
			}
			report, err := b.run(ctx)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return report.writeJSON(c.App.Writer)
			}
			return report.writeTable(c.App.Writer, c.Bool("per-server"))
		},
	}
}

// bench is one run of the command.
type bench struct {
	servers     []string
	targets     []benchTarget // to compare, instead of servers
	rounds      int
	ops         []string
	sessions    int
	outstanding int
	keys        int
	requests    int64 // 0: as many as fit into duration
	duration    time.Duration
	timeout     time.Duration
	data        []byte
	dir         string // of this run, below benchRoot
}

func newBench(c *cli.Context) (*bench, error) {
	if c.Args().Present() {
		return nil, fmt.Errorf("bench takes no argument %q: use --servers or --compare", c.Args().First())
	}
	b := &bench{
		servers:     strings.Split(c.String("servers"), ","),
		ops:         strings.Split(c.String("ops"), ","),
		sessions:    c.Int("sessions"),
		outstanding: c.Int("outstanding"),
		keys:        c.Int("keys"),
		requests:    c.Int64("requests"),
		duration:    c.Duration("duration"),
		timeout:     c.Duration("timeout"),
		rounds:      c.Int("rounds"),
	}
	var err error
	if b.targets, err = parseTargets(c.StringSlice("compare")); err != nil {
		return nil, err
	}
	for _, op := range b.ops {
		if _, ok := benchOps[op]; !ok {
			return nil, fmt.Errorf("--ops: %q is none of set, create, get, mixed", op)
		}
	}
	if server := twice(b.servers); server != "" {
		return nil, fmt.Errorf("--servers: %s is there twice", server)
	}
	size := c.Int("size")
	switch {
	case b.sessions < 1 || b.outstanding < b.sessions:
		return nil, errors.New("--sessions must be at least 1, and --outstanding at least as many")
	case size < 0 || size > 1<<20:
		return nil, errors.New("--size must be from 0 to 1048576")
	case b.keys < 1:
		return nil, errors.New("--keys must be at least 1")
	case b.requests < 0 || b.requests == 0 && b.duration <= 0:
		return nil, errors.New("--requests or --duration must be above 0")
	case b.rounds < 1:
		return nil, errors.New("--rounds must be at least 1")
	case b.targets != nil && c.IsSet("servers"):
		return nil, errors.New("--servers and --compare exclude each other")
	case b.targets != nil && c.Bool("per-server"):
		return nil, errors.New("--per-server and --compare exclude each other")
	case b.timeout <= 0:
		return nil, errors.New("--timeout must be above 0")
	}
	b.data = make([]byte, size)
	for i := range b.data {
		b.data[i] = byte(rand.Uint32())
	}
	return b, nil
}

// twice is an element that a list has more than once; "" without one.
func twice(list []string) string {
	for i, e := range list {
		if slices.Contains(list[:i], e) {
			return e
		}
	}
	return ""
}

// run runs the loads, and removes the znodes even when ctx ends early; what was
// measured until then is in the report.
func (b *bench) run(ctx context.Context) (report *benchReport, err error) {
	at, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.end()) }()
	report = b.newReport()
	for _, op := range b.ops {
		if ctx.Err() != nil {
			break
		}
		result, err := at.load(ctx, op)
		if err != nil {
			return nil, err
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// benchSite is where a bench keeps its znodes, from begin to end.
type benchSite struct {
	bench   *bench
	client  *zkclient.Client
	workers []*benchWorker // of all loads
}

// begin sets the znodes up.
func (b *bench) begin(ctx context.Context) (*benchSite, error) {
	c, err := zkclient.Dial(ctx, b.servers[0], zkclient.Options{Timeout: b.timeout})
	if err != nil {
		return nil, err
	}
	b.dir = fmt.Sprintf("%s/%016x", benchRoot, uint64(c.SessionID()))
	at := &benchSite{bench: b, client: c}
	if err := b.setUp(c); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", b.dir, err), at.end())
	}
	return at, nil
}

// end removes the znodes.
func (at *benchSite) end() error {
	at.client.Close()
	if err := at.bench.clean(at.workers); err != nil {
		return fmt.Errorf("remove %s: %w", at.bench.dir, err)
	}
	return nil
}

func (at *benchSite) load(ctx context.Context, op string) (*benchResult, error) {
	workers := at.bench.newWorkers(op, len(at.workers))
	at.workers = append(at.workers, workers...)
	result, err := at.bench.load(ctx, op, workers)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", op, err)
	}
	return result, nil
}

func (b *bench) key(i int) string { return fmt.Sprintf("%s/k%d", b.dir, i) }

func (b *bench) setUp(c *zkclient.Client) error {
	if _, err := c.Create(benchRoot, nil, protocol.Persistent, nil); err != nil && !errors.Is(err, protocol.NodeExists) {
		return err
	}
	if _, err := c.Create(b.dir, nil, protocol.Persistent, nil); err != nil {
		return err
	}
	if !slices.ContainsFunc(b.ops, func(op string) bool { return !benchOps[op].create }) {
		return nil
	}
	return pipelined(c, b.keys, protocol.OK, func(i int) (protocol.OpCode, protocol.Record) {
		return protocol.OpCreate, &protocol.CreateRequest{Path: b.key(i), Data: b.data, ACL: protocol.WorldAnyone}
	})
}

// pipelined sends n requests and waits for all of them; the first answer
// other than OK and tolerated is the error.
func pipelined(c *zkclient.Client, n int, tolerated protocol.ErrCode, request func(int) (protocol.OpCode, protocol.Record)) error {
	const window = 256
	var calls [window]*zkclient.Call
	var first error
	for i := range n + window {
		if call := calls[i%window]; call != nil {
			calls[i%window] = nil
			h, _, err := call.Wait()
			if err == nil && h.Err != protocol.OK && h.Err != tolerated {
				err = h.Err
			}
			if first == nil {
				first = err
			}
		}
		if i < n && first == nil {
			calls[i%window] = c.Go(request(i))
		}
	}
	return first
}

// clean removes what the run created. It knows all names, since a listing of
// many znodes can be too long for a reply.
func (b *bench) clean(workers []*benchWorker) error {
	var c *zkclient.Client
	var err error
	for _, addr := range b.servers {
		if c, err = zkclient.Dial(context.Background(), addr, zkclient.Options{Timeout: b.timeout}); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	for _, w := range workers {
		err = errors.Join(err, pipelined(c, w.created, protocol.NoNode, func(i int) (protocol.OpCode, protocol.Record) {
			return protocol.OpDelete, &protocol.DeleteRequest{Path: w.fresh(i), Version: protocol.AnyVersion}
		}))
	}
	err = errors.Join(err, pipelined(c, b.keys, protocol.NoNode, func(i int) (protocol.OpCode, protocol.Record) {
		return protocol.OpDelete, &protocol.DeleteRequest{Path: b.key(i), Version: protocol.AnyVersion}
	}))
	if dirErr := c.Delete(b.dir, protocol.AnyVersion); dirErr != nil && !errors.Is(dirErr, protocol.NoNode) {
		err = errors.Join(err, dirErr)
	}
	// NotEmpty: another bench is running.
	rootErr := c.Delete(benchRoot, protocol.AnyVersion)
	if rootErr != nil && !errors.Is(rootErr, protocol.NotEmpty) && !errors.Is(rootErr, protocol.NoNode) {
		err = errors.Join(err, rootErr)
	}
	return err
}

// benchWorker is one session of one load. It is used by one goroutine.
type benchWorker struct {
	bench   *bench
	id      int // among all sessions of the run
	server  string
	op      string
	window  int
	left    *atomic.Int64 // requests that the load may still send; nil: no limit
	random  *rand.Rand
	created int // creates sent

	latency histogram
	errors  int64
	example error // the first of errors
}

func (b *bench) newWorkers(op string, firstID int) []*benchWorker {
	var left *atomic.Int64
	if b.requests > 0 {
		left = new(atomic.Int64)
		left.Store(b.requests)
	}
	workers := make([]*benchWorker, b.sessions)
	for i := range workers {
		window := b.outstanding / b.sessions
		if i < b.outstanding%b.sessions {
			window++
		}
		workers[i] = &benchWorker{
			bench: b, id: firstID + i, server: b.servers[i%len(b.servers)], op: op,
			window: window, left: left, random: rand.New(rand.NewPCG(uint64(i), 0)),
		}
	}
	return workers
}

// load runs one load and reports on it.
func (b *bench) load(ctx context.Context, op string, workers []*benchWorker) (*benchResult, error) {
	clients := make([]*zkclient.Client, len(workers))
	for i, w := range workers {
		c, err := w.dial(ctx)
		if err != nil {
			for _, c := range clients[:i] {
				c.Close()
			}
			return nil, err
		}
		clients[i] = c
	}
	before := logStores(b.servers)
	start := time.Now()
	var cancel context.CancelFunc = func() {}
	if b.requests == 0 {
		ctx, cancel = context.WithTimeout(ctx, b.duration)
	}
	defer cancel()
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { clients[i] = w.run(ctx, clients[i]) })
	}
	wg.Wait()
	elapsed := time.Since(start)
	after := logStores(b.servers)
	for _, c := range clients {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
	return newBenchResult(op, b.servers, workers, elapsed, before, after), nil
}

// dial opens a session that sees the znodes which the bench has set up.
func (w *benchWorker) dial(ctx context.Context) (*zkclient.Client, error) {
	c, err := zkclient.Dial(ctx, w.server, zkclient.Options{Timeout: w.bench.timeout, Window: w.window})
	if err != nil {
		return nil, err
	}
	if err := c.Sync(w.bench.dir); err != nil {
		c.HangUp()
		return nil, fmt.Errorf("sync at %s: %w", w.server, err)
	}
	return c, nil
}

// run sends requests until ctx ends or none are left. When the connection is
// lost it opens another session at the same server; the last client is the
// caller's to close.
func (w *benchWorker) run(ctx context.Context, c *zkclient.Client) *zkclient.Client {
	for w.pump(ctx, c) {
		c.HangUp()
		again, err := w.dial(ctx)
		for err != nil {
			select {
			case <-ctx.Done():
				return c
			case <-time.After(100 * time.Millisecond):
			}
			again, err = w.dial(ctx)
		}
		c = again
	}
	return c
}

// pump keeps the window full and reports whether the connection was lost.
func (w *benchWorker) pump(ctx context.Context, c *zkclient.Client) (lost bool) {
	// A server without a quorum may keep requests for ever.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(w.bench.timeout, c.HangUp) })
	defer stop()
	var flight []*zkclient.Call
	for {
		for !lost && len(flight) < w.window && w.next(ctx) {
			flight = append(flight, c.Go(w.request()))
		}
		if len(flight) == 0 {
			return lost && ctx.Err() == nil
		}
		call := flight[0]
		flight = flight[1:]
		h, _, err := call.Wait()
		lost = lost || err != nil
		if err == nil && h.Err != protocol.OK {
			err = h.Err
		}
		if err == nil {
			w.latency.add(call.Latency())
			continue
		}
		w.errors++
		if w.example == nil {
			w.example = err
		}
	}
}

func (w *benchWorker) next(ctx context.Context) bool {
	return ctx.Err() == nil && (w.left == nil || w.left.Add(-1) >= 0)
}

// fresh is the path of the worker's i-th create.
func (w *benchWorker) fresh(i int) string { return fmt.Sprintf("%s/c%d-%d", w.bench.dir, w.id, i) }

func (w *benchWorker) request() (protocol.OpCode, protocol.Record) {
	kind := benchOps[w.op]
	if kind.create {
		w.created++
		return protocol.OpCreate, &protocol.CreateRequest{Path: w.fresh(w.created - 1), Data: w.bench.data, ACL: protocol.WorldAnyone}
	}
	path := w.bench.key(w.random.IntN(w.bench.keys))
	if w.random.IntN(100) < kind.reads {
		return protocol.OpGetData, &protocol.PathWatchRequest{Path: path}
	}
	return protocol.OpSetData, &protocol.SetDataRequest{Path: path, Data: w.bench.data, Version: protocol.AnyVersion}
}
