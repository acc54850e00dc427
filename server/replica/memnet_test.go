package replica

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// memnet is a network in memory for raft.NetworkTransport that works under
// testing/synctest. Each direction between two addresses has its own delay
// and can be cut: what is on its way then waits until the cut is healed.
type memnet struct {
	mu        sync.Mutex
	changed   chan struct{} // closed and replaced on every change
	listeners map[string]*memListener
	links     map[[2]string]*memLink
	conns     map[*memConn]struct{}
}

type memLink struct {
	delay time.Duration
	cut   bool
}

func newMemnet() *memnet {
	return &memnet{
		changed:   make(chan struct{}),
		listeners: make(map[string]*memListener),
		links:     make(map[[2]string]*memLink),
		conns:     make(map[*memConn]struct{}),
	}
}

func (n *memnet) broadcastLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *memnet) linkLocked(from, to string) *memLink {
	l := n.links[[2]string{from, to}]
	if l == nil {
		l = &memLink{}
		n.links[[2]string{from, to}] = l
	}
	return l
}

// set changes one direction.
func (n *memnet) set(from, to string, change func(*memLink)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n.linkLocked(from, to))
	n.broadcastLocked()
}

// cut cuts or heals one direction.
func (n *memnet) cut(from, to string, on bool) {
	n.set(from, to, func(l *memLink) { l.cut = on })
}

// drop closes all connections of addr, as the death of its process does.
func (n *memnet) drop(addr string) {
	n.mu.Lock()
	var mine []*memConn
	for c := range n.conns {
		if c.out.from == addr {
			mine = append(mine, c)
		}
	}
	n.mu.Unlock()
	for _, c := range mine {
		c.Close()
	}
}

// memListener is a raft.StreamLayer.
type memListener struct {
	n      *memnet
	addr   memAddr
	accept chan net.Conn
	stop   chan struct{}
	once   sync.Once
}

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (n *memnet) listen(addr string) *memListener {
	l := &memListener{n: n, addr: memAddr(addr), accept: make(chan net.Conn, 64), stop: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l
}

func (l *memListener) Addr() net.Addr { return l.addr }

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.stop:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		if l.n.listeners[string(l.addr)] == l {
			delete(l.n.listeners, string(l.addr))
		}
		l.n.mu.Unlock()
		close(l.stop)
		l.n.drop(string(l.addr))
	})
	return nil
}

func (l *memListener) Dial(to raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	n := l.n
	n.mu.Lock()
	defer n.mu.Unlock()
	peer := n.listeners[string(to)]
	if peer == nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Err: syscall.ECONNREFUSED}
	}
	a, b := &memHalf{from: string(l.addr), to: string(to)}, &memHalf{from: string(to), to: string(l.addr)}
	mine, theirs := &memConn{n: n, in: b, out: a}, &memConn{n: n, in: a, out: b}
	n.conns[mine], n.conns[theirs] = struct{}{}, struct{}{}
	peer.accept <- theirs
	return mine, nil
}

// memHalf is one direction of a connection.
type memHalf struct {
	from, to string
	chunks   []memChunk
	closed   bool // by the writer
	dead     bool // by the reader
}

type memChunk struct {
	at    time.Time
	bytes []byte
}

type memConn struct {
	n       *memnet
	in, out *memHalf
	closed  bool
	readBy  time.Time
}

