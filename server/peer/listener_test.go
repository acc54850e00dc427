package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// journal collects log lines.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// server is one process: a Self, its log, and what its listener handed out.
type server struct {
	*Self
	log   *journal
	addr  string
	conns chan *Conn
}

func process(member uint8, nonce uint64) *server {
	log := &journal{}
	return &server{
		Self: &Self{
			Member:    member,
			Nonce:     nonce,
			ClusterID: func() [16]byte { return [16]byte{1} },
			State:     func() State { return State{Data: HasData, Term: 7, LastIndex: nonce, ClientAddr: "c:2181"} },
			Known:     func(m uint8) bool { return m >= 1 && m <= 3 },
			Options:   Options{DoubleWait: 150 * time.Millisecond, KeepAlive: 10 * time.Millisecond, HandshakeTimeout: 2 * time.Second},
			Logger:    hclog.New(&hclog.LoggerOptions{Output: log}),
		},
		log:   log,
		conns: make(chan *Conn, 10),
	}
}

// serve listens until the test ends.
func (s *server) serve(t *testing.T) *server {
	t.Helper()
	l := Listen(listen(t), s.Self, map[Purpose]func(*Conn, Hello){
		PurposeStream: func(c *Conn, _ Hello) { s.conns <- c },
	})
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- l.Serve() }()
	t.Cleanup(func() {
		l.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		for len(s.conns) > 0 {
			(<-s.conns).Close()
		}
	})
	return s
}

func (s *server) dial(to *server, target uint8) (*Conn, Hello, error) {
	return Dial(context.Background(), s.Self, to.addr, target, PurposeStream)
}

// mustDial returns both ends of a stream; a goroutine receives on each.
func mustDial(t *testing.T, from, to *server) (*Conn, *Conn) {
	t.Helper()
	a, _, err := from.dial(to, to.Member)
	if err != nil {
		t.Fatal(err)
	}
	b := <-to.conns
	for _, c := range []*Conn{a, b} {
		t.Cleanup(func() { c.Close() })
		go func() {
			for c.Err() == nil {
				c.Recv()
			}
		}()
	}
	return a, b
}

func reasonOf(err error) Reason {
	var r *Refused
	if errors.As(err, &r) {
		return r.Reason
	}
	return accepted
}

func TestBothSidesLearnOfEachOther(t *testing.T) {
	one, two := process(1, 10), process(2, 20).serve(t)
	c, hello, err := one.dial(two, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if hello.Member != 2 || hello.Nonce != 20 || hello.State != two.State() || hello.ClusterID != two.ClusterID() {
		t.Fatalf("the answer is %+v", hello)
	}
	got := <-two.conns
	defer got.Close()
	c.Send(MsgBatch, []byte("batch"))
	if typ, p, err := got.Recv(); typ != MsgBatch || string(p) != "batch" || err != nil {
		t.Fatalf("type %d, %q, %v", typ, p, err)
	}
}

func TestRefusalsReachBothLogsOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   func() *server
		target uint8
		want   Reason
		here   string
		there  string
	}{
		{"other cluster", func() *server {
			s := process(1, 10)
			s.ClusterID = func() [16]byte { return [16]byte{9} }
			return s
		}, 2, OtherCluster, "not the same cluster", "not the same cluster"},
		{"stranger", func() *server { return process(9, 90) }, 2, Stranger, "server 9 is not a member", "server 9 is not a member"},
		{"wrong target", func() *server { return process(1, 10) }, 3, WrongTarget,
			"answers as server 2, but server.3 is configured there: check myid", "looked for server.3 and reached server 2"},
		{"same id", func() *server { return process(2, 21) }, 2, SameID, "two servers have the same myid", "two servers have the same myid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := c.from(), process(2, 20).serve(t)
			for range 3 {
				if _, _, err := from.dial(to, c.target); reasonOf(err) != c.want {
					t.Fatalf("Dial says %v", err)
				}
			}
			await(t, func() bool { return strings.Count(to.log.String(), c.there) == 1 })
			if n := strings.Count(from.log.String(), c.here); n != 1 {
				t.Fatalf("%d lines on the calling side:\n%s", n, from.log)
			}
			if len(to.conns) != 0 {
				t.Fatal("a refused connection was handed out")
			}
		})
	}
}

// await waits for what another goroutine is about to do.
func await(t *testing.T, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("it did not happen within five seconds")
		}
	}
}

func TestNoCommonVersion(t *testing.T) {
	to := process(2, 20).serve(t)
	nc, err := net.Dial("tcp", to.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	newer := Hello{MinVersion: 2, MaxVersion: 3, Member: 1, Target: 2, Purpose: PurposeStream}
	nc.Write(newer.appendTo(nil))
	answer, err := readHello(nc)
	if err != nil || answer.Member != 2 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if v, err := readVerdict(nc); err != nil || v.Reason != NoVersion || !strings.Contains(v.Text, "versions 1 to 1") {
		t.Fatalf("%+v, %v", v, err)
	}
}

func TestUnservedPurpose(t *testing.T) {
	one, two := process(1, 10), process(2, 20).serve(t)
	_, _, err := Dial(context.Background(), one.Self, two.addr, 2, PurposeRaft)
	if reasonOf(err) != NotServed {
		t.Fatalf("Dial says %v", err)
	}
}

func TestProbe(t *testing.T) {
	one, two := process(1, 10), process(2, 20).serve(t)
	two.ClusterID = func() [16]byte { return [16]byte{} }
	c, hello, err := Dial(context.Background(), one.Self, two.addr, 2, PurposeProbe)
	if c != nil || err != nil || hello.State != two.State() {
		t.Fatalf("%v, %+v, %v", c, hello, err)
	}
}

func TestGarbageCostsItsOwnConnection(t *testing.T) {
	one, two := process(1, 10), process(2, 20).serve(t)
	a, _ := mustDial(t, one, two)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "CRDP\x00\x01\x00\x01\xff\xff\xff\xff", "CRDP\x00\x01\x00\x01\x00\x00\x00\x01x", strings.Repeat("\x00", 9000)} {
		nc, err := net.Dial("tcp", two.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, garbage)
		if n, _ := io.Copy(io.Discard, nc); n != 0 {
			t.Errorf("%q was answered with %d bytes", garbage[:4], n)
		}
		nc.Close()
	}
	await(t, func() bool { return strings.Contains(two.log.String(), "not a coordd server") })
	if n := strings.Count(two.log.String(), "not a coordd server"); n != 1 || a.Err() != nil {
		t.Fatalf("%d lines, the good connection says %v", n, a.Err())
	}
}

