// Package server is one running coordd: its listeners, its clients'
// connections and the ordered pipeline of their requests. It composes the
// folders below it; what a request does to the state is fsm's business, and how
// entries reach every server is replica's.
package server

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/admin"
	"github.com/coordd/coordd/server/auth"
	"github.com/coordd/coordd/server/metrics"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/replica"
	"github.com/coordd/coordd/server/session"
	"github.com/coordd/coordd/server/watch"
)

// Server is one running coordd. Start it once; Shutdown ends it.
type Server struct {
	id      uint8
	cfg     *config.Config
	host    Host
	log     hclog.Logger
	metrics *metrics.Set
	admin   *admin.Admin
	auth    *auth.Registry
	watches *watch.Manager
	tracker *session.Tracker
	locals  locals
	readers atomic.Bool // read-only mode may have left connections
	replica *replica.Replica
	opened  chan struct{} // closed once replica is set
	joining joining
	self    *peer.Self
	sink    *sink
	started time.Time

	forwarder *forwarder
	throttle  *throttle      // nil without request_throttle_max_requests
	bucket    *bucket        // nil without connection_throttle_tokens
	large     *largeRequests // nil without largeRequestThreshold
	allocator atomic.Pointer[session.Allocator]
	ran       atomic.Int64 // ns, see running
	contact   atomic.Int64 // when a leader last acknowledged us, by running; 0 = never
	outage    *outage      // nil on a standalone server

	client    net.Listener
	listeners []interface{ Close() error }
	lock      io.Closer
	stop      chan struct{}
	stopOnce  sync.Once
	failed    chan error

	mu        sync.Mutex
	reign     *reign        // guarded by mu
	nextReign chan struct{} // closed when reign changes; guarded by mu
	reignedAt time.Time
	conns     map[*conn]struct{}
	perIP     map[netip.Addr]int
	bySession map[int64]*conn
	cluster   [16]byte
	withdrawn atomic.Bool           // Shutdown has begun
	learners  map[*learner]struct{} // while this server leads; guarded by mu

	touchMu sync.Mutex
	touched []*conn   // showed life since the last report; guarded by touchMu
	reports []*report // not acknowledged; guarded by touchMu
}

// Build names the program in the version line of srvr.
type Build struct {
	Version string
	Date    string // MM/DD/YYYY HH:MM TZ
}

// Start opens the stores and ports of cfg and runs until Shutdown. Nothing is
// left open when it fails.
func Start(cfg *config.Config, logger hclog.Logger, build Build) (*Server, error) {
	return StartOn(Host{}, cfg, logger, build)
}

// StartOn is Start on a given machine.
func StartOn(host Host, cfg *config.Config, logger hclog.Logger, build Build) (_ *Server, err error) {
	s := &Server{
		id:        cfg.MyID,
		cfg:       cfg,
		host:      host.filled(),
		log:       logger,
		metrics:   metrics.New(),
		auth:      auth.New(cfg.SuperDigest, cfg.DigestAuthEnabled),
		watches:   watch.New(),
		started:   time.Now(),
		opened:    make(chan struct{}),
		nextReign: make(chan struct{}),
		stop:      make(chan struct{}),
		failed:    make(chan error, 1),
		learners:  map[*learner]struct{}{},
		conns:     map[*conn]struct{}{},
		perIP:     map[netip.Addr]int{},
		bySession: map[int64]*conn{},
	}
	defer func() {
		if err != nil {
			s.closeListeners()
			s.locals.tracker.Stop()
			s.unlock()
		}
	}()
	s.admin = admin.New(s, s.metrics, cfg.Allows, build.Version, build.Date)
	s.tracker = session.New(cfg.TickTime, s.expire)
	s.startLocals()
	s.forwarder = &forwarder{server: s.id, nonce: randomNumber(), metrics: s.metrics}
	s.sink = &sink{s: s}
	if !cfg.Standalone {
		s.outage = newOutage(s.metrics)
	}
	s.throttle = newThrottle(cfg.Throttle, s.metrics, s.stop)
	s.bucket = newBucket(cfg.Throttle.Connections, s.metrics)
	s.large = newLargeRequests(cfg.Throttle)
	if err := s.openDirectories(); err != nil {
		return nil, err
	}
	if s.cluster, err = readClusterID(s.host.Disk, cfg.DataDir); err != nil {
		return nil, err
	}
	s.client, err = s.host.Listen(net.JoinHostPort(cfg.ClientAddress, strconv.Itoa(cfg.ClientPort)))
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	s.listeners = append(s.listeners, s.client)
	if err := s.startReplica(); err != nil {
		return nil, err
	}
	if cfg.Admin.Enabled {
		if err := s.startAdmin(); err != nil {
			s.replica.Shutdown()
			return nil, err
		}
	}
	if cfg.Metrics.Enabled {
		s.metrics.UsePrometheusForm()
		s.startMetrics()
	}
	go s.lead()
	if !cfg.Standalone {
		go s.watchLeader()
		go s.follow()
	}
	go s.keepAlive()
	go s.accept()
	return s, nil
}

