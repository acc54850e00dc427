package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/bench"
)

// sessionsReport is what a bench of sessions prints; the JSON is its public
// face.
type sessionsReport struct {
	What     string   `json:"what"`
	Servers  []string `json:"servers"`
	Sessions int      `json:"sessions"`
	Seconds  float64  `json:"seconds"`
	Count    int64    `json:"count"` // of what the latencies are of
	P50Us    float64  `json:"p50_us"`
	P90Us    float64  `json:"p90_us"`
	P99Us    float64  `json:"p99_us"`
	MaxUs    float64  `json:"max_us"`
	// BytesPerSession and CPUCores are of the processes given by --pid; nil
	// without.
	BytesPerSession *float64 `json:"server_bytes_per_session,omitempty"`
	CPUCores        *float64 `json:"server_cpu_cores,omitempty"`
	LoadCores       float64  `json:"load_cores"`
}

// newSessionsReport compares samples that were taken around it.
func newSessionsReport(what string, t benchTarget, sessions int, took time.Duration, l *bench.Latencies, before, after bench.Sample) *sessionsReport {
	r := &sessionsReport{
		What: what, Servers: t.servers, Sessions: sessions, Seconds: took.Seconds(), Count: l.Count(),
		P50Us: bench.Us(l.Percentile(50)), P90Us: bench.Us(l.Percentile(90)), P99Us: bench.Us(l.Percentile(99)), MaxUs: bench.Us(l.Max()),
		LoadCores: (after.Own - before.Own).Seconds() / took.Seconds(),
	}
	if len(after.Processes) > 0 {
		var bytes, cores float64
		for i, p := range after.Processes {
			bytes += float64(p.RSS-before.Processes[i].RSS) / float64(sessions)
			cores += (p.CPU - before.Processes[i].CPU).Seconds() / took.Seconds()
		}
		r.BytesPerSession, r.CPUCores = &bytes, &cores
	}
	return r
}

func (r *sessionsReport) write(c *cli.Context) error {
	if c.Bool("json") {
		return writeJSON(c.App.Writer, r)
	}
	w := c.App.Writer
	fmt.Fprintf(w, "%d sessions, %s: %.3f s\n", r.Sessions, r.What, r.Seconds)
	if r.Count > 0 {
		fmt.Fprintf(w, "of %d: p50 %s, p90 %s, p99 %s, max %s\n", r.Count, showUs(r.P50Us), showUs(r.P90Us), showUs(r.P99Us), showUs(r.MaxUs))
	}
	if r.BytesPerSession != nil {
		fmt.Fprintf(w, "servers: %.1f KiB more for each session, %.3f cores\n", *r.BytesPerSession/1024, *r.CPUCores)
	}
	_, err := fmt.Fprintf(w, "this program: %.3f cores\n", r.LoadCores)
	return err
}

// sessionsFlag is of all commands here that open sessions.
func sessionsFlag(n int) cli.Flag {
	return &cli.IntFlag{Name: "sessions", Value: n, Usage: "sessions, each on a connection of its own"}
}

// sessionsLoad is a load that only keeps its sessions alive.
func sessionsLoad(c *cli.Context) (bench.Load, benchTarget, error) {
	t, err := newBenchTarget(c)
	if err == nil && c.Int("sessions") < 1 {
		err = errors.New("--sessions must be at least 1")
	}
	if err != nil {
		return bench.Load{}, t, cli.Exit(err, exitInvalidArguments)
	}
	return bench.Load{Servers: t.servers, Sessions: c.Int("sessions"), Duration: 1 << 62, Timeout: t.timeout}, t, nil
}

func benchWatchesCommand() *cli.Command {
	return &cli.Command{
		Name:  "watches",
		Usage: "how long one change takes until all sessions that watch it are told",
		Flags: append(benchTargetFlags(), sessionsFlag(2000),
			&cli.IntFlag{Name: "changes", Value: 20, Usage: "how often"},
			&cli.IntFlag{Name: "size", Value: 100, Usage: "bytes of data in the znode"}),
		Action: func(c *cli.Context) (err error) {
			load, t, err := sessionsLoad(c)
			if err != nil {
				return err
			}
			changes, size := c.Int("changes"), c.Int("size")
			if changes < 1 || size < 0 || size > 1<<20 {
				return cli.Exit("--changes must be at least 1, and --size from 0 to 1048576", exitInvalidArguments)
			}
			load.Data = randomBytes(size)
			ctx, stop := benchContext(c)
			defer stop()
			site, err := bench.NewSite(ctx, t.servers, t.timeout)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, site.Remove()) }()
			keys, err := site.Fill(ctx, 1, load.Data, bench.One)
			if err != nil {
				return err
			}
			before, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			start := time.Now()
			times, err := bench.FanOut(ctx, load, keys.Path(0), changes)
			if err != nil {
				return err
			}
			took := time.Since(start)
			after, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			return newSessionsReport("times until the last was told of a change", t, load.Sessions, took, times, before, after).write(c)
		},
	}
}

