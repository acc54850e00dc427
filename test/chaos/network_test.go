//go:build chaos

package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/internal/zkprocess"
)

// network joins network namespaces, one for each server and that of the test, by
// passing packets on between their TUN devices: so this process decides what
// becomes of each. Host 0 is the test itself, host N the server N.
type network struct {
	hosts []*host

	mu    sync.Mutex
	rules map[[2]int]rule
	queue map[[2]int]chan delayed
}

// host is one namespace.
type host struct {
	namespace int // file descriptor; -1: the test's own
	tun       *os.File
}

// rule is what happens to packets from one host to another.
type rule struct {
	cut   bool
	delay time.Duration
	loss  float64
}

type delayed struct {
	due    time.Time
	packet []byte
}

const subnet = "10.77.0."

// addrOf is a host's address; the test's own is .100.
func addrOf(host int) [4]byte {
	if host == 0 {
		host = 100
	}
	return [4]byte{10, 77, 0, byte(host)}
}

func newNetwork(t *testing.T, servers int) *network {
	t.Helper()
	n := &network{rules: map[[2]int]rule{}, queue: map[[2]int]chan delayed{}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		for _, h := range n.hosts {
			h.tun.Close()
			if h.namespace >= 0 {
				unix.Close(h.namespace)
			}
		}
		running.Wait()
	})
	for i := range servers + 1 {
		h, err := newHost(i)
		if err != nil {
			t.Fatalf("make a network (this test needs root and /dev/net/tun): %v", err)
		}
		n.hosts = append(n.hosts, h)
	}
	for from := range n.hosts {
		for to := range n.hosts {
			queue := make(chan delayed, 10_000)
			n.queue[[2]int{from, to}] = queue
			running.Go(func() { n.deliver(ctx, to, queue) })
		}
	}
	for from := range n.hosts {
		running.Go(func() { n.forward(from) })
	}
	return n
}

// newHost makes a namespace and its device.
func newHost(number int) (*host, error) {
	type result struct {
		h   *host
		err error
	}
	made := make(chan result)
	go func() {
		// The thread ends with this goroutine: nobody else runs in there.
		runtime.LockOSThread()
		h := &host{namespace: -1}
		if number > 0 {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				made <- result{nil, fmt.Errorf("make a namespace: %w", err)}
				return
			}
			fd, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				made <- result{nil, fmt.Errorf("open the namespace: %w", err)}
				return
			}
			h.namespace = fd
			if err := zkprocess.InterfaceUp("lo"); err != nil {
				made <- result{nil, err}
				return
			}
		}
		var err error
		h.tun, err = openTun(addrOf(number))
		made <- result{h, err}
	}()
	r := <-made
	return r.h, r.err
}

// openTun makes a TUN device in this thread's namespace, with an address.
func openTun(addr [4]byte) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	const name = "chaos0"
	device, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, device); err != nil {
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	if err := setAddr(socket, name, unix.SIOCSIFADDR, addr); err != nil {
		return nil, err
	}
	if err := setAddr(socket, name, unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}); err != nil {
		return nil, err
	}
	if err := zkprocess.InterfaceUp(name); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

func setAddr(socket int, name string, request uint, value [4]byte) error {
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := device.SetInet4Addr(value[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, request, device); err != nil {
		return fmt.Errorf("give %s the address %v: %w", name, value, err)
	}
	return nil
}

// forward passes on what a host sends.
func (n *network) forward(from int) {
	buffer := make([]byte, 1<<16)
	for {
		size, err := n.hosts[from].tun.Read(buffer)
		if err != nil {
			return
		}
		packet := buffer[:size]
		if size < 20 || packet[0]>>4 != 4 {
			continue // IPv6 asks who is there
		}
		to := int(packet[19])
		if to == 100 {
			to = 0
		}
		if to >= len(n.hosts) || to == from || binary.BigEndian.Uint16(packet[16:]) != 10<<8+77 {
			continue
		}
		n.mu.Lock()
		r := n.rules[[2]int{from, to}]
		n.mu.Unlock()
		switch {
		case r.cut, r.loss > 0 && rand.Float64() < r.loss:
		case r.delay > 0:
			select {
			case n.queue[[2]int{from, to}] <- delayed{time.Now().Add(r.delay), append([]byte(nil), packet...)}:
			default: // as a router whose queue is full
			}
		default:
			_, _ = n.hosts[to].tun.Write(packet) // a full queue drops it, as networks do
		}
	}
}

// deliver passes on what was delayed.
func (n *network) deliver(ctx context.Context, to int, queue <-chan delayed) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-queue:
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(d.due)):
			}
			_, _ = n.hosts[to].tun.Write(d.packet) // as above
		}
	}
}

// set makes a rule for packets from one host to another.
func (n *network) set(from, to int, r rule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules[[2]int{from, to}] = r
}

// heal takes all rules away.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.rules)
}

// in runs f on a thread in a host's namespace: what it starts lives there.
func (n *network) in(number int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good, as above
		if err := unix.Setns(n.hosts[number].namespace, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the namespace of server %d: %w", number, err)
			return
		}
		done <- f()
	}()
	return <-done
}