// startReplica opens the stores, the ports between servers and Raft.
func (s *Server) startReplica() error {
	cfg := s.cfg
	present, err := replica.StoresPresent(cfg.DataLogDir, s.host.Disk.Exists)
	if err != nil {
		return fmt.Errorf("look for the log: %w", err)
	}
	storage, err := s.openStorage()
	if err != nil {
		return err
	}
	handedOver := false
	defer func() {
		if !handedOver {
			storage.Close()
		}
	}()
	has, err := replica.HasState(storage)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	openWire := func() (replica.Wire, int, error) {
		wire, pool := replica.NewLocalWire()
		return wire, pool, nil
	}
	var peers replica.Peers
	members := []replica.Member{{ID: s.id, Addr: "standalone", Voter: true}}
	if !cfg.Standalone && cfg.PeerType != config.Observer {
		err = s.startJoining(storage, present)
	} else {
		err = s.checkLog(storage)
	}
	if err != nil {
		return err
	}
	if !cfg.Standalone {
		s.self = s.makeSelf()
		me, _ := cfg.Member(s.id)
		if err := s.listenForStreams(me); err != nil {
			return err
		}
		openWire = func() (replica.Wire, int, error) { return s.openWire(me) }
		peers = survivors{s}
		members = s.listed()
	}
	t := cfg.Raft
	handedOver = true
	began := time.Now()
	s.replica, err = replica.Open(replica.Options{
		ID: s.id, OpenWire: openWire, Storage: storage, Reopen: s.reopenStorage, Joining: s.joining.number.Load(),
		Sink: s.sink, Peers: peers, Logger: s.log, GaveUp: s.gaveUp, Fatal: s.fail,
		OnSnapshot: s.countSnapshot,
		Timing: replica.Timing{
			Heartbeat: t.HeartbeatTimeout, Election: t.ElectionTimeout, Lease: t.LeaderLeaseTimeout, Commit: t.CommitTimeout,
			SnapshotThreshold: t.SnapshotThreshold, TrailingLogs: t.TrailingLogs,
		},
	})
	if err != nil {
		return err
	}
	s.metrics.LoadTime.ObserveSince(began)
	if err := s.checkMembers(); err != nil {
		return errors.Join(err, s.replica.Shutdown())
	}
	close(s.opened)
	if cfg.Standalone {
		if !has {
			if err := s.replica.Bootstrap(members); err != nil {
				return err
			}
		}
		return s.replica.Stand()
	}
	if s.joining.number.Load() != 0 {
		go s.join(members)
	}
	return nil
}

// openStorage opens the log, the stable store and the snapshots.
func (s *Server) openStorage() (replica.Storage, error) {
	return s.host.Disk.OpenStorage(s.cfg, replica.LogOptions{
		Logger:  s.log.Named("log"),
		OnStore: func(d time.Duration, entries int, err error) { s.stored(d, entries) },
	})
}

// stored notes that a write of some entries to the log took d.
func (s *Server) stored(d time.Duration, entries int) {
	s.metrics.LogStores.Inc()
	s.metrics.LogStoreSeconds.Add(d)
	s.metrics.FsyncTime.Observe(d.Milliseconds())
	s.metrics.BatchSize.Observe(int64(entries))
	if d.Milliseconds() > s.cfg.FsyncWarning.Milliseconds() {
		s.metrics.FsyncSlow.Inc()
		s.log.Warn("writing to the log is slow", "took", d)
	}
}

// listenForStreams opens the first port between servers.
func (s *Server) listenForStreams(me config.Member) error {
	quorum, err := s.host.Listen(s.peerAddr(me, me.QuorumPort))
	if err != nil {
		return fmt.Errorf("listen for servers (first port of server.%d): %w", me.ID, err)
	}
	s.listeners = append(s.listeners, quorum)
	streams := peer.Listen(quorum, s.self, map[peer.Purpose]func(*peer.Conn, peer.Hello){peer.PurposeStream: s.acceptStream})
	go streams.Serve()
	s.listeners = append(s.listeners, streams)
	return nil
}