func TestHalfOpenHandshakesBlockNobody(t *testing.T) {
	one, two := process(1, 10), process(2, 20)
	two.Options.HandshakeTimeout = 300 * time.Millisecond
	two.serve(t)
	start := time.Now()
	var open []net.Conn
	for i := range 20 {
		nc, err := net.Dial("tcp", two.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "CRDP"[:i%5])
		open = append(open, nc)
	}
	mustDial(t, one, two)
	for _, nc := range open {
		io.Copy(io.Discard, nc)
	}
	if took := time.Since(start); took < 300*time.Millisecond || took > 3*time.Second {
		t.Fatalf("half-open handshakes ended after %v", took)
	}
}

func TestSecondProcessOfAMemberIsRefused(t *testing.T) {
	first, second, two := process(1, 10), process(1, 11), process(2, 20).serve(t)
	a, _ := mustDial(t, first, two)
	for range 2 {
		if _, _, err := second.dial(two, 2); reasonOf(err) != DoubledID {
			t.Fatalf("Dial says %v", err)
		}
	}
	if a.Err() != nil {
		t.Fatalf("the first process lost its connection: %v", a.Err())
	}
	await(t, func() bool { return strings.Contains(two.log.String(), "two servers have the same myid") })
	mustDial(t, first, two) // and may have as many as it likes
}

func TestCallerRefusesASecondProcessToo(t *testing.T) {
	one := process(1, 10).serve(t)
	first, second := process(2, 20), process(2, 21).serve(t)
	mustDial(t, first, one)
	_, _, err := one.dial(second, 2)
	if reasonOf(err) != DoubledID {
		t.Fatalf("Dial says %v", err)
	}
	await(t, func() bool { return strings.Contains(second.log.String(), "two servers have the same myid") })
}

func TestRestartedProcessGetsInAtOnce(t *testing.T) {
	two := process(2, 20)
	two.Options.DoubleWait = time.Hour
	two.Options.HandshakeTimeout = time.Minute
	two.serve(t)
	for nonce := uint64(10); nonce < 20; nonce++ {
		a, _ := mustDial(t, process(1, nonce), two)
		a.link.Conn.Close() // the process dies
	}
}

func TestSilentProcessIsReplaced(t *testing.T) {
	hung, next, two := process(1, 10), process(1, 11), process(2, 20)
	two.Options.IdleTimeout = time.Hour // nothing else ends the old one
	two.serve(t)
	hung.Options.KeepAlive = time.Hour // says nothing, as if stopped
	_, old := mustDial(t, hung, two)
	mustDial(t, next, two)
	<-old.Done()
	if _, _, err := hung.dial(two, 2); reasonOf(err) != DoubledID {
		t.Fatalf("the old process is back: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ln := listen(t) // accepts in the kernel, never answers
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, _, err := Dial(ctx, process(1, 10).Self, ln.Addr().String(), 2, PurposeStream)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Dial says %v", err)
	}
}

func TestCloseBreaksOffHandshakes(t *testing.T) {
	l := Listen(listen(t), process(1, 10).Self, nil)
	served := make(chan error, 1)
	go func() { served <- l.Serve() }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	await(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.pending) == 1 })
	start := time.Now()
	l.Close()
	if err := <-served; err != nil || time.Since(start) > time.Second {
		t.Fatalf("Serve ended with %v after %v", err, time.Since(start))
	}
}

// TestRaftLayerCloseEndsDials: a stopped server does not wait for one that
// cannot be reached.
func TestRaftLayerCloseEndsDials(t *testing.T) {
	one := process(1, 10)
	dialling := make(chan struct{})
	one.Self.DialTCP = func(ctx context.Context, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done() // as when no name server answers
		return nil, ctx.Err()
	}
	one.Self.Options.HandshakeTimeout = time.Minute
	r := NewRaftLayer(listen(t), one.Self, "")
	defer r.Close()
	ended := make(chan error)
	go func() {
		_, err := r.DialAddr("two.example:3888", 2, time.Minute)
		ended <- err
	}()
	<-dialling
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close left DialAddr waiting")
	}
}

func TestRaftLayer(t *testing.T) {
	one, two := process(1, 10), process(2, 20)
	a, b := NewRaftLayer(listen(t), one.Self, "one.example:3888"), NewRaftLayer(listen(t), two.Self, "")
	defer a.Close()
	if a.Addr().String() != "one.example:3888" {
		t.Fatalf("Addr is %v", a.Addr())
	}
	idle, err := net.Dial("tcp", b.Addr().String()) // must not be yielded, nor hold up others
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	out, err := a.DialAddr(b.Addr().String(), 2, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	io.WriteString(out, "raft")
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "raft" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := a.DialAddr(b.Addr().String(), 3, time.Second); reasonOf(err) != WrongTarget {
		t.Fatalf("DialAddr says %v", err)
	}
	b.Close()
	if _, err := b.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept says %v", err)
	}
}
