package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/metrics"
	"github.com/coordd/coordd/server/replica"
)

func effectOfDirectories(t *testing.T) {
	data, log := t.TempDir(), t.TempDir()
	for _, tc := range []struct{ lines, log string }{
		{"dataDir=" + data + "\ndataLogDir=" + log, log},
		{"dataDir=" + log + "/own", log + "/own"},
	} {
		s := alone(t, tc.lines)
		dir := s.cfg.DataDir
		takeSnapshot(t, s)
		if present, err := replica.StoresPresent(tc.log, osDisk{}.Exists); !present || err != nil {
			t.Errorf("%s: no log there: %v", tc.lines, err)
		}
		if present, err := replica.StoresPresent(dir, osDisk{}.Exists); present != (dir == tc.log) || err != nil {
			t.Errorf("%s: the log in dataDir: %v, %v", tc.lines, present, err)
		}
		if len(snapshotsOf(t, s)) != 1 {
			t.Errorf("%s: no snapshot in dataDir", tc.lines)
		}
		if _, err := os.Stat(filepath.Join(dir, clusterFile)); err != nil {
			t.Error(err)
		}
	}
}

func effectOfAutocreate(t *testing.T) {
	for _, create := range []bool{true, false} {
		missing := filepath.Join(t.TempDir(), "a", "b")
		cfg := aloneConfig(t, "dataDir="+missing, fmt.Sprintf("datadir.autocreate=%v", create))
		s, err := Start(cfg, hclog.NewNullLogger(), Build{})
		if err == nil {
			s.Shutdown()
		}
		if (err == nil) != create || !create && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("autocreate %v: %v", create, err)
		}
	}
}

func takeSnapshot(t *testing.T, s *Server) {
	t.Helper()
	_, rc, err := s.replica.TakeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
}

