//go:build bench

// Package bench runs coordd beside a real ZooKeeper 3.9.4, in turn, and compares
// what both do with what coordd has to reach. rows_test.go is the table of what
// is measured; docs/performance.md is what comes of it.
package bench

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	chosen   = flag.String("row", "", "regexp of the rows to measure, by their names in the table")
	rounds   = flag.Int("rounds", 5, "how often each side has its turn")
	duration = flag.Duration("duration", 5*time.Second, "of a load")
	page     = flag.String("page", "", "the page whose table gets the figures")
	scale    = flag.Float64("scale", 1, "of trees and numbers of sessions; to try the program out")
)

// jvm gives ZooKeeper what an operator gives it: zkprocess saves memory for
// tests. SERVER_JVMFLAGS of the caller comes last and wins.
const jvm = "-Xmx1g -XX:-UseSerialGC -XX:+UseG1GC -XX:TieredStopAtLevel=4 "

func TestMain(m *testing.M) {
	flag.Parse()
	if err := os.Setenv("SERVER_JVMFLAGS", jvm+os.Getenv("SERVER_JVMFLAGS")); err != nil {
		fmt.Fprintln(os.Stderr, "set SERVER_JVMFLAGS:", err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		sig := <-signals
		giveUp(fmt.Sprint(sig))
	}()
	// A test that runs out of time panics, and leaves its servers running.
	if limit, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String()); err == nil && limit > 0 {
		time.AfterFunc(limit*99/100, func() { giveUp(fmt.Sprintf("-timeout %v is nearly over", limit)) })
	}
	os.Exit(m.Run())
}

// started are all servers, for giveUp.
var started struct {
	sync.Mutex
	servers []*zkprocess.Server
}

// giveUp ends the servers and the process.
func giveUp(why string) {
	started.Lock() // for ever: nothing is started any more
	for _, server := range started.servers {
		server.Kill()
	}
	fmt.Fprintln(os.Stderr, "gave up:", why)
	os.Exit(1)
}

// kind is one of the two that are compared.
type kind string

const (
	coordd    kind = "coordd"
	zookeeper kind = "ZooKeeper"
)

// side is a running ensemble.
type side struct {
	kind      kind
	servers   []*zkprocess.Server
	addrs     []string
	adminPort int // 0: there is no AdminServer
}

// figures are what one run has measured, by name.
type figures map[string]float64

// scenario is one thing that is measured, from which come several rows.
type scenario struct {
	name    string
	servers int
	// own: it runs on servers of its own, started for each run; the others
	// share an ensemble, and have a run before the first that does not count.
	own    bool
	alone  bool     // coordd has no ZooKeeper beside it
	rounds int      // at most that many; 0: all
	admin  bool     // the AdminServer runs
	env    []string // of the servers, NAME=VALUE
	run    func(t *testing.T, s *side) figures
	rows   []row
}

// start runs n servers.
func start(t *testing.T, k kind, n int, admin bool, env []string) *side {
	t.Helper()
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
	program := zkprocess.Coordd(t)
	if k == zookeeper {
		program = zkprocess.ZooKeeper(t)
	}
	s := &side{kind: k}
	lines := []string{"maxClientCnxns=0"}
	if admin {
		s.adminPort = zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
		// Snapshots may be asked for as often as is wanted.
		lines = append(lines, "admin.enableServer=true", "admin.serverAddress=127.0.0.1", fmt.Sprintf("admin.serverPort=%d", s.adminPort), "admin.rateLimiterIntervalInMS=1")
	}
	func() {
		started.Lock()
		defer started.Unlock() // also when Start ends the test
		s.servers = zkprocess.Start(t, program, n, lines...)
		started.servers = append(started.servers, s.servers...)
	}()
	onDisk(t, s.servers[0].DataDir)
	for _, server := range s.servers {
		s.addrs = append(s.addrs, server.Addr())
	}
	return s
}

func (s *side) pids() []int {
	var pids []int
	for _, server := range s.servers {
		pids = append(pids, server.Pid())
	}
	return pids
}

// in is the address of a server in a mode, or of the only one.
func (s *side) in(t *testing.T, mode string) string {
	t.Helper()
	for _, server := range s.servers {
		if m := server.Mode(); m == mode || m == "standalone" {
			return server.Addr()
		}
	}
	t.Fatalf("no server of %s is a %s", s.kind, mode)
	return ""
}

