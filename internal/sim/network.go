// Package sim is machines in memory, for tests under testing/synctest: a
// network whose links are slow, lose, stall, break and part, and disks that
// forget at a power cut what was not synced, and that stall, fail and fill up.
// All waiting is on virtual time, and no lock is held meanwhile.
package sim

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how many bytes a connection takes that nobody has read.
	window = 1 << 20
	// resend is how long a lost packet takes at least; each further loss doubles it.
	resend = 200 * time.Millisecond
	// backlog is how many connections wait for Accept.
	backlog = 256
)

var errLinkDown = errors.New("the machine is off")

// Link is one direction between two machines, as TCP shows it.
type Link struct {
	Delay  time.Duration
	Jitter time.Duration // up to so much more, for each write; connections overtake each other by it
	Loss   float64       // chance that a write has to be sent again
	Cut    bool          // nothing arrives; what is on its way waits
	Refuse bool          // a firewall answers new connections with a refusal; open ones go on
}

// Network connects machines by their IP addresses.
type Network struct {
	mu        sync.Mutex
	random    *rand.Rand
	standard  Link
	links     map[[2]string]*Link
	held      map[[2]string]time.Time // nothing arrives before, after a cut
	machines  map[string]*Machine     // those that are on
	listeners map[string]*listener    // by host:port
	conns     map[*conn]struct{}
	ports     int
}

// NewNetwork returns a network all of whose links are standard. random is its own.
func NewNetwork(standard Link, random *rand.Rand) *Network {
	return &Network{
		random:    random,
		standard:  standard,
		links:     map[[2]string]*Link{},
		held:      map[[2]string]time.Time{},
		machines:  map[string]*Machine{},
		listeners: map[string]*listener{},
		conns:     map[*conn]struct{}{},
	}
}

// Machine is the network as one process sees it, from its start to its end. What
// it opened ends with it.
type Machine struct {
	n      *Network
	ip     string
	off    bool // guarded by Network.mu
	frozen bool // guarded by Network.mu
}

// Boot returns the network of a process that starts at ip, in place of an
// earlier one, which must be off.
func (n *Network) Boot(ip string) *Machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := &Machine{n: n, ip: ip}
	n.machines[ip] = m
	return m
}

// Set changes the link from one address to another.
func (n *Network) Set(from, to string, change func(*Link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]string{from, to}
	l := n.links[key]
	if l == nil {
		own := n.standard
		l = &own
		n.links[key] = l
	}
	wasCut := l.Cut
	change(l)
	if wasCut && !l.Cut { // what waited is sent again some time after
		n.held[key] = time.Now().Add(time.Duration(n.random.Int64N(int64(resend))))
	}
	n.wakeLocked(func(c *conn) bool { return c.in.from == from && c.in.to == to })
}

// Heal makes all links standard again.
func (n *Network) Heal() {
	n.mu.Lock()
	keys := slices.Collect(maps.Keys(n.links))
	n.mu.Unlock()
	for _, key := range keys {
		n.Set(key[0], key[1], func(l *Link) { *l = n.standard })
	}
}

func (n *Network) linkLocked(from, to string) *Link {
	if l := n.links[[2]string{from, to}]; l != nil {
		return l
	}
	return &n.standard
}

func (n *Network) wakeLocked(which func(*conn) bool) {
	for c := range n.conns {
		if which(c) {
			c.wake()
		}
	}
}

// Stall keeps what is sent on the connections that there are, in one direction,
// from arriving for d: their packets are lost and sent again. New connections
// go on.
func (n *Network) Stall(from, to string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.in.from == from && c.in.to == to {
			c.in.until = time.Now().Add(d)
		}
	}
}

// Lag delays by d more what is sent from now on on the connections that there
// are, in one direction: they go another way than new ones.
func (n *Network) Lag(from, to string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.out.from == from && c.out.to == to {
			c.out.lag = d
		}
	}
}

// Reset breaks about half of the connections between two addresses, so that both
// sides are told, or only one: the other finds out when it writes.
func (n *Network) Reset(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.out.from != a || c.out.to != b {
			continue
		}
		switch n.random.IntN(6) {
		case 0:
			n.breakLocked(c)
			n.breakLocked(c.peer)
		case 1:
			n.breakLocked(c)
			c.peer.out.lost = true
		case 2:
			n.breakLocked(c.peer)
			c.out.lost = true
		}
	}
}

// breakLocked has c see a reset now.
func (n *Network) breakLocked(c *conn) {
	c.broken = true
	c.in.chunks, c.in.bytes = nil, 0
	c.wake()
}

// Freeze makes the machine's process stand still, as far as others can see, or go
// on: nothing it sends leaves it, and nothing that arrives is read.
func (m *Machine) Freeze(on bool) {
	m.n.mu.Lock()
	defer m.n.mu.Unlock()
	m.frozen = on
	m.n.wakeLocked(func(c *conn) bool { return c.m == m || c.peer.m == m })
	for _, l := range m.n.listeners {
		l.wake()
	}
}

