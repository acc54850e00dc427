package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/workload"
	"github.com/coordd/coordd/protocol"
)

// chaosCommand has an operator break a cluster of his own and learn what its
// clients had of it.
func chaosCommand() *cli.Command {
	return &cli.Command{
		Name:  "chaos",
		Usage: "load a running coordd or ZooKeeper, break it by your own commands, and check what clients were told",
		Description: "For a cluster on which nothing depends. Clients write, read, lock and watch below --root; each\n" +
			"fault is a command of yours, run by sh, against one server after the other by chance. In a\n" +
			"command {host} and {server} are that server's host and HOST:PORT; one that says {leader} is run\n" +
			"against the leader, whose host it is. --lasts later the command of --heal with the same name\n" +
			"takes it back. Without a fault this is a checker alone. Example:\n\n" +
			"   coordd chaos --servers a:2181,b:2181,c:2181 --duration 5m --every 30s \\\n" +
			"     --fault 'kill=ssh {host} sudo systemctl kill -s KILL coordd' \\\n" +
			"     --heal 'kill=ssh {host} sudo systemctl start coordd'\n\n" +
			"At the end all that clients were told is checked: linearizable registers, no acknowledged write\n" +
			"lost, doubled or out of order, exclusive locks, ephemerals, watches, whole multis, equal servers.\n" +
			"The exit code is 1 if anything is wrong. \"Others\" are clients of servers without a fault; of a\n" +
			"gap the table has the median and the longest. Everything below --root is removed at the end.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "servers", Value: "127.0.0.1:2181", Usage: "client addresses of all servers, `HOST:PORT,...`"},
			&cli.StringFlag{Name: "root", Value: workload.DefaultRoot, Usage: "a znode that is not there yet"},
			&cli.DurationFlag{Name: "duration", Value: time.Minute, Usage: "how long the load runs"},
			&cli.GenericFlag{Name: "fault", Value: new(commands), Usage: "`NAME=COMMAND` that breaks a server; may be repeated"},
			&cli.GenericFlag{Name: "heal", Value: new(commands), Usage: "`NAME=COMMAND` that takes the fault back"},
			&cli.DurationFlag{Name: "every", Value: 30 * time.Second, Usage: "from one fault to the next"},
			&cli.DurationFlag{Name: "lasts", Usage: "from a fault to its heal", DefaultText: "a third of --every"},
			&cli.IntFlag{Name: "clients", Usage: "clients, which begin at the servers in turn", DefaultText: "three for each server"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Second, Usage: "session timeout"},
			&cli.DurationFlag{Name: "pause", Value: 10 * time.Millisecond, Usage: "between two operations of one kind of a client"},
			&cli.Uint64Flag{Name: "seed", Usage: "of what is left to chance", DefaultText: "another one each time"},
		},
		Action: func(c *cli.Context) error {
			run, err := newChaosRun(c)
			if err != nil {
				return cli.Exit(err, exitInvalidArguments)
			}
			ctx, stop := benchContext(c)
			defer stop()
			return run.run(ctx)
		},
	}
}

// commands are the values of a flag that may be repeated. A StringSliceFlag would
// cut them at their commas.
type commands []string

// Set implements cli.Generic.
func (c *commands) Set(text string) error {
	*c = append(*c, text)
	return nil
}

// String implements cli.Generic.
func (c *commands) String() string { return strings.Join(*c, " ") }

// userFault is a fault of the user's.
type userFault struct {
	name, command, heal string
}

// chaosRun is one run of the command.
type chaosRun struct {
	out          io.Writer
	options      workload.Options
	duration     time.Duration
	every, lasts time.Duration
	faults       []userFault
	random       *rand.Rand
	load         *workload.Run
	figures      map[string][]workload.Figures // by fault
}

var placeholder = regexp.MustCompile(`\{[a-z]*\}`)