// wanted are the rows of the scenario that -row names.
func (s *scenario) wanted(pattern *regexp.Regexp) []row {
	return slices.DeleteFunc(slices.Clone(s.rows), func(r row) bool { return !pattern.MatchString(s.rowName(r)) })
}

func (s *scenario) rowName(r row) string { return s.name + ": " + r.title }

func (s *scenario) kinds() []kind {
	if s.alone {
		return []kind{coordd}
	}
	return []kind{coordd, zookeeper}
}

// turns is how many rounds the scenario has.
func (s *scenario) turns() int {
	if s.rounds > 0 {
		return min(s.rounds, *rounds)
	}
	return *rounds
}

// TestTable measures each row, writes the table, and fails only where something
// could not be measured: a figure that misses its target is in the table.
func TestTable(t *testing.T) {
	pattern, err := regexp.Compile(*chosen)
	if err != nil {
		t.Fatalf("-row: %v", err)
	}
	if *page != "" && *scale != 1 {
		t.Fatal("-scale is for trying out: it does not go with -page")
	}
	var lines []line
	measured := func(s *scenario, runs map[kind][]figures) {
		for _, r := range s.wanted(pattern) {
			l := newLine(s, r, runs)
			fmt.Fprintf(os.Stderr, "%s\n", l)
			lines = append(lines, l)
		}
	}
	for _, n := range []int{1, 3} {
		shared := slices.DeleteFunc(scenarios(), func(s *scenario) bool { return s.own || s.servers != n || len(s.wanted(pattern)) == 0 })
		if len(shared) > 0 {
			t.Run(fmt.Sprintf("%d shared", n), func(t *testing.T) { runShared(t, n, shared, measured) })
		}
	}
	for _, s := range scenarios() {
		if s.own && len(s.wanted(pattern)) > 0 {
			t.Run(s.name, func(t *testing.T) { runOwn(t, s, measured) })
		}
	}
	if len(lines) == 0 && !t.Failed() {
		t.Fatalf("no row matches %q", *chosen)
	}
	fmt.Print(writeTable(inOrder(lines)))
	if *scale != 1 {
		fmt.Printf("With -scale %g: these are not the sizes that the names say.\n", *scale)
	}
	if *page != "" && !t.Failed() {
		if err := updatePage(*page, lines); err != nil {
			t.Fatal(err)
		}
	}
}

// runShared runs scenarios at ensembles that they share, A B A B.
func runShared(t *testing.T, n int, list []*scenario, measured func(*scenario, map[kind][]figures)) {
	sides := []*side{start(t, coordd, n, false, nil), start(t, zookeeper, n, false, nil)}
	for _, s := range list {
		runs := make(map[kind][]figures)
		for round := range s.turns() + 1 {
			for _, side := range sides {
				if !slices.Contains(s.kinds(), side.kind) {
					continue
				}
				fmt.Fprintf(os.Stderr, "· %s, round %d of %d, %s\n", s.name, round, s.turns(), side.kind)
				f := s.run(t, side)
				if round > 0 { // a JVM compiles what it runs often
					runs[side.kind] = append(runs[side.kind], f)
				}
			}
		}
		measured(s, runs)
	}
}

// runOwn runs a scenario at servers that are started for each run.
func runOwn(t *testing.T, s *scenario, measured func(*scenario, map[kind][]figures)) {
	runs := make(map[kind][]figures)
	for round := range s.turns() {
		for _, k := range s.kinds() {
			fmt.Fprintf(os.Stderr, "· %s, round %d of %d, %s\n", s.name, round+1, s.turns(), k)
			ok := t.Run(fmt.Sprintf("%s %d", k, round+1), func(t *testing.T) {
				runs[k] = append(runs[k], s.run(t, start(t, k, s.servers, s.admin, s.env)))
			})
			if !ok {
				return
			}
		}
	}
	measured(s, runs)
}

// scaled is a size or number for the trees and sessions of a scenario.
func scaled(n int) int { return max(int(float64(n)**scale), 10) }

// must fails the test with what was attempted.
func must(t *testing.T, err error, what string, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
}

// sample looks the servers of a side up.
func (s *side) sample(t *testing.T) bench.Sample {
	t.Helper()
	sample, err := bench.TakeSample(s.pids(), s.addrs)
	must(t, err, "look the servers of %s up", s.kind)
	return sample
}
