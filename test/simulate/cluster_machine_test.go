//go:build simulate

package simulate

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/sim"
	"github.com/coordd/coordd/server"
	"github.com/coordd/coordd/server/admin"
	"github.com/coordd/coordd/server/replica"
)

const (
	dataDir = "/data"
	logDir  = "/data/log"
	// segmentBytes makes the log go through many files.
	segmentBytes = 64 << 10
)

// machine is one of a cluster's machines, on which a server runs most of the time.
type machine struct {
	c     *cluster
	id    int
	ip    string
	clock clock

	mu      sync.Mutex
	disk    *sim.Disk // guarded by mu
	running *process  // nil while there is none; guarded by mu
	wanted  bool      // another one is to follow the one that runs; guarded by mu
}

// process is a server's, from its start to its end.
type process struct {
	m       *machine
	net     *sim.Machine
	disk    *sim.Disk
	started chan struct{} // closed once server or err is set
	quit    chan struct{} // closed when the server is to end
	once    sync.Once
	server  *server.Server
	err     error
}

// clock is a machine's wall clock, which may jump and drift.
type clock struct {
	mu    sync.Mutex
	set   time.Time     // when it was last set; guarded by mu
	off   time.Duration // by how much it was wrong then; guarded by mu
	drift float64       // of a second, each second; guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return now.Add(c.offLocked(now))
}

func (c *clock) offLocked(now time.Time) time.Duration {
	return c.off + time.Duration(c.drift*float64(now.Sub(c.set)))
}

// adjust lets the clock jump by d and drift from then on.
func (c *clock) adjust(d time.Duration, drift float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.off, c.set, c.drift = c.offLocked(now)+d, now, drift
}

// storage is a server.Disk.
type storage struct{ *sim.Disk }

// OpenStorage implements server.Disk. raft-wal holds a lock while it writes, so
// the time that takes is spent before, where virtual time passes.
func (s storage) OpenStorage(cfg *config.Config, o replica.LogOptions) (replica.Storage, error) {
	votes, err := replica.NewVoteStore(sim.Stable{Disk: s.Disk, Path: path.Join(cfg.DataLogDir, "stable.db")})
	if err != nil {
		return replica.Storage{}, err
	}
	onStore := o.OnStore
	o.VFS, o.Meta = sim.LogFiles{Disk: s.Disk}, sim.LogMeta{Disk: s.Disk, Path: path.Join(cfg.DataLogDir, "wal-meta.db")}
	o.SegmentBytes, o.OnStore = segmentBytes, nil
	log, err := replica.OpenLogStore(replica.WALStore, cfg.DataLogDir, o)
	if err != nil {
		return replica.Storage{}, errors.Join(err, votes.Close())
	}
	return replica.Storage{
		Logs:      replica.WrapLogStore(slowLog{log, s.Disk}, onStore, log),
		Stable:    votes,
		Snapshots: sim.Snapshots{Disk: s.Disk, Dir: path.Join(cfg.DataDir, "snapshots"), Keep: 3},
	}, nil
}

// slowLog is a log whose disk takes its time.
type slowLog struct {
	*replica.LogStore
	disk *sim.Disk
}

func (l slowLog) StoreLogs(logs []*raft.Log) error {
	l.disk.Wait()
	return l.LogStore.StoreLogs(logs)
}

func (l slowLog) DeleteRange(lo, hi uint64) error {
	l.disk.Wait()
	return l.LogStore.DeleteRange(lo, hi)
}

// config is what the machine's server is started with.
func (m *machine) config() (*config.Config, error) {
	text := fmt.Sprintf(`dataDir=%s
dataLogDir=%s
clientPort=2181
clientPortAddress=%s
tickTime=1000
initLimit=10
syncLimit=5
maxClientCnxns=0
admin.enableServer=false
coordd.snapshotThreshold=%d
coordd.trailingLogs=%d
coordd.leaderLeaseTimeout=%d
`, dataDir, logDir, m.ip, m.c.snapshots, m.c.trailing, m.c.lease)
	for _, o := range m.c.machines {
		text += fmt.Sprintf("server.%d=%s:2888:3888:participant\n", o.id, o.ip)
	}
	return config.Parse("zoo.cfg", strings.NewReader(text), func(string) ([]byte, error) {
		return fmt.Appendf(nil, "%d\n", m.id), nil
	})
}

// start runs a server on the machine, unless one runs; one that is being stopped
// is waited for.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		m.wanted = m.running.stopping()
		return
	}
	m.startLocked()
}