func newChaosRun(c *cli.Context) (*chaosRun, error) {
	r := &chaosRun{
		out: c.App.Writer, duration: c.Duration("duration"), every: c.Duration("every"), lasts: c.Duration("lasts"),
		options: workload.Options{
			Servers: strings.Split(c.String("servers"), ","), Root: c.String("root"), Clients: c.Int("clients"),
			Timeout: c.Duration("timeout"), Pause: c.Duration("pause"), Seed: c.Uint64("seed"),
		},
		figures: map[string][]workload.Figures{},
	}
	if r.lasts == 0 {
		r.lasts = r.every / 3
	}
	if !c.IsSet("seed") {
		r.options.Seed = rand.Uint64()
	}
	r.random = rand.New(rand.NewPCG(r.options.Seed, 0))
	if c.Args().Present() {
		return nil, fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())
	}
	if server := twice(r.options.Servers); server != "" {
		return nil, fmt.Errorf("--servers: %s is there twice", server)
	}
	for _, server := range r.options.Servers {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return nil, fmt.Errorf("--servers: %q is not HOST:PORT: %w", server, err)
		}
	}
	if !protocol.ValidPath(r.options.Root) || r.options.Root == "/" {
		return nil, fmt.Errorf("--root: %q is not the path of a znode that could be made and removed", r.options.Root)
	}
	for name, d := range map[string]time.Duration{"duration": r.duration, "every": r.every, "lasts": r.lasts, "timeout": r.options.Timeout, "pause": r.options.Pause} {
		if d <= 0 {
			return nil, fmt.Errorf("--%s must be above 0", name)
		}
	}
	if r.options.Clients < 0 {
		return nil, errors.New("--clients must not be below 0")
	}
	if err := r.readFaults(*c.Generic("fault").(*commands), *c.Generic("heal").(*commands)); err != nil {
		return nil, err
	}
	switch {
	case len(r.faults) == 0 && (c.IsSet("every") || c.IsSet("lasts")):
		return nil, errors.New("--every and --lasts are about faults, and there is no --fault")
	case len(r.faults) > 0 && r.lasts >= r.every:
		return nil, fmt.Errorf("--lasts %v must be below --every %v", r.lasts, r.every)
	case len(r.faults) > 0 && r.duration < r.every:
		return nil, fmt.Errorf("--duration %v is shorter than --every %v: no fault would be done", r.duration, r.every)
	}
	return r, nil
}

// readFaults takes the values of --fault and --heal.
func (r *chaosRun) readFaults(faults, heals []string) error {
	split := func(flag, text string) (name, command string, err error) {
		name, command, found := strings.Cut(text, "=")
		if !found || name == "" || strings.TrimSpace(command) == "" {
			return "", "", fmt.Errorf("--%s: %q is not NAME=COMMAND", flag, text)
		}
		for _, p := range placeholder.FindAllString(command, -1) {
			if !slices.Contains([]string{"{host}", "{server}", "{leader}"}, p) {
				return "", "", fmt.Errorf("--%s: %s: there is no %s, only {host}, {server} and {leader}", flag, name, p)
			}
		}
		return name, command, nil
	}
	place := func(name string) int {
		return slices.IndexFunc(r.faults, func(f userFault) bool { return f.name == name })
	}
	for _, text := range faults {
		name, command, err := split("fault", text)
		switch {
		case err != nil:
			return err
		case place(name) >= 0:
			return fmt.Errorf("--fault: %s is there twice", name)
		}
		r.faults = append(r.faults, userFault{name: name, command: command})
	}
	for _, text := range heals {
		name, command, err := split("heal", text)
		switch i := place(name); {
		case err != nil:
			return err
		case i < 0:
			return fmt.Errorf("--heal: there is no fault %s", name)
		case r.faults[i].heal != "":
			return fmt.Errorf("--heal: %s is there twice", name)
		default:
			r.faults[i].heal = command
		}
	}
	return nil
}

// run loads, breaks, heals, checks, tells, and removes what it has made.
func (r *chaosRun) run(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, 3*r.options.Timeout)
	defer cancel()
	load, err := workload.Start(starting, r.options)
	if err != nil {
		return err
	}
	r.load = load
	r.logf("load on %s, below %s, seed %d", strings.Join(r.options.Servers, ","), r.options.Root, r.options.Seed)
	broken := r.breakThings(ctx)
	load.Calm()
	// From here on not even an interrupt: something would be left behind.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	r.logf("the load ends; checking")
	h, unread := load.Stop(ending)
	violations := history.Check(h)
	removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	left := load.Remove(removing)
	r.tell(h, violations)
	if err := errors.Join(broken, unread, left); err != nil {
		return cli.Exit(err, exitUnexpected)
	}
	if len(violations) > 0 {
		return cli.Exit(fmt.Errorf("%d violations", len(violations)), exitUnexpected)
	}
	return nil
}