func (c *memConn) Read(b []byte) (int, error) {
	for {
		c.n.mu.Lock()
		h, now := c.in, time.Now()
		open := !c.n.linkLocked(h.from, h.to).cut
		var wakeAt time.Time
		switch {
		case c.closed:
			c.n.mu.Unlock()
			return 0, net.ErrClosed
		case !c.readBy.IsZero() && !now.Before(c.readBy):
			c.n.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case open && len(h.chunks) > 0 && !now.Before(h.chunks[0].at):
			n := copy(b, h.chunks[0].bytes)
			if h.chunks[0].bytes = h.chunks[0].bytes[n:]; len(h.chunks[0].bytes) == 0 {
				h.chunks = h.chunks[1:]
			}
			c.n.mu.Unlock()
			return n, nil
		case open && len(h.chunks) == 0 && h.closed:
			c.n.mu.Unlock()
			return 0, io.EOF
		case open && len(h.chunks) > 0:
			wakeAt = h.chunks[0].at
		}
		if !c.readBy.IsZero() && (wakeAt.IsZero() || c.readBy.Before(wakeAt)) {
			wakeAt = c.readBy
		}
		changed := c.n.changed
		c.n.mu.Unlock()
		if wakeAt.IsZero() {
			<-changed
			continue
		}
		timer := time.NewTimer(time.Until(wakeAt))
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (c *memConn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.out.dead {
		return 0, syscall.EPIPE
	}
	at := time.Now().Add(c.n.linkLocked(c.out.from, c.out.to).delay)
	if k := len(c.out.chunks); k > 0 && at.Before(c.out.chunks[k-1].at) {
		at = c.out.chunks[k-1].at
	}
	c.out.chunks = append(c.out.chunks, memChunk{at, append([]byte(nil), b...)})
	c.n.broadcastLocked()
	return len(b), nil
}

func (c *memConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.closed, c.out.closed, c.in.dead = true, true, true
	delete(c.n.conns, c)
	c.n.broadcastLocked()
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return memAddr(c.out.from) }
func (c *memConn) RemoteAddr() net.Addr { return memAddr(c.out.to) }
func (c *memConn) SetDeadline(t time.Time) error {
	return c.SetReadDeadline(t)
}
func (c *memConn) SetReadDeadline(t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.readBy = t
	c.n.broadcastLocked()
	return nil
}
func (c *memConn) SetWriteDeadline(time.Time) error { return nil } // writes never wait

// spyWire remembers the library's pipelines, so that a test can free one that
// wedged, and shows what is sent on them.
type spyWire struct {
	*raft.NetworkTransport
	onAppend func(*raft.AppendEntriesRequest) // nil, or called for each pipelined request

	mu        sync.Mutex
	pipelines []raft.AppendPipeline
}

func (w *spyWire) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := w.NetworkTransport.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pipelines = append(w.pipelines, p)
	return spyPipeline{p, w}, nil
}

func (w *spyWire) free() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pipelines {
		p.Close()
	}
}

type spyPipeline struct {
	raft.AppendPipeline
	w *spyWire
}

func (p spyPipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.w.onAppend != nil {
		p.w.onAppend(req)
	}
	return p.AppendPipeline.AppendEntries(req, resp)
}

// newWire makes a NetworkTransport on the network, with connections that die
// with it. inFlight 0 means the library's 2.
func newWire(n *memnet, addr string, inFlight int) *spyWire {
	return &spyWire{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Logger:          hclog.NewNullLogger(),
		Stream:          n.listen(addr),
		MaxPool:         3,
		MaxRPCsInFlight: inFlight,
		Timeout:         10 * time.Second,
	})}
}

// testFSM keeps what was applied.
type testFSM struct {
	mu      sync.Mutex
	applied []string
	after   func(index uint64) // nil, or called after each apply
}

func (f *testFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	f.applied = append(f.applied, string(l.Data))
	f.mu.Unlock()
	if f.after != nil {
		f.after(l.Index)
	}
	return nil
}

func (f *testFSM) has(s string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.applied {
		if a == s {
			return true
		}
	}
	return false
}

func (f *testFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots here") }
func (f *testFSM) Restore(rc io.ReadCloser) error      { return rc.Close() }

// node is one server of a testNet.
type node struct {
	id     raft.ServerID
	addr   string
	wire   *spyWire
	trans  *Transport // nil if raw
	raft   *raft.Raft
	fsm    *testFSM
	logs   *raft.InmemStore
	stable *raft.InmemStore
	// restarts has why the Transport wants this Raft started again.
	restarts atomic.Pointer[error]
}

// nodeOptions describe how a test's servers are built.
type nodeOptions struct {
	raw      bool // the library's own transport, without any guard
	inFlight int
	conf     func(*raft.Config)
	logs     func(n *node) raft.LogStore
	stable   func(n *node) raft.StableStore
	onAppend func(*raft.AppendEntriesRequest)
	announce bool // the FSM announces commits
}

// testNet is a cluster on a memnet. All times are virtual: use it under
// synctest.
type testNet struct {
	t     *testing.T
	net   *memnet
	nodes []*node
}

func testConfig(id raft.ServerID) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 500*time.Millisecond, 500*time.Millisecond, 250*time.Millisecond
	c.SnapshotThreshold = 1 << 40
	c.Logger = hclog.NewNullLogger()
	return c
}

