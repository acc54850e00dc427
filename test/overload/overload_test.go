//go:build overload

package overload

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

var scale = flag.Float64("scale", 1, "of numbers of clients and of durations; 0.1 takes two minutes")

const (
	// guestTimeout is the session timeout of the well-behaved.
	guestTimeout = 10 * time.Second
	// normalWithin is how long after the end of a load, or of an attack,
	// everything has to be as before.
	normalWithin = 5 * time.Second
	// normalWrite is a write's latency when it is, on a machine that is shared.
	normalWrite = 250 * time.Millisecond
)

func scaled(n int) int { return max(int(float64(n)**scale), 1) }

func lasting(d time.Duration) time.Duration {
	return max(time.Duration(float64(d)**scale), 2*time.Second)
}

// TestMain lets this process, and the servers that it starts, have as many
// connections as the system allows.
func TestMain(m *testing.M) {
	flag.Parse()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		files.Cur = files.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files) // the tests say when there are too few
	}
	os.Exit(m.Run())
}

// connections is how many this process may have besides some of its own.
func connections(t *testing.T, want int) int {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatalf("find the limit of open files: %v", err)
	}
	if most := int(files.Cur) - 500; want > most {
		t.Logf("%d connections instead of %d: the limit of open files", most, want)
		return most
	}
	return want
}

// site is servers, and clients whom nothing may happen to.
type site struct {
	t       *testing.T
	servers []*zkprocess.Server
	addrs   []string
	pids    []int
	leader  *zkprocess.Server
	guests  []*guest
	start   int64 // the greatest RSS of a server at the beginning, bytes
}

// start runs n servers with shipped settings but for lines.
func start(t *testing.T, n int, lines ...string) *site {
	t.Helper()
	s := &site{t: t, servers: zkprocess.Start(t, zkprocess.Coordd(t), n, lines...)}
	for _, server := range s.servers {
		s.addrs = append(s.addrs, server.Addr())
		s.pids = append(s.pids, server.Pid())
	}
	s.leader = s.leads()
	s.start, _ = s.memory()
	for i := range 4 * n {
		s.guests = append(s.guests, invite(t, s.addrs, i))
	}
	return s
}

// leads is the server that says so; the only one of one.
func (s *site) leads() *zkprocess.Server {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, server := range s.servers {
			if mode := server.Mode(); mode == "leader" || mode == "standalone" {
				return server
			}
		}
	}
	s.t.Fatal("no server leads")
	return nil
}

// memory is the greatest RSS and the greatest peak of a server, in bytes.
func (s *site) memory() (now, peak int64) {
	s.t.Helper()
	for _, pid := range s.pids {
		p, err := bench.ReadProcess(pid)
		if err != nil {
			s.t.Fatalf("look at server process %d: %v", pid, err)
		}
		now, peak = max(now, p.RSS), max(peak, p.Peak)
	}
	return now, peak
}

// guest is a client that reads, writes a little and pings, as it should.
type guest struct {
	name   string
	stop   chan struct{}
	ended  chan struct{}
	done   atomic.Int64 // requests answered
	worst  atomic.Int64 // ns, the slowest of them
	losses atomic.Int64
	gone   atomic.Bool // its session has expired
}

// invite opens a session at one of the servers, and goes on until leave.
func invite(t *testing.T, addrs []string, n int) *guest {
	t.Helper()
	g := &guest{name: fmt.Sprintf("/guest-%d", n), stop: make(chan struct{}), ended: make(chan struct{})}
	c, err := zkclient.Dial(context.Background(), addrs[n%len(addrs)], zkclient.Options{Timeout: guestTimeout})
	if err != nil {
		t.Fatalf("invite a client: %v", err)
	}
	if _, err := c.Create(g.name, nil, protocol.Ephemeral, nil); err != nil {
		t.Fatalf("create %s: %v", g.name, err)
	}
	go g.live(c, addrs, n)
	t.Cleanup(func() { g.leave() })
	return g
}

func (g *guest) leave() {
	select {
	case <-g.stop:
	default:
		close(g.stop)
	}
	<-g.ended
}