// snapshotsOf lists the snapshots in a server's dataDir.
func snapshotsOf(t *testing.T, s *Server) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(s.cfg.DataDir, "snapshots", "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Raft looks every 5 to 10 seconds whether there are so many entries.
func effectOfSnapCount(t *testing.T) {
	t.Parallel()
	due := []*Server{
		alone(t, "snapCount=5"),
		alone(t, "coordd.snapshotThreshold=5"),
		alone(t, "snapCount=100000", "coordd.snapshotThreshold=5"),
	}
	not := []*Server{alone(t), alone(t, "snapCount=5", "coordd.snapshotThreshold=100000")}
	for _, s := range append(due, not...) {
		w := dial(t, s)
		for range 10 {
			w.call(protocol.OpSetData, setData("/", ""), protocol.OK)
		}
	}
	for _, s := range due {
		eventuallyWithin(t, 2*patience, "a snapshot", func() bool { return len(snapshotsOf(t, s)) == 1 })
	}
	for i, s := range not {
		if len(snapshotsOf(t, s)) != 0 {
			t.Errorf("number %d has a snapshot already", i)
		}
	}
}

func eventuallyWithin(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func effectOfRetainCount(t *testing.T) {
	for lines, want := range map[string]int{
		"autopurge.snapRetainCount=5": 5,
		// ZooKeeper would keep all of them with 0, and look once a day with 24.
		"autopurge.snapRetainCount=1\nautopurge.purgeInterval=0": 3,
		"autopurge.purgeInterval=24":                             3,
	} {
		s := alone(t, lines)
		w := dial(t, s)
		for i := range 7 {
			w.call(protocol.OpSetData, setData("/", fmt.Sprint(i)), protocol.OK)
			takeSnapshot(t, s)
		}
		if got := len(snapshotsOf(t, s)); got != want {
			t.Errorf("%s: %d snapshots are kept, want %d", lines, got, want)
		}
		// What is kept is enough.
		s.Shutdown()
		s = run(t, s.cfg, hclog.NewNullLogger())
		eventually(t, "the server takes clients", s.Serving)
		var got protocol.GetDataResponse
		if decode(t, dial(t, s).call(protocol.OpGetData, read("/"), protocol.OK).body, &got); string(got.Data) != "6" {
			t.Errorf("%s: data %q after a restart", lines, got.Data)
		}
	}
}

// A server that comes back gets the entries it lacks as long as the leader
// keeps them, else a snapshot. (raft-wal may keep more, as it removes whole
// segments.)
func effectOfTrailingLogs(t *testing.T) {
	e := newEnsemble(t, 3)
	for trailing, installed := range map[int]int64{10_000: 0, 0: 1} {
		e.lines = fmt.Sprintf("coordd.logStore=bolt\ncoordd.trailingLogs=%d", trailing)
		for i := range e.running {
			e.stop(i)
			e.lose(i, ".")
		}
		for i := range e.running {
			e.start(i)
		}
		leader := e.leads()
		for _, s := range e.running {
			e.votes(s)
		}
		away := int(leader.id) % 3
		e.stop(away)
		for range 20 {
			e.write()
		}
		for _, s := range e.running { // whoever leads from now on
			if s != nil {
				takeSnapshot(t, s)
			}
		}
		back := e.start(away)
		eventually(t, "it has caught up", func() bool {
			last, _ := leader.replica.Indexes()
			_, applied := back.replica.Indexes()
			return applied >= last
		})
		if got := back.metrics.SnapshotsLoaded.Load(); min(got, 1) != installed {
			t.Errorf("trailing logs %d: %d snapshots installed, want %d", trailing, got, installed)
		}
	}
}

func effectOfLogStore(t *testing.T) {
	bolt := "log.db"
	for line, want := range map[string]bool{"#": false, "coordd.logStore=wal": false, "coordd.logStore=bolt": true} {
		s := alone(t, line)
		dial(t, s).call(protocol.OpCreate, create("/a", ""), protocol.OK)
		_, err := os.Stat(filepath.Join(s.cfg.DataLogDir, bolt))
		if (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func effectOfFsyncWarning(t *testing.T) {
	for line, want := range map[string]int64{"#": 0, "fsync.warningthresholdms=20": 1, "fsync.warningthresholdms=0": 2} {
		s := &Server{cfg: aloneConfig(t, line), host: Host{}.filled(), log: hclog.NewNullLogger(), metrics: metrics.New()}
		s.stored(900*time.Microsecond, 1)
		s.stored(20*time.Millisecond, 1)
		s.stored(900*time.Millisecond, 1)
		if got := s.metrics.FsyncSlow.Load(); got != want {
			t.Errorf("%s: %d writes counted as slow, want %d", line, got, want)
		}
	}
}

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// A server that comes up without the others stands for election after the
// heartbeat timeout, and tries again after the election timeout.
func effectOfElectionTimings(t *testing.T) {
	e := newEnsemble(t, 3)
	for i := range e.running {
		e.start(i)
	}
	e.leads()
	for _, s := range e.running {
		e.votes(s)
	}
	for i := range e.running {
		e.stop(i)
	}
	const short, long = 50 * time.Millisecond, 1200 * time.Millisecond // twice the default is shorter
	for _, tc := range []struct{ heartbeat, election time.Duration }{{short, long}, {long, long}} {
		e.lines = fmt.Sprintf("coordd.heartbeatTimeout=%v\ncoordd.electionTimeout=%v\ncoordd.leaderLeaseTimeout=50", tc.heartbeat, tc.election)
		var log lines
		start := time.Now()
		s, err := Start(e.config(0), hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}), Build{})
		if err != nil {
			t.Fatal(err)
		}
		since := func(text string) time.Duration {
			eventually(t, text, func() bool { return log.has(text) })
			defer func() { start = time.Now() }()
			return time.Since(start)
		}
		stood := since("heartbeat timeout reached")
		again := since("lection timeout reached")
		s.Shutdown()
		if tc.heartbeat == long && stood < long || again < long-50*time.Millisecond {
			t.Errorf("timeouts of %v and %v: it stood after %v, and again after %v", tc.heartbeat, tc.election, stood, again)
		}
	}
}

// A leader that loses its followers steps down after the lease.
func effectOfLease(t *testing.T) {
	e := newEnsemble(t, 3)
	const lease = 1500 * time.Millisecond
	e.lines = fmt.Sprintf("coordd.heartbeatTimeout=%v\ncoordd.electionTimeout=%v\ncoordd.leaderLeaseTimeout=%v", lease, lease, lease)
	for i := range e.running {
		e.start(i)
	}
	leader := e.leads()
	for i, s := range e.running {
		if s != leader {
			e.stop(i)
		}
	}
	start := time.Now()
	eventually(t, "the leader steps down", func() bool { return leader.currentReign() == nil })
	// The last follower may have answered a third of the heartbeat timeout
	// before it was stopped. By default this would take 250 to 500 ms.
	if took := time.Since(start); took < lease/2 {
		t.Errorf("the leader steps down after %v", took)
	}
}

func effectOfOutstandingLimit(t *testing.T) {
	const sent = 100
	for limit, want := range map[int]int64{5: 6, 1000: sent} {
		s := alone(t, patientClients, fmt.Sprintf("globalOutstandingLimit=%d", limit))
		busy, other := dial(t, s), dial(t, s)
		resume := stall(s)
		for xid := range int32(sent) {
			busy.send(request(xid+1, protocol.OpSetData, setData("/", "")))
		}
		eventually(t, "requests are under way", func() bool { return s.metrics.OutstandingRequests.Load() >= want })
		time.Sleep(20 * time.Millisecond)
		if n := s.metrics.OutstandingRequests.Load(); n != want {
			t.Errorf("limit %d: %d requests under way, want %d", limit, n, want)
		}
		other.call(protocol.OpExists, read("/"), protocol.OK) // it waits for none
		resume()
		for xid := range int32(sent) {
			busy.expect(xid+1, protocol.OK)
		}
	}
}

func effectOfExtendedTypes(t *testing.T) {
	ttl := &protocol.CreateTTLRequest{CreateRequest: *create("/a", ""), TTLMs: 60_000}
	ttl.Mode = protocol.PersistentTTL
	for line, want := range map[string]protocol.ErrCode{"#": protocol.Unimplemented, "extendedTypesEnabled=true": protocol.OK} {
		dial(t, alone(t, line)).call(protocol.OpCreateTTL, ttl, want)
	}
}

func effectOfEnforceQuota(t *testing.T) {
	for line, want := range map[string]protocol.ErrCode{"#": protocol.OK, "enforceQuota=true": protocol.QuotaExceeded} {
		w := dial(t, alone(t, line))
		for _, path := range []string{"/a", "/zookeeper/quota/a"} {
			w.call(protocol.OpCreate, create(path, ""), protocol.OK)
		}
		w.call(protocol.OpCreate, create("/zookeeper/quota/a/zookeeper_limits", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2"), protocol.OK)
		w.call(protocol.OpCreate, create("/zookeeper/quota/a/zookeeper_stats", "count=1,bytes=0"), protocol.OK)
		w.call(protocol.OpCreate, create("/a/1", ""), protocol.OK)
		w.call(protocol.OpCreate, create("/a/2", ""), want)
	}
}

// secret is a node that nobody but the super user may read.
func secret(w *wire) {
	c := create("/secret", "")
	c.ACL = []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: "nobody:x"}}}
	w.call(protocol.OpCreate, c, protocol.OK)
}

func effectOfSkipACL(t *testing.T) {
	for line, want := range map[string]protocol.ErrCode{"#": protocol.NoAuth, "skipACL=yes": protocol.OK, "skipACL=no": protocol.NoAuth} {
		w := dial(t, alone(t, line))
		secret(w)
		w.call(protocol.OpGetData, read("/secret"), want)
	}
}

func (w *wire) auth(scheme, claim string) reply {
	w.t.Helper()
	w.send(request(protocol.XidAuth, protocol.OpAuth, &protocol.AuthRequest{Scheme: scheme, Auth: []byte(claim)}))
	return w.next()
}

func effectOfSuperDigest(t *testing.T) {
	const admin = "DigestAuthenticationProvider.superDigest=super:xQJmxLMiHGwaqBvst5y6rkB6HQs=" // super:admin
	for _, tc := range []struct {
		line, claim string
		want        protocol.ErrCode
	}{{admin, "super:admin", protocol.OK}, {admin, "super:other", protocol.NoAuth}, {"#", "super:admin", protocol.NoAuth}} {
		w := dial(t, alone(t, tc.line))
		secret(w)
		w.auth("digest", tc.claim)
		w.call(protocol.OpGetData, read("/secret"), tc.want)
	}
}

func effectOfDigestEnabled(t *testing.T) {
	for line, want := range map[string]protocol.ErrCode{"#": protocol.OK, "DigestAuthenticationProvider.enabled=false": protocol.AuthFailed} {
		if r := dial(t, alone(t, line)).auth("digest", "user:password"); r.Err != want {
			t.Errorf("%s: %v", line, r.Err)
		}
	}
}

// containers makes some, with a child that is gone again if used.
func containers(w *wire, n int, used bool) {
	for i := range n {
		c := create(fmt.Sprintf("/c%d", i), "")
		c.Mode = protocol.Container
		w.call(protocol.OpCreateContainer, c, protocol.OK)
		if used {
			w.call(protocol.OpCreate, create(c.Path+"/x", ""), protocol.OK)
			w.call(protocol.OpDelete, remove(c.Path+"/x"), protocol.OK)
		}
	}
}

// left is how many children the root has besides /zookeeper.
func (w *wire) left() int {
	d := protocol.NewDecoder(w.call(protocol.OpGetChildren, read("/"), protocol.OK).body)
	return len(d.Strings()) - 1
}

const often = "znode.container.checkIntervalMs=50"

func effectOfContainerInterval(t *testing.T) {
	seldom, s := dial(t, alone(t)), dial(t, alone(t, often))
	containers(seldom, 1, true)
	containers(s, 1, true)
	eventually(t, "the container is removed", func() bool { return s.left() == 0 })
	time.Sleep(100 * time.Millisecond)
	if seldom.left() != 1 {
		t.Error("removed without a check")
	}
}

func effectOfContainersPerMinute(t *testing.T) {
	w := dial(t, alone(t, "znode.container.checkIntervalMs=100", "znode.container.maxPerMinute=600"))
	containers(w, 6, true)
	start, from := time.Now(), w.left()
	eventually(t, "the containers are removed", func() bool { return w.left() == 0 })
	if took, least := time.Since(start), time.Duration(from-2)*100*time.Millisecond; took < least {
		t.Errorf("%d containers were removed in %v, want %v at least", from, took, least)
	}
}

func effectOfNeverUsedContainers(t *testing.T) {
	kept, w := dial(t, alone(t, often)), dial(t, alone(t, often, "znode.container.maxNeverUsedIntervalMs=300"))
	containers(kept, 1, false)
	start := time.Now()
	containers(w, 1, false)
	eventually(t, "the container is removed", func() bool { return w.left() == 0 })
	if took := time.Since(start); took < 280*time.Millisecond {
		t.Errorf("removed after %v", took)
	}
	if kept.left() != 1 {
		t.Error("removed although it was never used")
	}
}