func (m *machine) startLocked() {
	m.wanted = false
	if m.c.over.Load() {
		return
	}
	cfg, err := m.config()
	if err != nil {
		m.c.violation("the configuration of server %d: %v", m.id, err)
		return
	}
	p := &process{m: m, net: m.c.net.Boot(m.ip), disk: m.disk, started: make(chan struct{}), quit: make(chan struct{})}
	m.running = p
	m.c.processes.Go(func() { p.run(cfg) })
}

// run is the process, as cmd/coordd is.
func (p *process) run(cfg *config.Config) {
	m := p.m
	host := server.Host{Listen: p.net.Listen, Dial: p.net.Dial, Disk: storage{p.disk}, Now: m.clock.now}
	p.server, p.err = server.StartOn(host, cfg, m.c.logger(m.id), server.Build{})
	close(p.started)
	if p.err != nil {
		p.failed(fmt.Errorf("does not start: %w", p.err))
		return
	}
	select {
	case err := <-p.server.Failed():
		p.failed(err)
	case <-p.quit:
	}
	p.server.Shutdown()
	if m.end(p, false) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.wanted && m.running == nil {
			m.startLocked()
		}
	}
}

// failed ends a process for a fault, which must be one of its disk, and has it
// started again after a while.
func (p *process) failed(err error) {
	m := p.m
	if !m.end(p, false) {
		return // it was dead already
	}
	m.c.say("server %d ends: %v", m.id, err)
	if !excused(err) {
		m.c.violation("server %d: %v", m.id, err)
	}
	m.c.later(300*time.Millisecond, m.start)
}

// excused reports whether a server may end with err.
func excused(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) || strings.Contains(err.Error(), "the disk hangs")
}

// stopping reports whether the server was told to end.
func (p *process) stopping() bool {
	select {
	case <-p.quit:
		return true
	default:
		return false
	}
}

func (p *process) end() { p.once.Do(func() { close(p.quit) }) }

// end makes p a process that nobody hears any more; power says that its machine
// loses its power, too. It reports whether p still ran.
func (m *machine) end(p *process, power bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != p {
		return false
	}
	if power {
		m.cutLocked(p, p.disk.Crash)
	} else {
		m.cutLocked(p, p.disk.Kill)
	}
	p.net.Kill(power)
	return true
}

func (m *machine) cutLocked(p *process, after func() *sim.Disk) {
	m.disk, m.running = after(), nil
	p.end()
}

// current is the server's process; nil without one.
func (m *machine) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running
}

// serving is the machine's server if it serves.
func (m *machine) serving() *server.Server {
	p := m.current()
	if p == nil {
		return nil
	}
	select {
	case <-p.started:
	default:
		return nil
	}
	if p.err != nil || !p.server.Serving() || p.server.Withdrawn() {
		return nil
	}
	return p.server
}

// leads reports whether the machine's server takes itself for the leader.
func (m *machine) leads() bool {
	s := m.serving()
	return s != nil && s.Mode() == admin.Leader
}

// crash ends the server's process; power, the machine's power.
func (m *machine) crash(power bool) {
	if p := m.current(); p != nil {
		m.end(p, power)
	}
}

// crashWithin cuts the power within the n-th next change of the disk.
func (m *machine) crashWithin(n int) {
	p := m.current()
	if p == nil {
		return
	}
	p.disk.Trap(n, func() {
		after := p.disk.CrashLocked()
		p.net.Kill(true)
		m.c.processes.Go(func() { // the disk's lock is held
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.running == p {
				m.cutLocked(p, func() *sim.Disk { return after })
			}
		})
	})
}

// stop ends the server in peace.
func (m *machine) stop() {
	if p := m.current(); p != nil {
		p.end()
	}
}

// whole reports whether the machine's server runs and has all that it ever had.
func (m *machine) whole() bool {
	if m.serving() == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	joining, _ := m.disk.Exists(path.Join(logDir, "joining"))
	known, _ := m.disk.Exists(path.Join(dataDir, "cluster-id"))
	return !joining && known
}

// wipe ends the server and takes its data from it.
func (m *machine) wipe() {
	m.crash(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disk.Wipe(dataDir)
}

// logger writes a server's log if that was asked for.
func (c *cluster) logger(id int) hclog.Logger {
	if c.output == nil {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: fmt.Sprintf("server.%d", id), Output: c.output, Level: hclog.Debug})
}

func newMachine(c *cluster, id int, random *rand.Rand) *machine {
	m := &machine{c: c, id: id, ip: fmt.Sprintf("10.0.0.%d", id), disk: sim.NewDisk(random)}
	m.clock.set = time.Now()
	return m
}
