//go:build differential

// Package differential holds the tests that send the same requests to a real
// ZooKeeper 3.9.4 and to coordd, and compare all that comes back: replies,
// Stats, errors, zxids, watch events and their place in the stream, closed
// connections, and the tree that is left. Programs of raw requests come from
// seeds; one that shows a difference is shrunk and printed.
//
//	COORDD_BIN=$PWD/bin/coordd go test -tags differential ./test/differential
//	... -timeout 2h -args -seeds 5000 -requests 200   longer
//	... -run Standalone -args -seed 17 -seeds 1       one program again
//
// As it stands a run takes three minutes on two cores. Requests that kill or
// wedge a real ZooKeeper are not sent; they are on the list in
// docs/compatibility.md, and have tests of their own beside the code.
package differential

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

var (
	firstSeed = flag.Uint64("seed", 1, "seed of the first program")
	seeds     = flag.Int("seeds", 0, "programs a test; 0 takes the test's own number")
	requests  = flag.Int("requests", 150, "requests a program, about")
)

// maxDifferences is how many programs with differences a test shows.
const maxDifferences = 6

// settings are the zoo.cfg lines of all servers. Nothing happens by itself
// while a program runs: sessions last, and no container is looked for.
var settings = []string{
	"forceSync=no", "maxClientCnxns=0", "minSessionTimeout=20000", "maxSessionTimeout=60000", "extendedTypesEnabled=true",
	"DigestAuthenticationProvider.superDigest=" + superDigest,
}

func TestMain(m *testing.M) {
	flag.Parse()
	// ZooKeeper takes this one as a JVM property only.
	os.Setenv("SERVER_JVMFLAGS", "-Xmx1g -Dznode.container.checkIntervalMs=2147483647")
	if _, err := os.Stat("/dev/shm"); err == nil && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/dev/shm") // disks only make this slow
	}
	os.Exit(m.Run())
}

// pair is two servers under comparison.
type pair struct {
	t     *testing.T
	start [2]func(t *testing.T) *side
	sides [2]*side
}

func (p *pair) restart() {
	var started sync.WaitGroup
	for i := range p.sides {
		if p.sides[i] != nil {
			p.sides[i].stop()
		}
		started.Go(func() { p.sides[i] = p.start[i](p.t) })
	}
	started.Wait()
}

// run runs a program on both sides at once and compares.
func (p *pair) run(prog *program) (*difference, [2]transcript, error) {
	var outs [2]*outcome
	var errs [2]error
	var done sync.WaitGroup
	for i, s := range p.sides {
		done.Go(func() { outs[i], errs[i] = s.run(prog) })
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, [2]transcript{}, err
		}
	}
	texts := [2]transcript{transcribe(prog, outs[0]), transcribe(prog, outs[1])}
	return compare(prog, texts[0], texts[1]), texts, nil
}

// runSeeds runs the programs of n seeds, and reports what differs.
func (p *pair) runSeeds(n int, s shape) {
	if *seeds > 0 {
		n = *seeds
	}
	s.requests = *requests
	p.restart()
	began, sent, found := time.Now(), 0, 0
	seen, answers := map[string]bool{}, coverage{}
	for seed := *firstSeed; seed < *firstSeed+uint64(n); seed++ {
		prog := generate(seed, s)
		sent += len(prog.steps)
		d, texts, err := p.run(prog)
		answers.count(prog, texts[0])
		if err != nil {
			p.t.Errorf("seed %d: %v", seed, err)
			p.restart()
			found++
		} else if d != nil {
			if seen[d.kind] {
				p.t.Errorf("seed %d: again %s at step %d", seed, d.kind, d.step)
			} else {
				p.report(prog, d)
			}
			seen[d.kind] = true
			p.restart()
			found++
		}
		if found >= maxDifferences {
			break
		}
	}
	took := time.Since(began)
	p.t.Logf("%d requests in %v, %.0f/s; answers:\n%s", sent, took.Round(time.Second), float64(sent)/took.Seconds(), answers)
}

// coverage counts answers by operation and error code.
type coverage map[protocol.OpCode]map[string]int

func (c coverage) count(p *program, t transcript) {
	for _, lines := range t.streams {
		for _, l := range lines {
			op, what := protocol.OpNotification, strings.Fields(l.text)[0]
			if l.step >= 0 && p.steps[l.step].kind == request {
				op, what = p.steps[l.step].op(), errorOf(l.text)
			}
			if c[op] == nil {
				c[op] = map[string]int{}
			}
			c[op][what]++
		}
	}
}