// startNet starts voters "1" to "n" at the addresses "n1" to "nn".
func startNet(t *testing.T, voters int, o nodeOptions) *testNet {
	t.Helper()
	c := &testNet{t: t, net: newMemnet()}
	var conf raft.Configuration
	for i := range voters {
		id := string(rune('1' + i))
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress("n" + id)})
	}
	for _, s := range conf.Servers {
		c.nodes = append(c.nodes, c.start(s.ID, conf, o))
	}
	t.Cleanup(c.stop)
	return c
}

// start bootstraps and starts one server.
func (c *testNet) start(id raft.ServerID, conf raft.Configuration, o nodeOptions) *node {
	c.t.Helper()
	n := &node{id: id, addr: "n" + string(id), fsm: &testFSM{}, logs: raft.NewInmemStore(), stable: raft.NewInmemStore()}
	n.wire = newWire(c.net, n.addr, o.inFlight)
	n.wire.onAppend = o.onAppend
	config := testConfig(id)
	if o.conf != nil {
		o.conf(config)
	}
	var logs raft.LogStore = n.logs
	if o.logs != nil {
		logs = o.logs(n)
	}
	var stable raft.StableStore = n.stable
	if o.stable != nil {
		stable = o.stable(n)
	}
	var trans raft.Transport = n.wire
	if !o.raw {
		votes, _ := stable.(*VoteStore)
		n.trans = NewTransport(n.wire, id, 3, votes)
		trans = n.trans
	}
	snaps := raft.NewInmemSnapshotStore()
	if len(conf.Servers) > 0 {
		if err := raft.BootstrapCluster(config, logs, stable, snaps, trans, conf); err != nil {
			c.t.Fatal(err)
		}
	}
	if o.announce {
		n.fsm.after = func(index uint64) { n.trans.AnnounceCommit(index, everybody) }
	}
	r, err := raft.NewRaft(config, n.fsm, logs, stable, snaps, trans)
	if err != nil {
		c.t.Fatal(err)
	}
	n.raft = r
	if n.trans != nil {
		n.trans.Attach(r, WrapLogStore(logs, nil), func(reason error) { n.restarts.Store(&reason) })
	}
	return n
}

// stop shuts everything down, including what the library wedged.
func (c *testNet) stop() {
	var all []raft.Future
	for _, n := range c.nodes {
		all = append(all, n.raft.Shutdown())
	}
	for _, n := range c.nodes {
		n.wire.free()
		n.wire.Close()
	}
	for _, f := range all {
		f.Error()
	}
	for _, n := range c.nodes {
		if n.trans != nil {
			n.trans.Close() // Raft does not at its second Shutdown
		}
	}
}

// leader waits for a leader among nodes (all if none are given).
func (c *testNet) leader(among ...*node) *node {
	c.t.Helper()
	if among == nil {
		among = c.nodes
	}
	for range 4000 {
		for _, n := range among {
			if n.raft.State() == raft.Leader && n.raft.VerifyLeader().Error() == nil {
				return n
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatal("no leader within 20 s")
	return nil
}

// others returns all nodes but n.
func (c *testNet) others(n *node) []*node {
	var o []*node
	for _, m := range c.nodes {
		if m != n {
			o = append(o, m)
		}
	}
	return o
}

// eventually waits up to d for ok.
func eventually(d time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
		if !time.Now().Before(deadline) {
			return false
		}
	}
}

// stranger is an endpoint without Raft, for hand-made messages.
func (c *testNet) stranger(addr string) *spyWire {
	w := newWire(c.net, addr, 0)
	c.t.Cleanup(func() { w.CloseStreams(); w.Close() })
	return w
}

// headerOf is a message header of the server called id.
func headerOf(id string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte("n" + id)}
}