func (r *chaosRun) logf(format string, args ...any) {
	fmt.Fprintf(r.out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// breakThings does faults until the time is over or the context ends, and leaves
// none of them unhealed. A command that fails ends it.
func (r *chaosRun) breakThings(ctx context.Context) error {
	began := time.Now()
	if len(r.faults) == 0 {
		r.wait(ctx, r.duration)
		r.measure("none", 0, "")
		return nil
	}
	for n := range r.duration / r.every {
		next := began.Add((n + 1) * r.every)
		// A third of the time is for peace: what a fault does is seen against that.
		if !r.wait(ctx, (r.every-r.lasts)/3) {
			break
		}
		fault := r.faults[r.random.IntN(len(r.faults))]
		target, err := r.target(fault)
		if err != nil {
			return fmt.Errorf("fault %s: %w", fault.name, err)
		}
		from := r.load.Now()
		err = r.do(ctx, fault.name, fault.command, target)
		if err == nil {
			r.wait(ctx, r.lasts)
		}
		if fault.heal != "" {
			err = errors.Join(err, r.do(context.WithoutCancel(ctx), "heal "+fault.name, fault.heal, target))
		}
		if err != nil {
			return err
		}
		peace := r.wait(ctx, time.Until(next))
		r.measure(fault.name, from, target)
		if !peace {
			break
		}
	}
	r.wait(ctx, time.Until(began.Add(r.duration)))
	return nil
}

// wait reports whether the context did not end first.
func (r *chaosRun) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// target is the server to do a fault to.
func (r *chaosRun) target(f userFault) (string, error) {
	servers := r.options.Servers
	if !strings.Contains(f.command, "{leader}") {
		return servers[r.random.IntN(len(servers))], nil
	}
	for _, server := range servers {
		if mode, err := bench.Mode(server); err == nil && (mode == "leader" || mode == "standalone") {
			return server, nil
		}
	}
	return "", errors.New("no server says that it is the leader (srvr has to be allowed): they have not recovered from the fault before")
}

// do runs a command against a server.
func (r *chaosRun) do(ctx context.Context, name, command, server string) error {
	host, _, _ := net.SplitHostPort(server) // it was checked
	command = strings.NewReplacer("{host}", host, "{leader}", host, "{server}", server).Replace(command)
	r.logf("%s: %s", name, command)
	ctx, cancel := context.WithTimeout(ctx, max(r.every, time.Minute))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.WaitDelay = time.Second // for what it leaves behind with its output open
	if out, err := cmd.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %s: %w\n%s", name, command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// measure looks at the time since a fault was done to a server.
func (r *chaosRun) measure(fault string, from time.Duration, target string) {
	h := r.load.Snapshot()
	from = max(from, time.Second) // before that, clients were on their way
	figures := workload.Measure(&h, from, r.load.Now(), func(server int) bool { return r.options.Servers[server] == target })
	r.figures[fault] = append(r.figures[fault], figures)
}

// tell prints the table and what is wrong.
func (r *chaosRun) tell(h *history.History, violations []history.Violation) {
	t := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nfault\t"+strings.Join(workload.Columns, "\t"))
	for _, name := range append([]string{"none"}, names(r.faults)...) {
		if rounds := r.figures[name]; len(rounds) > 0 {
			fmt.Fprintln(t, name+"\t"+strings.Join(workload.Cells(rounds), "\t"))
		}
	}
	t.Flush()
	fmt.Fprintf(r.out, "\n%d operations in %v, %d sessions, %d violations\n", len(h.Ops), h.Length.Round(time.Second), len(h.Sessions), len(violations))
	for _, v := range violations {
		fmt.Fprintln(r.out, v)
	}
}

func names(faults []userFault) (list []string) {
	for _, f := range faults {
		list = append(list, f.name)
	}
	return list
}