// Kill ends the process: its ports and connections close. Silent is the end of
// the machine: nobody is told, and dials wait, until Boot.
func (m *Machine) Kill(silent bool) {
	n := m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.off {
		return
	}
	m.off = true
	if n.machines[m.ip] == m && silent {
		delete(n.machines, m.ip)
	}
	for addr, l := range n.listeners {
		if l.m == m {
			delete(n.listeners, addr)
			l.closed = true
			l.wake()
		}
	}
	for c := range n.conns {
		if c.m != m {
			continue
		}
		if silent {
			c.peer.out.lost = true
			c.closeLocked(nil)
		} else {
			c.closeLocked(syscall.ECONNRESET)
		}
	}
}

// address is host:port.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

type listener struct {
	m       *Machine
	addr    address
	waiting []*conn       // guarded by Network.mu
	closed  bool          // guarded by Network.mu
	changed chan struct{} // capacity 1
}

func (l *listener) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Listen opens a port of the machine.
func (m *Machine) Listen(addr string) (net.Listener, error) {
	n := m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.off {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: errLinkDown}
	}
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &listener{m: m, addr: address(addr), changed: make(chan struct{}, 1)}
	n.listeners[addr] = l
	return l, nil
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	for {
		l.m.n.mu.Lock()
		if l.closed {
			l.m.n.mu.Unlock()
			return nil, net.ErrClosed
		}
		if len(l.waiting) > 0 && !l.m.frozen {
			c := l.waiting[0]
			l.waiting = l.waiting[1:]
			l.m.n.mu.Unlock()
			return c, nil
		}
		l.m.n.mu.Unlock()
		<-l.changed
	}
}

func (l *listener) Close() error {
	n := l.m.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	if n.listeners[string(l.addr)] == l {
		delete(n.listeners, string(l.addr))
	}
	for _, c := range l.waiting {
		c.closeLocked(syscall.ECONNRESET)
	}
	l.waiting = nil
	l.wake()
	return nil
}

// Dial connects to addr. It takes as long as a packet there and back; while the
// way is cut or the machine off, until ctx ends. The error of a port that is
// closed is ECONNREFUSED. Where packets are lost, a connection may come to
// stand at the other side alone.
func (m *Machine) Dial(ctx context.Context, addr string) (net.Conn, error) {
	ip, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	for again := resend; ; again *= 2 {
		if m.isOff() { // nobody hears it, nor needs it hurry
			<-ctx.Done()
			return nil, dialError(ctx.Err())
		}
		there, back, passes, lost := m.n.way(m, ip)
		if passes {
			if err := pause(ctx, there); err != nil {
				return nil, dialError(err)
			}
			c, err := m.n.connect(m, ip, addr)
			if err == nil && lost { // the answer is: this side never knows
				if err = pause(ctx, again); err == nil {
					c.Close()
					continue
				}
				c.Close()
				return nil, dialError(err)
			}
			if waited := pause(ctx, back); waited != nil {
				if err == nil {
					c.Close()
				}
				return nil, dialError(waited)
			}
			if err != nil {
				return nil, dialError(err)
			}
			return c, nil
		}
		if err := pause(ctx, again); err != nil {
			return nil, dialError(err)
		}
	}
}

func (m *Machine) isOff() bool {
	m.n.mu.Lock()
	defer m.n.mu.Unlock()
	return m.off
}

func dialError(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

// pause waits for d of virtual time.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// way is how long a packet takes to ip and back; passes is false where it gets
// no answer, and lost says that the answer alone is lost.
func (n *Network) way(m *Machine, ip string) (there, back time.Duration, passes, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out, in := n.linkLocked(m.ip, ip), n.linkLocked(ip, m.ip)
	passes = !m.frozen && !out.Cut && !in.Cut && n.machines[ip] != nil && n.random.Float64() >= out.Loss
	return n.delayLocked(out), n.delayLocked(in), passes, n.random.Float64() < in.Loss
}

func (n *Network) delayLocked(l *Link) time.Duration {
	if l.Jitter <= 0 {
		return l.Delay
	}
	return l.Delay + time.Duration(n.random.Int64N(int64(l.Jitter)))
}

// connect makes a connection from m to addr.
func (n *Network) connect(m *Machine, ip, addr string) (*conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.off {
		return nil, errLinkDown
	}
	l := n.listeners[addr]
	if n.linkLocked(m.ip, ip).Refuse || l == nil || len(l.waiting) >= backlog {
		return nil, syscall.ECONNREFUSED
	}
	n.ports++
	local := address(net.JoinHostPort(m.ip, port(n.ports)))
	there, back := &half{from: m.ip, to: ip}, &half{from: ip, to: m.ip}
	mine := &conn{n: n, m: m, local: local, remote: l.addr, in: back, out: there}
	theirs := &conn{n: n, m: l.m, local: l.addr, remote: local, in: there, out: back}
	mine.peer, theirs.peer = theirs, mine
	for _, c := range []*conn{mine, theirs} {
		c.readable, c.writable = make(chan struct{}, 1), make(chan struct{}, 1)
		n.conns[c] = struct{}{}
	}
	l.waiting = append(l.waiting, theirs)
	l.wake()
	return mine, nil
}