// openWire opens the second port between servers, for Raft.
func (s *Server) openWire(me config.Member) (replica.Wire, int, error) {
	election, err := s.host.Listen(s.peerAddr(me, me.ElectionPort))
	if err != nil {
		return nil, 0, fmt.Errorf("listen for raft (second port of server.%d): %w", me.ID, err)
	}
	layer := raftLayer{peer.NewRaftLayer(election, s.self, me.ElectionAddr()), s.cfg}
	wire, pool := replica.NewWire(layer, me.ElectionAddr(), s.log.Named("raft"))
	return wire, pool, nil
}

// peerAddr is where to listen for servers.
func (s *Server) peerAddr(me config.Member, port int) string {
	host := me.Host
	if s.cfg.QuorumListenOnAllIPs {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// raftLayer finds out whom an address belongs to, for the handshake.
type raftLayer struct {
	*peer.RaftLayer
	cfg *config.Config
}

func (l raftLayer) DialAddr(addr string, timeout time.Duration) (net.Conn, error) {
	for _, m := range l.cfg.Members {
		if m.ElectionAddr() == addr {
			return l.RaftLayer.DialAddr(addr, m.ID, timeout)
		}
	}
	return nil, fmt.Errorf("no server has the address %s", addr)
}

// AddrOf is the second port's address of a server in zoo.cfg.
func (l raftLayer) AddrOf(id uint8) string {
	m, ok := l.cfg.Member(id)
	if !ok {
		return ""
	}
	return m.ElectionAddr()
}

func (s *Server) startAdmin() error {
	ln, err := s.host.Listen(net.JoinHostPort(s.cfg.Admin.Address, strconv.Itoa(s.cfg.Admin.Port)))
	if err != nil {
		// As in ZooKeeper, which serves clients without its AdminServer.
		s.log.Warn("AdminServer does not listen: set admin.serverPort, or admin.enableServer=false", "error", err)
		return nil
	}
	h := &http.Server{Handler: s.admin.Handler(), IdleTimeout: s.cfg.Admin.IdleTimeout, ReadHeaderTimeout: 10 * time.Second}
	s.listeners = append(s.listeners, h)
	go h.Serve(ln)
	return nil
}

// startMetrics opens the port for Prometheus.
func (s *Server) startMetrics() {
	ln, err := s.host.Listen(net.JoinHostPort(s.cfg.Metrics.Host, strconv.Itoa(s.cfg.Metrics.Port)))
	if err != nil {
		s.log.Warn("metrics are not served: set metricsProvider.httpPort", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", s.metrics.Handler())
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.listeners = append(s.listeners, h)
	go h.Serve(ln)
}

// accept takes client connections until the listener closes.
func (s *Server) accept() {
	for {
		nc, err := s.client.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("cannot accept clients", "error", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if c := s.welcome(nc); c != nil {
			go c.serve()
		} else {
			nc.Close()
		}
	}
}

// welcome books a connection; nil when there are too many.
func (s *Server) welcome(nc net.Conn) *conn {
	ip := netip.MustParseAddrPort(nc.RemoteAddr().String()).Addr().Unmap()
	c := &conn{s: s, nc: nc, ip: ip, ids: auth.FromAddr(ip)}
	c.ready.Add(1)
	c.room.L = &c.mu
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetKeepAlive(s.cfg.ClientTCPKeepAlive)
	}
	c.stats.established, c.stats.lastCxid, c.stats.lastZxid = time.Now(), -1, -1
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.cfg.MaxClientCnxns; n > 0 && s.perIP[ip] >= n {
		s.metrics.ConnectionRejected.Inc()
		s.log.Warn("too many connections from one address: set maxClientCnxns", "remote", ip, "max", n)
		return nil
	}
	if n := s.cfg.MaxCnxns; n > 0 && len(s.conns) >= n {
		s.metrics.ConnectionRejected.Inc()
		return nil
	}
	s.perIP[ip]++
	s.conns[c] = struct{}{}
	s.countConnection(c, 1)
	return c
}

func (s *Server) countConnection(c *conn, n int64) {
	s.metrics.AliveConnections.Add(n)
	if c.ip.IsLoopback() {
		s.metrics.InsecureLocal.Add(n)
	} else {
		s.metrics.InsecureRemote.Add(n)
	}
}

// countSnapshot is the replica's word of a snapshot.
func (s *Server) countSnapshot(did replica.SnapshotStep, took time.Duration, err error) {
	switch {
	case did == replica.SnapshotWritten && err != nil:
		s.metrics.SnapshotErrors.Inc()
	case did == replica.SnapshotWritten:
		s.metrics.SnapshotTime.Observe(took.Milliseconds())
	case did == replica.SnapshotLoaded:
		s.metrics.SnapLoadTime.Observe(took.Milliseconds())
	case did == replica.SnapshotInstalled:
		s.metrics.SnapshotsLoaded.Inc()
	case did == replica.SnapshotSent && err == nil:
		s.metrics.Snaps.Inc()
	}
}

// forget strikes a closed connection from the books.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perIP[c.ip]--; s.perIP[c.ip] <= 0 {
		delete(s.perIP, c.ip)
	}
	if id := c.sessionID.Load(); id != 0 && s.bySession[id] == c {
		delete(s.bySession, id)
	}
	s.countConnection(c, -1)
	c.readyOnce.Do(c.ready.Done)
}

// own makes c the connection of its session.
func (s *Server) own(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.conns[c]; open {
		s.bySession[c.sessionID.Load()] = c
	}
}

// owner is the connection of a session on this server; nil without one.
func (s *Server) owner(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bySession[id]
}

func (s *Server) connections() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

func (s *Server) setReign(l *reign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reign, s.reignedAt = l, time.Now()
	close(s.nextReign)
	s.nextReign = make(chan struct{})
	if l != nil {
		s.contact.Store(int64(max(s.running(), 1)))
	}
}

func (s *Server) currentReign() *reign {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reign
}

// ids allocates session ids of this incarnation.
func (s *Server) ids() *session.Allocator {
	if a := s.allocator.Load(); a != nil {
		return a
	}
	s.forwarder.mu.Lock()
	incarnation := s.forwarder.incarnation
	s.forwarder.mu.Unlock()
	s.allocator.CompareAndSwap(nil, session.NewAllocator(s.id, incarnation))
	return s.allocator.Load()
}

// fail ends the server for a fault that it must not go on after.
func (s *Server) fail(err error) {
	s.metrics.Unrecoverable.Inc()
	select {
	case s.failed <- err:
	default:
	}
}

// Failed delivers the fault for which this process must end.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown ends the server in an order that costs clients of the others
// nothing: no new clients, leadership handed over, what is under way answered
// by the new leader's entries, then connections, Raft, stores.
func (s *Server) Shutdown() {
	s.stopOnce.Do(func() {
		s.withdrawn.Store(true)
		s.client.Close()
		if !s.cfg.Standalone && s.replica.Leads() {
			if err := s.replica.TransferLeadership(); err != nil {
				s.log.Warn("could not hand leadership over", "error", err)
			}
		}
		s.forwarder.drained(2 * time.Second)
		close(s.stop)
		for _, c := range s.connections() {
			c.flush()
			c.close()
		}
		s.closeListeners()
		s.locals.tracker.Stop()
		if err := s.replica.Shutdown(); err != nil {
			s.log.Warn("shutdown", "error", err)
		}
		s.unlock()
	})
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// openDirectories makes and locks the data directories.
func (s *Server) openDirectories() error {
	for _, dir := range []string{s.cfg.DataDir, s.cfg.DataLogDir} {
		if foreign, err := s.host.Disk.Exists(filepath.Join(dir, "version-2")); foreign && err == nil {
			return fmt.Errorf("%s holds the data of a ZooKeeper (version-2): coordd does not read it; give coordd an empty dataDir", dir)
		}
		if !s.cfg.DataDirAutocreate {
			there, err := s.host.Disk.Exists(dir)
			if err == nil && !there {
				err = &fs.PathError{Op: "stat", Path: dir, Err: syscall.ENOENT}
			}
			if err != nil {
				return fmt.Errorf("data directory: %w", err)
			}
		}
		if err := s.host.Disk.MakeDir(dir); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	var err error
	s.lock, err = s.host.Disk.Lock(s.cfg.DataDir)
	return err
}

func (s *Server) unlock() {
	if s.lock != nil {
		s.lock.Close()
	}
}

func randomID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

func randomNumber() uint64 {
	id := randomID()
	return binary.BigEndian.Uint64(id[:])
}
