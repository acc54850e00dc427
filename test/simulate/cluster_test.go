//go:build simulate

// The lower layer of this package runs whole ensembles: complete servers with
// their client ports, streams, Raft and watches, on machines in memory, in one
// process and in virtual time. Random clients work on them over the real
// protocol while machines, disks, links and clocks fail by chance, and package
// history judges what the clients were told.
//
// A seed gives the schedule of faults and the programs of the clients. It does
// not give the same run twice: which goroutine comes first, and Raft's own
// dice, are not in its hands. What a seed finds may take it several runs to
// find again.
package simulate

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/sim"
	"github.com/coordd/coordd/internal/workload"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

var (
	clusterSeed   = flag.Uint64("cluster.seed", 1, "first seed of the clusters")
	clusterFor    = flag.Duration("cluster.for", 30*time.Second, "real time for the clusters; the last ones take a little longer")
	clusterOps    = flag.Int("cluster.ops", 200, "operations a virtual second that a cluster's clients ask for, about")
	clusterFaults = flag.Int("cluster.faults", 0, "faults after which there is enough; 0: the time decides")
	clusterLog    = flag.Bool("cluster.log", false, "print the schedule and the servers' logs")
)

const (
	// turmoil is how long faults are made in a cluster's life.
	turmoil = 2 * time.Minute
	// outage is how long it may take, once all is well, until a new client has
	// written something.
	outage = 10 * time.Second
	// recovery is how long the servers may take until they all serve and each has
	// all its data.
	recovery = 30 * time.Second
)

// standard is a link that nothing ails.
var standard = sim.Link{Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond}

// cluster is an ensemble on its machines.
type cluster struct {
	net       *sim.Network
	random    *rand.Rand // of the schedule, whose goroutine it belongs to
	machines  []*machine
	clients   []string // addresses of the clients' machines
	faults    []fault
	pace      time.Duration // between two faults, on average
	ops       int           // a second that the clients ask for, about
	snapshots int           // entries until a snapshot
	trailing  int
	lease     int // ms
	began     time.Time
	output    io.Writer
	processes sync.WaitGroup
	spells    sync.WaitGroup // of faults
	over      atomic.Bool    // nothing is started any more

	mu       sync.Mutex
	lines    []string // the schedule
	wrong    []string
	struckAt time.Time
	quiet    time.Duration // the longest time without a fault
	counts   map[string]int
}

// result is what became of one seed.
type result struct {
	seed       uint64
	lines      []string
	wrong      []string
	faults     map[string]int
	quiet      time.Duration
	length     time.Duration
	operations [3]int // by history.Outcome
	history    *history.History
	tail       []string // the last operations, if something is wrong
}

// say adds a line to the schedule.
func (c *cluster) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := fmt.Sprintf("%10.3fs ", time.Since(c.began).Seconds()) + fmt.Sprintf(format, args...)
	c.lines = append(c.lines, line)
	if c.output != nil {
		fmt.Fprintln(c.output, line)
	}
}

func (c *cluster) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.say("VIOLATION %s", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, text)
}

// later does something to the cluster after d.
func (c *cluster) later(d time.Duration, do func()) {
	c.spells.Go(func() {
		time.Sleep(d)
		do()
	})
}

// struck counts a fault.
func (c *cluster) struck(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[name]++
	c.quiet = max(c.quiet, time.Since(c.struckAt))
	c.struckAt = time.Now()
}

func (c *cluster) startAll() {
	for _, m := range c.machines {
		m.start()
	}
}

// newCluster prepares the machines of a seed: three, or at times five.
func newCluster(seed uint64) *cluster {
	random := rand.New(rand.NewPCG(seed, 7))
	own := func() *rand.Rand { return rand.New(rand.NewPCG(random.Uint64(), random.Uint64())) }
	c := &cluster{
		net: sim.NewNetwork(standard, own()), random: own(), faults: slices.Clone(faults), pace: 700 * time.Millisecond, ops: *clusterOps, began: time.Now(), struckAt: time.Now(),
		snapshots: 50 + random.IntN(500), trailing: 10 + random.IntN(200), lease: 250 * (1 + random.IntN(2)), counts: map[string]int{},
	}
	if *clusterLog {
		c.output = os.Stdout
	}
	size := 3
	if seed%4 == 0 {
		size = 5
	}
	for i := range size {
		c.machines = append(c.machines, newMachine(c, i+1, own()))
		c.clients = append(c.clients, fmt.Sprintf("10.0.1.%d", i+1))
	}
	return c
}

// await waits until done, at most for d, and reports whether it was.
func await(d time.Duration, done func() bool) bool {
	for end := time.Now().Add(d); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// load starts the clients.
func (c *cluster) load(seed uint64) (*workload.Run, error) {
	var servers []string
	nets := map[string]*sim.Machine{}
	for i, m := range c.machines {
		servers = append(servers, m.ip+":2181")
		nets[servers[i]] = c.net.Boot(c.clients[i])
	}
	clients := 2 * len(servers)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return workload.Start(ctx, workload.Options{
		Servers: servers, Clients: clients, Timeout: 6 * time.Second, Seed: seed,
		// A client has five loops, of which one makes two pauses.
		Pause:   time.Duration(float64(time.Second) * float64(clients) * 4.5 / float64(c.ops)),
		Connect: func(ctx context.Context, addr string) (net.Conn, error) { return nets[addr].Dial(ctx, addr) },
	})
}

// wreak makes faults until d is over.
func (c *cluster) wreak(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Duration(c.random.ExpFloat64() * float64(c.pace)))
		c.strike()
	}
}

