//go:build overload

package overload

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// attack is something that strangers do to a server, again and again until the
// time is over. They hold their connections as long as they are let.
type attack struct {
	name    string
	clients int
	// strike does it once on a connection; with a session that is open if
	// within says so.
	within bool
	strike func(conn net.Conn, n int) error
}

// silence is a stranger who waits until he is thrown out.
func silence(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// request is one packet of a session.
func request(op protocol.OpCode, body []byte) []byte {
	return frame(append((&protocol.RequestHeader{Xid: 1, Op: op}).AppendTo(nil), body...))
}

// send writes a packet and waits for what comes back.
func send(conn net.Conn, packet []byte) error {
	if _, err := conn.Write(packet); err != nil {
		return err
	}
	_, err := readFrame(conn)
	return err
}

func multi(op protocol.OpCode, n int, body []byte) []byte {
	var b []byte
	for range n {
		b = protocol.MultiHeader{Type: op, Err: -1}.AppendTo(b)
		b = append(b, body...)
	}
	return protocol.MultiEnd.AppendTo(b)
}

func create(path string) []byte {
	return (&protocol.CreateRequest{Path: path, ACL: protocol.WorldAnyone}).AppendTo(nil)
}

// attacks are by strangers on the clients' port.
func attacks() []attack {
	const most = 0xfffff // jute.maxbuffer
	check := (&protocol.CheckRequest{Path: "/", Version: -1}).AppendTo(nil)
	nested := check
	for range 200 {
		nested = multi(protocol.OpMulti, 1, nested)
	}
	return []attack{
		{"connections that are closed at once", 50, false, func(conn net.Conn, _ int) error { return io.EOF }},
		{"connections that say nothing", 3000, false, func(conn net.Conn, _ int) error { return silence(conn) }},
		{"handshakes by the byte", 2000, false, func(conn net.Conn, _ int) error {
			req := protocol.ConnectRequest{TimeoutMs: 30_000, Password: make([]byte, 16)}
			for _, b := range frame(req.AppendTo(nil)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			return silence(conn)
		}},
		{"handshakes as long as can be", 500, false, func(conn net.Conn, _ int) error {
			if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, most)); err != nil {
				return err
			}
			if _, err := conn.Write(make([]byte, most-1)); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"handshakes that promise two gigabytes", 500, false, func(conn net.Conn, n int) error {
			if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, uint32(0x7fffffff-n%2))); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"passwords that promise two gigabytes", 500, false, func(conn net.Conn, _ int) error {
			b := make([]byte, 24, 64)
			b = binary.BigEndian.AppendUint32(b, 0x7fffffff)
			if _, err := conn.Write(frame(b)); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"sessions that are left behind", 50, false, func(conn net.Conn, _ int) error {
			req := protocol.ConnectRequest{TimeoutMs: 4000, Password: make([]byte, 16)}
			return sendOnce(conn, frame(req.AppendTo(nil)))
		}},
		{"words", 100, false, func(conn net.Conn, n int) error {
			if _, err := conn.Write([]byte([]string{"mntr", "cons", "dump", "wchp", "wchc", "stat", "isro", "zzzz"}[n%8])); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"frames that promise all they may", 500, true, func(conn net.Conn, _ int) error {
			if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, most)); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"multis of 50,000 checks", 20, true, func(conn net.Conn, _ int) error {
			return send(conn, request(protocol.OpMulti, multi(protocol.OpCheck, 50_000, check)))
		}},
		{"multis in multis", 50, true, func(conn net.Conn, _ int) error {
			return send(conn, request(protocol.OpMulti, nested))
		}},
		{"vectors that promise two billion entries", 50, true, func(conn net.Conn, n int) error {
			b := append(protocol.AppendInt(nil, int32(2)), "/x"...)
			b = append(b, 0, 0, 0, 0)
			b = binary.BigEndian.AppendUint32(b, 0x7fffffff)
			return send(conn, request([]protocol.OpCode{protocol.OpCreate, protocol.OpSetACL, protocol.OpSetWatches}[n%3], b))
		}},
		{"paths of a megabyte", 50, true, func(conn net.Conn, n int) error {
			path := []string{"/" + strings.Repeat("x", 1_000_000), strings.Repeat("/x", 500_000), strings.Repeat("/", 1_000_000)}[n%3]
			return send(conn, request(protocol.OpCreate, create(path)))
		}},
		{"names for digest, without end", 20, true, func(conn net.Conn, n int) error {
			var b []byte
			for i := range 500 {
				auth := protocol.AuthRequest{Scheme: "digest", Auth: fmt.Appendf(nil, "%d-%d:%s", n, i, strings.Repeat("p", 1000))}
				b = append(b, frame(auth.AppendTo((&protocol.RequestHeader{Xid: protocol.XidAuth, Op: protocol.OpAuth}).AppendTo(nil)))...)
			}
			if _, err := conn.Write(b); err != nil {
				return err
			}
			for range 500 {
				if _, err := readFrame(conn); err != nil {
					return err
				}
			}
			return nil
		}},
		{"watches on what is not there", 20, true, func(conn net.Conn, n int) error {
			var paths []string
			for i := range 20_000 {
				paths = append(paths, fmt.Sprintf("/%d/%d", n, i))
			}
			w := protocol.SetWatchesRequest{RelativeZxid: 1 << 62, Exist: paths}
			return send(conn, frame(w.AppendTo((&protocol.RequestHeader{Xid: protocol.XidSetWatches, Op: protocol.OpSetWatches}).AppendTo(nil))))
		}},
		{"unknown operations", 50, true, func(conn net.Conn, n int) error {
			return send(conn, request(protocol.OpCode(1000+n), nil))
		}},
	}
}

// sendOnce sends and hears the answer; the connection is not used again.
func sendOnce(conn net.Conn, packet []byte) error {
	if err := send(conn, packet); err != nil {
		return err
	}
	return io.EOF
}

// by has all clients of an attack do it until the time is over.
func (a *attack) by(addrs []string, until time.Time, came *counter) {
	var strikes atomic.Int64
	each(scaled(a.clients), func(i int) {
		for time.Now().Before(until) {
			conn, err := net.DialTimeout("tcp", addrs[i%len(addrs)], time.Until(until))
			if err != nil {
				came.add("not let in")
				time.Sleep(10 * time.Millisecond)
				continue
			}
			conn.SetDeadline(until)
			if a.within {
				conn.Close()
				if conn, err = open(addrs[i%len(addrs)], 4*time.Second); err != nil {
					came.add("without a session")
					time.Sleep(10 * time.Millisecond)
					continue
				}
				conn.SetDeadline(until)
			}
			for err == nil && time.Now().Before(until) {
				if err = a.strike(conn, int(strikes.Add(1))); err == nil {
					came.add("answered")
				}
			}
			came.add("ended")
			conn.Close()
			time.Sleep(time.Millisecond)
		}
	})
}

// TestHostileInput has strangers do their worst, one kind after the other.
func TestHostileInput(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			s.t = t
			var came counter
			a.by(s.addrs, time.Now().Add(lasting(10*time.Second)), &came)
			s.unharmed(a.name, fmt.Sprintf("%d clients: %s", scaled(a.clients), came.String()), 2<<30)
		})
	}
	s.t = t
}

