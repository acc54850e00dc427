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
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/bench"
)

// benchCommand measures a running ensemble, coordd or ZooKeeper.
func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure a running coordd or ZooKeeper, or compare several",
		Description: "Sessions are spread over the servers in turn. Without --rate each keeps its share of\n" +
			"--outstanding requests under way and sends the next one when a reply comes. With --rate\n" +
			"requests are due at even times, and latencies run from when they were due: a server that\n" +
			"stalls shows in all that should have been sent meanwhile.\n\n" +
			"--ops are loads, one after another: " + strings.Join(bench.KindNames(), ", ") + ";\n" +
			"neighbours with weights are one load: get=90,set=10 (also called mixed). delete deletes what\n" +
			"its session has created, and creates where nothing is left; multi has --multi sets.\n\n" +
			"Data is kept under " + bench.Root + " and removed at the end. Errors are not in the latencies.\n" +
			"fsyncs/1000 counts the log syncs of all servers for 1,000 operations; it is known where mntr is\n" +
			"allowed. CPU and memory of servers on this machine are shown with --pid.\n" +
			"A session whose server dies goes on at the next one, and \"longest without an answer\" tells how\n" +
			"long that took: kill a server during a load to see it.\n\n" +
			"With --compare twice or more, each load runs at one target after the other, --rounds times\n" +
			"in turn after a round that does not count. Figures are then medians over the rounds, and\n" +
			"ratios are of the first target's operations per second to each other's:\n\n" +
			"   coordd bench --ops get,set,create,mixed --compare coordd=HOST:2181 --compare zookeeper=HOST:2181",
		Flags: append(benchTargetFlags(),
			&cli.StringSliceFlag{Name: "compare", Usage: "instead of --servers, a target by a name: `NAME=HOST:PORT,...`; may be repeated"},
			&cli.IntFlag{Name: "rounds", Value: 3, Usage: "how often each target of --compare has its turn"},
			&cli.StringFlag{Name: "ops", Value: "set", Usage: "loads, one after another; see above"},
			&cli.IntFlag{Name: "sessions", Value: 8, Usage: "sessions, each on a connection of its own"},
			&cli.IntFlag{Name: "outstanding", Value: 64, Usage: "requests under way at most, over all sessions"},
			&cli.Float64Flag{Name: "rate", Usage: "requests due a second, over all sessions", DefaultText: "as many as are answered"},
			&cli.IntFlag{Name: "size", Value: 100, Usage: "bytes of data in a znode"},
			&cli.IntFlag{Name: "multi", Value: 10, Usage: "sets in a multi"},
			&cli.DurationFlag{Name: "duration", Value: 10 * time.Second, Usage: "how long each load runs"},
			&cli.Int64Flag{Name: "requests", Usage: "requests of each load, instead of a duration", DefaultText: "no limit"},
			&cli.IntFlag{Name: "keys", Value: 1000, Usage: "znodes to choose from"},
			&cli.StringFlag{Name: "keys-by", Value: string(bench.Uniform), Usage: "how often each is chosen: uniform, zipf, one"},
			&cli.BoolFlag{Name: "per-server", Usage: "show each server, too"},
		),
		Subcommands: []*cli.Command{benchWatchesCommand(), benchConnectCommand(), benchIdleCommand(), benchPreloadCommand()},
		Action:      benchAction,
	}
}

// benchTargetFlags say what to measure, for all commands.
func benchTargetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "servers", Value: "127.0.0.1:2181", Usage: "client addresses, `HOST:PORT,...`"},
		&cli.StringFlag{Name: "at", Value: "all", Usage: "which of them to use: all, leader, followers"},
		&cli.IntSliceFlag{Name: "pid", Usage: "process of a server on this machine, for its CPU and memory; `PID,...`"},
		&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "session timeout"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON instead of a table"},
	}
}