// heal takes all faults away.
func (c *cluster) heal() {
	for _, m := range c.machines {
		m.onDisk((*sim.Disk).Heal)
		m.disarm()
		if p := m.current(); p != nil {
			p.net.Freeze(false)
			p.disk.Stall(false)
		}
	}
	c.net.Heal()
	c.startAll()
	c.say("all is well")
}

// whole reports whether every server serves and has its data.
func (c *cluster) whole() bool {
	return !slices.ContainsFunc(c.machines, func(m *machine) bool { return !m.whole() })
}

// live is a cluster's life. It must run in a bubble of synctest.
func (c *cluster) live(seed uint64) (r result) {
	r.seed = seed
	c.startAll()
	defer func() {
		c.over.Store(true)
		for _, m := range c.machines {
			m.stop()
		}
		c.spells.Wait()
		c.processes.Wait()
		time.Sleep(time.Minute) // what was under way at the end has its time limits
		r.length = time.Since(c.began)
		r.lines, r.wrong, r.faults, r.quiet = c.lines, c.wrong, c.counts, c.quiet
	}()
	if !await(recovery, c.whole) {
		c.violation("the servers do not start within %v", recovery)
		return r
	}
	run, err := c.load(seed)
	if err != nil {
		c.violation("%v", err)
		return r
	}
	c.wreak(turmoil)
	c.settled()
	run.Calm()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	h, err := run.Stop(ctx)
	if err != nil {
		c.violation("stop the load: %v", err)
		return r
	}
	for i := range h.Ops {
		r.operations[h.Ops[i].Outcome]++
	}
	r.history = h
	return r
}

// writes reports whether a new client can write something within d.
func (c *cluster) writes(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	own := c.net.Boot("10.0.2.1")
	for i := 0; ctx.Err() == nil; i++ {
		m := c.machines[i%len(c.machines)]
		client, err := zkclient.Dial(ctx, m.ip+":2181", zkclient.Options{Timeout: 2 * time.Second, Connect: own.Dial})
		if err == nil {
			_, err = client.Create("/written", nil, protocol.EphemeralSequential, nil)
			client.Close()
		}
		if err == nil {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// settled waits until all faults have ended, heals what has no end, and waits
// until all serve.
func (c *cluster) settled() {
	c.spells.Wait()
	c.heal()
	if !c.writes(outage) {
		c.violation("nothing can be written within %v of the last fault: %s", outage, c.standing())
	}
	if !await(recovery, c.whole) {
		c.violation("not all servers serve with their data %v after the last fault: %s", recovery, c.standing())
	}
}

// standing says where each server is.
func (c *cluster) standing() string {
	var all []string
	for _, m := range c.machines {
		switch p := m.current(); {
		case p == nil:
			all = append(all, fmt.Sprintf("server %d does not run", m.id))
		case m.serving() == nil:
			all = append(all, fmt.Sprintf("server %d does not serve", m.id))
		case !m.whole():
			all = append(all, fmt.Sprintf("server %d is joining", m.id))
		default:
			all = append(all, fmt.Sprintf("server %d serves, leads %v", m.id, m.leads()))
		}
	}
	return strings.Join(all, ", ")
}

// runSeed is one cluster's life, judged.
func runSeed(t *testing.T, seed uint64, prepare func(*cluster)) (r result) {
	func() {
		defer func() {
			if left := recover(); left != nil {
				r.wrong = append(r.wrong, leftovers(left)...)
			}
		}()
		synctest.Test(t, func(*testing.T) {
			c := newCluster(seed)
			if prepare != nil {
				prepare(c)
			}
			r = c.live(seed)
		})
	}()
	if r.history != nil {
		for _, v := range history.Check(r.history) {
			r.wrong = append(r.wrong, v.String())
		}
		if ops := r.history.Ops; len(r.wrong) > 0 {
			for i := max(0, len(ops)-shownLines); i < len(ops); i++ {
				r.tail = append(r.tail, ops[i].String())
			}
		}
		r.history = nil
	}
	return r
}

// leaks are goroutines that the library leaves behind: of a transfer of
// leadership when its leader steps down meanwhile.
// And of futures that it forgets when it ends.
var leaks = []string{"raft.(*Raft).leadershipTransfer(", "raft.(*Raft).leaderLoop.func2(", "replica.(*core).await.func1("}

// leftovers names the goroutines that a bubble panics for, since they will
// never end. They must be the library's.
func leftovers(reason any) (wrong []string) {
	if text := fmt.Sprint(reason); !strings.Contains(text, "blocked goroutines remain") {
		panic(reason)
	}
	all := make([]byte, 16<<20)
	all = all[:runtime.Stack(all, true)]
	for _, g := range strings.Split(string(all), "\n\n") {
		head, _, _ := strings.Cut(g, "\n")
		known := slices.ContainsFunc(leaks, func(l string) bool { return strings.Contains(g, l) })
		if strings.Contains(head, "synctest bubble") && !known {
			wrong = append(wrong, "a goroutine never ends: "+g)
		}
	}
	return wrong
}

func TestClusters(t *testing.T) {
	began := time.Now()
	var sum report
	for seed := *clusterSeed; time.Since(began) < *clusterFor && (*clusterFaults == 0 || sum.faulted < *clusterFaults); seed++ {
		r := runSeed(t, seed, nil)
		sum.add(r)
		if len(r.wrong) > 0 {
			t.Errorf("%s", r.account())
		}
	}
	t.Log(sum.text(time.Since(began)))
}