// TestHostilePeers has strangers at the ports between servers.
func TestHostilePeers(t *testing.T) {
	s := start(t, 3, "maxClientCnxns=0")
	ports := peerPorts(t, s.servers[0].Config)
	for _, a := range []attack{
		{"silence between servers", 500, false, func(conn net.Conn, _ int) error { return silence(conn) }},
		{"garbage between servers", 100, false, func(conn net.Conn, n int) error {
			b := make([]byte, 4096)
			for i := range b {
				b[i] = byte(n*31 + i*i)
			}
			if _, err := conn.Write(b); err != nil {
				return err
			}
			return silence(conn)
		}},
		{"half a greeting between servers", 500, false, func(conn net.Conn, _ int) error {
			if _, err := conn.Write([]byte("coordd")); err != nil {
				return err
			}
			return silence(conn)
		}},
	} {
		t.Run(a.name, func(t *testing.T) {
			s.t = t
			var came counter
			a.by(ports, time.Now().Add(lasting(10*time.Second)), &came)
			s.unharmed(a.name, fmt.Sprintf("%d clients: %s", scaled(a.clients), came.String()), 1<<30)
		})
	}
	s.t = t
}

// peerPorts are the addresses in the server.N lines of a zoo.cfg.
func peerPorts(t *testing.T, file string) (addrs []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, value, found := strings.Cut(strings.TrimSpace(line), "="); found && strings.HasPrefix(line, "server.") {
			parts := strings.Split(value, ":")
			addrs = append(addrs, net.JoinHostPort(parts[0], parts[1]), net.JoinHostPort(parts[0], parts[2]))
		}
	}
	if len(addrs) == 0 {
		t.Fatalf("%s has no server lines", file)
	}
	return addrs
}