// benchContext ends with the first signal, so that what was created is removed;
// a second one kills.
func benchContext(c *cli.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func benchAction(c *cli.Context) error {
	b, err := newBenchRun(c)
	if err != nil {
		return cli.Exit(err, exitInvalidArguments)
	}
	ctx, stop := benchContext(c)
	defer stop()
	if b.targets != nil {
		comparison, err := b.compare(ctx)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return writeJSON(c.App.Writer, comparison)
		}
		return comparison.writeTable(c.App.Writer)
	}
	report, err := b.run(ctx)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, report)
	}
	return report.writeTable(c.App.Writer, c.Bool("per-server"))
}

// benchTarget is what a command measures.
type benchTarget struct {
	name    string
	servers []string
	pids    []int
	timeout time.Duration
}

// newBenchTarget takes the values of benchTargetFlags.
func newBenchTarget(c *cli.Context) (t benchTarget, err error) {
	t = benchTarget{servers: strings.Split(c.String("servers"), ","), pids: c.IntSlice("pid"), timeout: c.Duration("timeout")}
	switch {
	case c.Args().Present():
		return t, fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())
	case t.timeout <= 0:
		return t, errors.New("--timeout must be above 0")
	}
	if server := twice(t.servers); server != "" {
		return t, fmt.Errorf("--servers: %s is there twice", server)
	}
	for _, pid := range t.pids {
		if _, err := bench.ReadProcess(pid); err != nil {
			return t, fmt.Errorf("--pid: %w", err)
		}
	}
	at := c.String("at")
	if !slices.Contains([]string{"all", "leader", "followers"}, at) {
		return t, fmt.Errorf("--at: %q is none of all, leader, followers", at)
	}
	if at != "all" {
		t.servers, err = serversWith(t.servers, strings.TrimSuffix(at, "s"))
	}
	return t, err
}

// serversWith are those that say they are in a mode.
func serversWith(servers []string, mode string) ([]string, error) {
	var with []string
	for _, addr := range servers {
		m, err := bench.Mode(addr)
		if err != nil {
			return nil, err
		}
		if m == mode {
			with = append(with, addr)
		}
	}
	if with == nil {
		return nil, fmt.Errorf("none of %s is a %s", strings.Join(servers, ","), mode)
	}
	return with, nil
}

// benchRun is one run of the command.
type benchRun struct {
	benchTarget
	targets []benchTarget // to compare, instead
	rounds  int
	loads   []bench.Mix
	load    bench.Load // all but what a target and a site give it
	keys    int
	spread  bench.Spread
}

func newBenchRun(c *cli.Context) (*benchRun, error) {
	target, err := newBenchTarget(c)
	if err != nil {
		return nil, err
	}
	b := &benchRun{
		benchTarget: target, rounds: c.Int("rounds"), keys: c.Int("keys"), spread: bench.Spread(c.String("keys-by")),
		load: bench.Load{
			Sessions: c.Int("sessions"), Outstanding: c.Int("outstanding"), Rate: c.Float64("rate"), Duration: c.Duration("duration"),
			Requests: c.Int64("requests"), MultiSize: c.Int("multi"), Timeout: target.timeout,
		},
	}
	if b.targets, err = parseTargets(c.StringSlice("compare")); err != nil {
		return nil, err
	}
	if b.loads, err = parseLoads(c.String("ops")); err != nil {
		return nil, fmt.Errorf("--ops: %w", err)
	}
	size := c.Int("size")
	switch {
	case b.load.Sessions < 1 || b.load.Outstanding < b.load.Sessions:
		return nil, errors.New("--sessions must be at least 1, and --outstanding at least as many")
	case size < 0 || size > 1<<20:
		return nil, errors.New("--size must be from 0 to 1048576")
	case b.keys < 1:
		return nil, errors.New("--keys must be at least 1")
	case !slices.Contains([]bench.Spread{bench.Uniform, bench.Zipf, bench.One}, b.spread):
		return nil, fmt.Errorf("--keys-by: %q is none of uniform, zipf, one", b.spread)
	case b.load.Rate < 0:
		return nil, errors.New("--rate must not be below 0")
	case b.load.MultiSize < 1:
		return nil, errors.New("--multi must be at least 1")
	case b.load.Requests < 0 || b.load.Requests == 0 && b.load.Duration <= 0:
		return nil, errors.New("--requests or --duration must be above 0")
	case b.rounds < 1:
		return nil, errors.New("--rounds must be at least 1")
	}
	if b.targets != nil {
		for _, flag := range []string{"servers", "at", "pid", "per-server"} {
			if c.IsSet(flag) {
				return nil, fmt.Errorf("--%s and --compare exclude each other", flag)
			}
		}
		for i := range b.targets {
			b.targets[i].timeout = b.timeout
		}
	}
	b.load.Data = randomBytes(size)
	return b, nil
}