func (c coverage) String() string {
	var lines []string
	for op, codes := range c {
		lines = append(lines, fmt.Sprintf("  %v %v\n", op, codes))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// report shrinks a program that shows a difference and prints it.
func (p *pair) report(prog *program, d *difference) {
	small := p.shrink(prog, d)
	d2, texts, err := p.run(small)
	if err != nil || d2 == nil {
		d2 = d // it does not show every time
	}
	var b strings.Builder
	fmt.Fprintf(&b, "difference (%s), seed %d, %d of %d steps:\n", d2.kind, prog.seed, len(small.steps), len(prog.steps))
	const shown = 40
	for i := range small.steps {
		if i < d2.step-shown || d2.step < 0 && i < len(small.steps)-shown {
			continue
		}
		fmt.Fprintf(&b, "%3d %s\n", i, short(small.steps[i].String()))
		for side, t := range texts {
			for _, lines := range t.streams {
				for _, l := range lines {
					if l.step == i {
						fmt.Fprintf(&b, "      %s: %s\n", p.sides[side].name, short(l.text))
					}
				}
			}
		}
	}
	fmt.Fprintf(&b, "in %s, step %d:\n  %s: %s\n  %s: %s\n", d2.where, d2.step, p.sides[0].name, short(d2.texts[0]), p.sides[1].name, short(d2.texts[1]))
	p.t.Error(b.String())
}

// shrink drops steps for as long as the same kind of difference stays.
func (p *pair) shrink(prog *program, d *difference) *program {
	deadline := time.Now().Add(20 * time.Second)
	small := prog
	if d.step >= 0 && d.step+1 < len(prog.steps) {
		if q := prog.with(prog.steps[:d.step+1]); p.shows(q, d) {
			small = q
		}
	}
	for size := len(small.steps) / 2; size > 0; size /= 2 {
		for at := 0; at < len(small.steps); {
			if time.Now().After(deadline) {
				return small
			}
			q := prog.with(slices.Concat(small.steps[:at], small.steps[min(at+size, len(small.steps)):]))
			if p.shows(q, d) {
				small = q
			} else {
				at += size
			}
		}
	}
	return small
}

func (p *pair) shows(q *program, d *difference) bool {
	found, _, err := p.run(q)
	if err != nil {
		p.restart()
		return false
	}
	return found != nil && found.kind == d.kind
}

func stop(servers []*zkprocess.Server) func() {
	return func() {
		for _, s := range servers {
			s.Kill()
		}
	}
}

// standalone starts one server.
func standalone(name string, binary func(testing.TB) string, settings []string) func(*testing.T) *side {
	return func(t *testing.T) *side {
		s := zkprocess.Start(t, binary(t), 1, settings...)
		return &side{name: name, addrs: []string{s[0].Addr()}, own: s[0].Addr(), stop: stop(s)}
	}
}

// follower starts three servers; programs run against a follower.
func follower(name string, binary func(testing.TB) string, more ...string) func(*testing.T) *side {
	return func(t *testing.T) *side {
		servers := zkprocess.Start(t, binary(t), 3, slices.Concat(settings, more)...)
		addr := zkprocess.Follower(t, servers).Addr()
		return &side{name: name, addrs: []string{addr}, own: addr, stop: stop(servers)}
	}
}

// followers starts three servers; programs run against both followers.
func followers(name string, binary func(testing.TB) string) func(*testing.T) *side {
	return func(t *testing.T) *side {
		var addrs []string
		servers := zkprocess.Start(t, binary(t), 3, settings...)
		for _, s := range servers {
			if s.Mode() == "follower" {
				addrs = append(addrs, s.Addr())
			}
		}
		if len(addrs) != 2 {
			t.Fatalf("%d followers", len(addrs))
		}
		return &side{name: name, addrs: addrs, own: addrs[0], stop: stop(servers)}
	}
}

var (
	realOne   = standalone("ZooKeeper", zkprocess.ZooKeeper, settings)
	coorddOne = standalone("coordd   ", zkprocess.Coordd, settings)
)

// TestItself: the tester finds nothing between two real servers.
func TestItself(t *testing.T) {
	(&pair{t: t, start: [2]func(*testing.T) *side{realOne, realOne}}).runSeeds(20, shape{})
}

func TestItselfBursts(t *testing.T) {
	(&pair{t: t, start: [2]func(*testing.T) *side{realOne, realOne}}).runSeeds(20, shape{bursts: true})
}

func TestStandalone(t *testing.T) {
	(&pair{t: t, start: [2]func(*testing.T) *side{realOne, coorddOne}}).runSeeds(250, shape{})
}

// TestQuotas has hard limits enforced, and no TTL nodes.
func TestQuotas(t *testing.T) {
	settings := append(slices.Clone(settings), "enforceQuota=true", "extendedTypesEnabled=false")
	start := [2]func(*testing.T) *side{standalone("ZooKeeper", zkprocess.ZooKeeper, settings), standalone("coordd   ", zkprocess.Coordd, settings)}
	(&pair{t: t, start: start}).runSeeds(150, shape{quotas: true})
}

func TestStandaloneBursts(t *testing.T) {
	(&pair{t: t, start: [2]func(*testing.T) *side{realOne, coorddOne}}).runSeeds(300, shape{bursts: true})
}

func TestFollower(t *testing.T) {
	start := [2]func(*testing.T) *side{follower("ZooKeeper", zkprocess.ZooKeeper), follower("coordd   ", zkprocess.Coordd)}
	(&pair{t: t, start: start}).runSeeds(100, shape{ensemble: true})
}

// TestLocalSessions has sessions that only the follower knows, and that become
// global ones with their first ephemeral.
func TestLocalSessions(t *testing.T) {
	localSessions(t, 60, "localSessionsEnabled=true", "localSessionsUpgradingEnabled=true")
}

// TestLocalSessionsOnly has sessions that stay local.
func TestLocalSessionsOnly(t *testing.T) { localSessions(t, 40, "localSessionsEnabled=true") }

func localSessions(t *testing.T, n int, lines ...string) {
	start := [2]func(*testing.T) *side{follower("ZooKeeper", zkprocess.ZooKeeper, lines...), follower("coordd   ", zkprocess.Coordd, lines...)}
	(&pair{t: t, start: start}).runSeeds(n, shape{ensemble: true})
}

// TestRoaming moves sessions between two followers.
func TestRoaming(t *testing.T) {
	start := [2]func(*testing.T) *side{followers("ZooKeeper", zkprocess.ZooKeeper), followers("coordd   ", zkprocess.Coordd)}
	(&pair{t: t, start: start}).runSeeds(40, shape{ensemble: true, servers: 2})
}

func TestFollowerBursts(t *testing.T) {
	start := [2]func(*testing.T) *side{follower("ZooKeeper", zkprocess.ZooKeeper), follower("coordd   ", zkprocess.Coordd)}
	(&pair{t: t, start: start}).runSeeds(150, shape{bursts: true, ensemble: true})
}
