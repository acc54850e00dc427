//go:build overload

package overload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// fill makes n znodes of size bytes.
func (s *site) fill(n, size int) bench.Keys {
	s.t.Helper()
	b, err := bench.NewSite(s.t.Context(), s.addrs, guestTimeout)
	if err != nil {
		s.t.Fatal(err)
	}
	keys, err := b.Fill(s.t.Context(), n, make([]byte, size), bench.Uniform)
	if err != nil {
		s.t.Fatal(err)
	}
	return keys
}

// run runs a load to its end.
func (s *site) run(load *bench.Load) *bench.Result {
	s.t.Helper()
	load.Servers, load.Timeout = s.addrs, 30*time.Second
	r, err := bench.Start(s.t.Context(), load)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Wait()
	result := r.Take()
	r.Close()
	return result
}

// TestRequests asks for ten times as much as the servers can do.
func TestRequests(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	keys := s.fill(1000, 100)
	for _, tt := range []struct {
		name string
		mix  bench.Mix
		size int
	}{
		{"writes", bench.Mix{{Kind: bench.Set, Weight: 1}}, 100},
		{"long writes", bench.Mix{{Kind: bench.Set, Weight: 1}}, 16 << 10},
		{"reads and writes", bench.Mix{{Kind: bench.Get, Weight: 9}, {Kind: bench.Set, Weight: 1}}, 100},
	} {
		load := bench.Load{Mix: tt.mix, Sessions: 96, Outstanding: 960, Duration: lasting(5 * time.Second), Keys: keys, Data: make([]byte, tt.size)}
		can := s.run(&load).OpsPerSecond
		load.Sessions, load.Outstanding = scaled(2000), scaled(200_000)
		load.Rate, load.Duration = 10*can, lasting(20*time.Second)
		got := s.run(&load)
		if got.Requests == 0 {
			t.Errorf("%s: nothing was answered", tt.name)
		}
		s.unharmed("ten times the "+tt.name, fmt.Sprintf("%.0f a second asked, %.0f answered (%.0f alone), %d sessions, %d outstanding, %d errors",
			10*can, got.OpsPerSecond, can, load.Sessions, load.Outstanding, got.Errors), 2<<30)
	}
}

// TestWatches leaves more watches than anybody should, and fires them at once.
func TestWatches(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	keys := s.fill(scaled(20_000), 10)
	var told atomic.Int64
	load := &bench.Load{Servers: s.addrs, Mix: bench.Mix{{Kind: bench.Watch, Weight: 1}}, Sessions: 100, Outstanding: 6400,
		Requests: int64(100 * keys.Count), Keys: keys, Timeout: 30 * time.Second, Notified: func() { told.Add(1) }}
	r, err := bench.Start(t.Context(), load)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Wait()
	left := r.Take().Requests
	began := time.Now()
	s.run(&bench.Load{Mix: bench.Mix{{Kind: bench.Set, Weight: 1}}, Sessions: 64, Outstanding: 6400, Duration: lasting(20 * time.Second), Keys: keys, Data: []byte("changed")})
	took := time.Since(began)
	s.unharmed("watches", fmt.Sprintf("%d left, %d fired within %v", left, told.Load(), took.Round(time.Second)), 2<<30)
	if told.Load() < left/2 {
		t.Errorf("%d of %d watches fired", told.Load(), left)
	}
}