// randomBytes do not compress.
func randomBytes(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	return data
}

// parseLoads takes the value of --ops.
func parseLoads(text string) ([]bench.Mix, error) {
	var loads []bench.Mix
	var weighted []string
	parse := func(text string) error {
		mix, err := bench.ParseMix(text)
		loads = append(loads, mix)
		return err
	}
	for part := range strings.SplitSeq(text, ",") {
		if strings.Contains(part, "=") {
			weighted = append(weighted, part)
			continue
		}
		if weighted != nil {
			if err := parse(strings.Join(weighted, ",")); err != nil {
				return nil, err
			}
			weighted = nil
		}
		if part == "mixed" {
			part = "get=90,set=10"
		}
		if err := parse(part); err != nil {
			return nil, err
		}
	}
	if weighted == nil {
		return loads, nil
	}
	err := parse(strings.Join(weighted, ","))
	return loads, err
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
func (b *benchRun) run(ctx context.Context) (report *benchReport, err error) {
	at, err := b.begin(ctx, b.benchTarget)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.site.Remove()) }()
	report = &benchReport{
		Servers: b.servers, Sessions: b.load.Sessions, Outstanding: b.load.Outstanding, Rate: b.load.Rate,
		Size: len(b.load.Data), Keys: b.keys, KeysBy: b.spread,
	}
	for _, mix := range b.loads {
		if ctx.Err() != nil {
			break
		}
		result, err := at.measure(ctx, mix)
		if err != nil {
			return nil, err
		}
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// benchSite is a target while it is measured.
type benchSite struct {
	run    *benchRun
	target benchTarget
	site   *bench.Site
	keys   bench.Keys
}

// begin sets the znodes up.
func (b *benchRun) begin(ctx context.Context, target benchTarget) (*benchSite, error) {
	site, err := bench.NewSite(ctx, target.servers, target.timeout)
	if err != nil {
		return nil, err
	}
	at := &benchSite{run: b, target: target, site: site}
	if slices.ContainsFunc(b.loads, bench.Mix.Keyed) {
		if at.keys, err = site.Fill(ctx, b.keys, b.load.Data, b.spread); err != nil {
			return nil, errors.Join(err, site.Remove())
		}
	}
	return at, nil
}

// measure runs one load and cleans up behind it.
func (at *benchSite) measure(ctx context.Context, mix bench.Mix) (*benchResult, error) {
	load := at.run.load
	load.Servers, load.Keys, load.Mix = at.target.servers, at.keys, mix
	var err error
	if load.Dir, err = at.site.LoadDir(ctx); err != nil {
		return nil, err
	}
	r, err := bench.Start(ctx, &load)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", mix, err)
	}
	before, err := bench.TakeSample(at.target.pids, at.target.servers)
	if err != nil {
		r.Close()
		return nil, errors.Join(err, at.site.Clean(r))
	}
	done := showProgress(func() string {
		ok, failed := r.Answered()
		return fmt.Sprintf("%v: %d answered, %d failed", mix, ok, failed)
	})
	r.Wait()
	done()
	result := &benchResult{Result: r.Take()}
	after, err := bench.TakeSample(at.target.pids, at.target.servers)
	r.Close()
	if err == nil {
		result.Cost = bench.NewCost(before, after, result.Result)
	}
	return result, errors.Join(err, at.site.Clean(r))
}