// live has a request answered, again and again, and takes its session to the
// next server when it loses one.
func (g *guest) live(c *zkclient.Client, addrs []string, at int) {
	defer close(g.ended)
	for n := 0; ; n++ {
		select {
		case <-g.stop:
			c.Close()
			return
		case <-time.After(100 * time.Millisecond):
		}
		began := time.Now()
		var err error
		if n%5 == 0 {
			_, err = c.Set(g.name, []byte("x"), -1)
		} else {
			_, _, err = c.Get(g.name, false)
		}
		if err == nil {
			g.done.Add(1)
			g.worst.Store(max(g.worst.Load(), int64(time.Since(began))))
			continue
		}
		g.losses.Add(1)
		c.HangUp()
		for {
			at++
			again, err := zkclient.Dial(context.Background(), addrs[at%len(addrs)], zkclient.Options{
				Timeout: guestTimeout, SessionID: c.SessionID(), Password: c.Password(), LastZxid: c.LastZxid()})
			if err == nil {
				c = again
				break
			}
			if errors.Is(err, zkclient.ErrSessionExpired) {
				g.gone.Store(true)
				return
			}
			select {
			case <-g.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// unharmed checks that all is as it was: every guest has its session, the
// leader leads, a write is quick, and memory went no higher than limit. It
// prints the line of a table.
func (s *site) unharmed(what string, held string, limit int64) {
	s.t.Helper()
	ended := time.Now()
	quick := s.quick(ended.Add(30 * time.Second))
	took := time.Since(ended)
	expired, losses, worst, done := 0, int64(0), time.Duration(0), int64(0)
	for _, g := range s.guests {
		if g.gone.Load() {
			expired++
		}
		losses += g.losses.Swap(0)
		worst = max(worst, time.Duration(g.worst.Swap(0)))
		done += g.done.Swap(0)
	}
	now, peak := s.memory()
	leader := s.leads()
	s.t.Logf("%-34s | %s | sessions expired wrongly %d of %d, connections lost %d, %d requests of theirs, the slowest %v | leader %s | memory %d MiB, peak %d MiB | normal after %v",
		what, held, expired, len(s.guests), losses, done, worst.Round(time.Millisecond),
		map[bool]string{true: "the same", false: "another"}[leader == s.leader], now>>20, peak>>20, took.Round(time.Millisecond))
	if expired > 0 {
		s.t.Errorf("%s: %d sessions expired that their clients kept alive", what, expired)
	}
	if leader != s.leader {
		s.t.Errorf("%s: the leader was voted out", what)
		s.leader = leader
	}
	if done == 0 {
		s.t.Errorf("%s: no well-behaved client was served", what)
	}
	if !quick || took > normalWithin {
		s.t.Errorf("%s: writes were not quick again within %v, but after %v", what, normalWithin, took)
	}
	if peak > limit {
		s.t.Errorf("%s: a server took %d MiB, more than %d", what, peak>>20, limit>>20)
	}
}

// quick waits until ten writes in a row at each server are answered at once.
func (s *site) quick(until time.Time) bool {
	s.t.Helper()
	for inRow := 0; inRow < 10; {
		if time.Now().After(until) {
			return false
		}
		if slow := s.write(); slow == 0 || slow > normalWrite {
			inRow = 0
			time.Sleep(20 * time.Millisecond)
			continue
		}
		inRow++
	}
	return true
}

// write is how long the slowest server took for a new session's write; 0 if one
// did not serve.
func (s *site) write() (slowest time.Duration) {
	for _, addr := range s.addrs {
		began := time.Now()
		c, err := zkclient.Dial(context.Background(), addr, zkclient.Options{Timeout: guestTimeout})
		if err != nil {
			return 0
		}
		_, err = c.Create("/probe-", nil, protocol.EphemeralSequential, nil)
		if took := time.Since(began); err == nil {
			slowest = max(slowest, took)
		}
		if errors.Join(err, c.Close()) != nil {
			return 0
		}
	}
	return slowest
}

// each runs n of do at once and waits for them.
func each(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// counter adds up what came of many attempts, by kind.
type counter struct {
	mu    sync.Mutex
	kinds map[string]int
}

func (c *counter) add(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kinds == nil {
		c.kinds = map[string]int{}
	}
	c.kinds[kind]++
}

func (c *counter) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for kind, n := range c.kinds {
		parts = append(parts, fmt.Sprintf("%d %s", n, kind))
	}
	return strings.Join(parts, ", ")
}