// TestSlowConsumers has clients ask for more than they ever read.
func TestSlowConsumers(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	c, err := zkclient.Dial(t.Context(), s.addrs[0], zkclient.Options{Timeout: guestTimeout})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create("/long", make([]byte, 900<<10), protocol.Persistent, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	get := frame((&protocol.PathWatchRequest{Path: "/long"}).AppendTo((&protocol.RequestHeader{Xid: 1, Op: protocol.OpGetData}).AppendTo(nil)))
	const perPacket = 1000 // so that asking costs nothing
	packet := bytes.Repeat(get, perPacket)
	var asked atomic.Int64
	until := time.Now().Add(lasting(20 * time.Second))
	each(scaled(300), func(i int) {
		conn, err := open(s.addrs[i%3], 30*time.Second)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(4096)
		conn.(*net.TCPConn).SetWriteBuffer(64 << 10) // the kernel's memory for all is shared with the servers
		conn.SetDeadline(until)
		for time.Now().Before(until) {
			if _, err := conn.Write(packet); err != nil {
				time.Sleep(time.Until(until))
				return
			}
			asked.Add(perPacket)
		}
	})
	s.unharmed("slow consumers", fmt.Sprintf("%d clients read nothing of %d answers of 900 KiB", scaled(300), asked.Load()), 2<<30)
}

// TestConnections opens more connections than anybody should.
func TestConnections(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	n := connections(t, scaled(15_000))
	r, err := bench.Start(t.Context(), &bench.Load{Servers: s.addrs, Sessions: n, Duration: lasting(10 * time.Second), Timeout: 30 * time.Second, Connecting: n})
	if err != nil {
		t.Fatal(err)
	}
	r.Wait()
	r.Close()
	s.unharmed("connections", fmt.Sprintf("%d at once, open within %v", n, r.Connected.Round(time.Millisecond)), 1<<30)
}

// returning is a client that comes back with its session until it is let in.
type returning struct {
	id       int64
	password []byte
}

// TestReconnectBurst kills all servers and starts them again: all their clients
// come back at once, each again and again, and none loses its session.
func TestReconnectBurst(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	n := connections(t, scaled(10_000))
	clients := make([]returning, n)
	conns := make([]net.Conn, n)
	room := make(chan struct{}, 64)
	var failed atomic.Int64
	each(n, func(i int) {
		room <- struct{}{}
		defer func() { <-room }()
		conn, resp, err := attach(s.addrs[i%3], returning{}, guestTimeout)
		if err != nil {
			failed.Add(1)
			return
		}
		conns[i], clients[i] = conn, returning{resp.SessionID, resp.Password}
	})
	if failed.Load() > 0 {
		t.Fatalf("%d of %d clients could not connect", failed.Load(), n)
	}
	each(3, func(i int) { s.servers[i].Kill() })
	for i, server := range s.servers {
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		s.pids[i] = server.Pid()
	}
	began := time.Now()
	var expired, tries atomic.Int64
	var last atomic.Int64
	each(n, func(i int) {
		conns[i].Close()
		for at := i; time.Since(began) < time.Minute; at++ {
			tries.Add(1)
			conn, resp, err := attach(s.addrs[at%3], clients[i], guestTimeout)
			if err == nil && resp.SessionID != clients[i].id {
				conn.Close()
				expired.Add(1)
				return
			}
			if err == nil {
				conns[i] = conn
				last.Store(max(last.Load(), int64(time.Since(began))))
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		failed.Add(1)
	})
	s.leader = s.leads() // of the new ones
	s.unharmed("reconnect burst", fmt.Sprintf("%d clients back within %v of the start of all servers, %d tries, %d expired, %d not back",
		n, time.Duration(last.Load()).Round(time.Millisecond), tries.Load(), expired.Load(), failed.Load()), 1<<30)
	if expired.Load() > 0 || failed.Load() > 0 {
		t.Errorf("%d sessions expired, %d clients did not come back", expired.Load(), failed.Load())
	}
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// attach shakes hands for a session, a new one for the zero returning.
func attach(addr string, c returning, timeout time.Duration) (net.Conn, protocol.ConnectResponse, error) {
	var resp protocol.ConnectResponse
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, resp, err
	}
	req := protocol.ConnectRequest{TimeoutMs: int32(timeout.Milliseconds()), SessionID: c.id, Password: c.password}
	if c.password == nil {
		req.Password = make([]byte, 16)
	}
	conn.SetDeadline(time.Now().Add(timeout))
	_, err = conn.Write(frame(req.AppendTo(nil)))
	var answer []byte
	if err == nil {
		answer, err = readFrame(conn)
	}
	if err == nil {
		d := protocol.NewDecoder(answer)
		resp.Decode(&d)
		err = d.Err()
	}
	if err != nil {
		conn.Close()
		return nil, resp, err
	}
	conn.SetDeadline(time.Time{})
	return conn, resp, nil
}

// open shakes hands for a new session.
func open(addr string, timeout time.Duration) (net.Conn, error) {
	conn, _, err := attach(addr, returning{}, timeout)
	return conn, err
}

// frame puts the length before a packet.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func readFrame(conn net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > 1<<20 {
		return nil, errors.New("the answer is too long")
	}
	b := make([]byte, n)
	_, err := io.ReadFull(conn, b)
	return b, err
}