func benchConnectCommand() *cli.Command {
	return &cli.Command{
		Name:  "connect",
		Usage: "how long many sessions take that all connect at once",
		Flags: append(benchTargetFlags(), sessionsFlag(1000)),
		Action: func(c *cli.Context) error {
			load, t, err := sessionsLoad(c)
			if err != nil {
				return err
			}
			load.Connecting = load.Sessions
			ctx, stop := benchContext(c)
			defer stop()
			before, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			r, err := bench.Start(ctx, &load)
			if err != nil {
				return err
			}
			after, err := bench.TakeSample(t.pids, nil)
			r.Close()
			if err != nil {
				return err
			}
			return newSessionsReport("until all were open", t, load.Sessions, r.Connected, bench.LatenciesOf(r.ConnectTimes), before, after).write(c)
		},
	}
}

func benchIdleCommand() *cli.Command {
	return &cli.Command{
		Name:  "idle",
		Usage: "what sessions cost that only ping; needs --pid",
		Flags: append(benchTargetFlags(), sessionsFlag(1000),
			&cli.DurationFlag{Name: "duration", Value: 60 * time.Second, Usage: "how long they stay"}),
		Action: func(c *cli.Context) error {
			load, t, err := sessionsLoad(c)
			if err != nil {
				return err
			}
			if len(t.pids) == 0 {
				return cli.Exit("idle needs --pid: nothing else shows what a session costs", exitInvalidArguments)
			}
			load.Duration = c.Duration("duration")
			ctx, stop := benchContext(c)
			defer stop()
			empty, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			r, err := bench.Start(ctx, &load)
			if err != nil {
				return err
			}
			defer r.Close()
			start := time.Now()
			before, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			done := showProgress(func() string { return fmt.Sprintf("%d sessions ping", load.Sessions) })
			r.Wait()
			done()
			took := time.Since(start)
			after, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			// CPU is of the pings alone, memory of the sessions as well.
			for i := range before.Processes {
				before.Processes[i].RSS = empty.Processes[i].RSS
			}
			return newSessionsReport("idle", t, load.Sessions, took, new(bench.Latencies), before, after).write(c)
		},
	}
}

func benchPreloadCommand() *cli.Command {
	return &cli.Command{
		Name:  "preload",
		Usage: "fill a tree with many znodes, in directories of 1,000, and leave them there",
		Flags: append(benchTargetFlags(),
			&cli.IntFlag{Name: "count", Value: 1_000_000, Usage: "znodes"},
			&cli.IntFlag{Name: "size", Value: 100, Usage: "bytes of data in each"},
			&cli.StringFlag{Name: "dir", Value: bench.Root + "/tree", Usage: "`PATH` of the tree, which is not there yet"},
			&cli.BoolFlag{Name: "remove", Usage: "remove a tree of that count instead"}),
		Action: func(c *cli.Context) error {
			t, err := newBenchTarget(c)
			tree := bench.Tree{Dir: c.String("dir"), Count: c.Int("count")}
			if size := c.Int("size"); err == nil && (tree.Count < 1 || size < 0 || size > 1<<20) {
				err = errors.New("--count must be at least 1, and --size from 0 to 1048576")
			}
			if err != nil {
				return cli.Exit(err, exitInvalidArguments)
			}
			tree.Data = randomBytes(c.Int("size"))
			ctx, stop := benchContext(c)
			defer stop()
			before, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			var n atomic.Int64
			start := time.Now()
			done := showProgress(func() string { return fmt.Sprintf("%d of %d znodes", n.Load(), tree.Count) })
			if c.Bool("remove") {
				err = tree.Remove(ctx, t.servers, t.timeout, &n)
			} else {
				err = tree.Load(ctx, t.servers, t.timeout, &n)
			}
			done()
			took := time.Since(start)
			if err != nil {
				return err
			}
			after, err := bench.TakeSample(t.pids, nil)
			if err != nil {
				return err
			}
			return newPreloadReport(tree, took, before, after).write(c)
		},
	}
}

// preloadReport is what a preload prints; the JSON is its public face.
type preloadReport struct {
	Dir     string  `json:"dir"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	// BytesPerZnode is by how much the processes given by --pid grew; nil
	// without.
	BytesPerZnode []float64 `json:"server_bytes_per_znode,omitempty"`
}

func newPreloadReport(tree bench.Tree, took time.Duration, before, after bench.Sample) *preloadReport {
	r := &preloadReport{Dir: tree.Dir, Count: tree.Count, Seconds: took.Seconds()}
	for i, p := range after.Processes {
		r.BytesPerZnode = append(r.BytesPerZnode, float64(p.RSS-before.Processes[i].RSS)/float64(tree.Count))
	}
	return r
}

func (r *preloadReport) write(c *cli.Context) error {
	if c.Bool("json") {
		return writeJSON(c.App.Writer, r)
	}
	fmt.Fprintf(c.App.Writer, "%d znodes in %s: %.1f s, %.0f a second\n", r.Count, r.Dir, r.Seconds, float64(r.Count)/r.Seconds)
	for _, bytes := range r.BytesPerZnode {
		fmt.Fprintf(c.App.Writer, "%.0f bytes of memory more for each znode\n", bytes)
	}
	return nil
}
