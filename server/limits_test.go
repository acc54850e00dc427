package server

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

func TestGarbageBeforeHandshake(t *testing.T) {
	s := startStandalone(t)
	for name, p := range map[string][]byte{
		"http":               []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":                {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
		"negative length":    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"empty frame":        {0, 0, 0, 0},
		"short frame":        framed([]byte{0, 0, 0, 0, 1}),
		"all ones":           framed(bytes.Repeat([]byte{0xff}, 44)),
		"password too long":  framed(append(make([]byte, 24), 0x7f, 0xff, 0xff, 0xff)),
		"request, no hello":  request(1, protocol.OpPing, nil),
		"word and then some": []byte("ruok and more"),
	} {
		t.Run(name, func(t *testing.T) {
			w := dialRaw(t, s)
			w.send(p)
			for { // a word is answered first
				if _, err := w.in.ReadByte(); err != nil {
					if !closedByServer(err) {
						t.Fatal(err)
					}
					return
				}
			}
		})
	}
	dial(t, s)
}

func TestHalfOpenConnections(t *testing.T) {
	s := startStandalone(t, "nio.sessionlessCnxnTimeout=150")
	began := time.Now()
	var all []*wire
	for _, p := range []string{"", "r", "\x00\x00\x00", "\x00\x00\x00\x2d", "\x00\x00\x00\x2d\x00\x00"} {
		w := dialRaw(t, s)
		w.send([]byte(p))
		all = append(all, w)
	}
	for _, w := range all {
		w.expectClosed()
	}
	if d := time.Since(began); d < 150*time.Millisecond || d > 5*time.Second {
		t.Errorf("closed after %v, want 150ms", d)
	}
	// A session that is silent, in the middle of a frame too, is another thing.
	w := dial(t, s)
	p := request(1, protocol.OpExists, read("/"))
	w.send(p[:7])
	time.Sleep(300 * time.Millisecond)
	w.send(p[7:])
	w.expect(1, protocol.OK)
	eventually(t, "only the session's connection is left", func() bool { return len(s.connections()) == 1 })
}

func TestOversizeFrame(t *testing.T) {
	s := startStandalone(t, "jute.maxbuffer=5000")
	w := dial(t, s)
	fits := create("/a", strings.Repeat("x", 5000))
	over := len(request(1, protocol.OpCreate, fits)) - 4 - 5000
	fits.Data = fits.Data[over:]
	w.call(protocol.OpCreate, fits, protocol.OK)

	w.send(protocol.AppendInt(nil, 5001)) // the length is enough
	w.expectClosed()

	w = dial(t, s)
	w.send(protocol.AppendInt(nil, -1))
	w.expectClosed()

	// What came before is served.
	w = dial(t, s)
	w.send(request(1, protocol.OpExists, read("/a")), protocol.AppendInt(nil, 1<<30))
	w.expect(1, protocol.OK)
	w.expectClosed()

	// A request without a whole header ends the connection.
	w = dial(t, s)
	w.send(framed([]byte{0, 0, 0, 1}))
	w.expectClosed()
}

func TestMaxClientCnxns(t *testing.T) {
	s := startStandalone(t, "maxClientCnxns=3")
	var all []*wire
	for range 3 {
		all = append(all, dial(t, s))
	}
	dialRaw(t, s).expectClosed()
	all[0].nc.Close()
	eventually(t, "the closed connection makes room", func() bool { return len(s.connections()) == 2 })
	dial(t, s)
	all[1].call(protocol.OpExists, read("/"), protocol.OK)
	dialRaw(t, s).expectClosed()
	if n := s.metrics.ConnectionRejected.Load(); n != 2 {
		t.Errorf("%d are counted", n)
	}
}

func TestMaxCnxns(t *testing.T) {
	s := startStandalone(t, "maxCnxns=2")
	dial(t, s)
	w := dial(t, s)
	dialRaw(t, s).expectClosed()
	w.call(protocol.OpCloseSession, nil, protocol.OK)
	eventually(t, "the closed session makes room", func() bool { return len(s.connections()) == 1 })
	dial(t, s)
}

func TestUnimplementedOps(t *testing.T) {
	s := startStandalone(t)
	for _, op := range []protocol.OpCode{protocol.OpCheck, protocol.OpDeleteContainer, protocol.OpCreateSession, 0, 10, 99, 108, -1, -12, 1 << 30, -1 << 31} {
		for _, behindAWrite := range []bool{false, true} {
			w := dial(t, s)
			if behindAWrite {
				w.send(request(1, protocol.OpSync, read("/")), request(2, op, read("/")), request(3, protocol.OpExists, read("/")))
				w.expect(1, protocol.OK)
			} else {
				w.send(request(2, op, read("/")), request(3, protocol.OpExists, read("/")))
			}
			if r := w.expect(2, protocol.Unimplemented); r.Zxid != -1 || len(r.body) != 0 {
				t.Errorf("%v: zxid %d, %d bytes of body, want -1 and none", op, r.Zxid, len(r.body))
			}
			w.expectClosed()
		}
	}
}

// lazy is a session that takes little into the kernel's buffers.
func lazy(t *testing.T, s *Server, timeoutMs int32) *wire {
	w := dialRaw(t, s)
	w.nc.(*net.TCPConn).SetReadBuffer(4096)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: timeoutMs}) || w.id == 0 {
		t.Fatal("no session")
	}
	return w
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// queuedBytes is how many bytes wait for c's client outside the kernel, but for
// those being written.
func (c *conn) queuedBytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) + c.queued
}

func TestClientThatNeverReads(t *testing.T) {
	s := startStandalone(t)
	other := dial(t, s)
	other.call(protocol.OpCreate, create("/big", strings.Repeat("x", 500_000)), protocol.OK)

	t.Run("its requests wait", func(t *testing.T) {
		w := lazy(t, s, 10_000)
		before := heap()
		packet := bytes.Repeat(request(1, protocol.OpGetData, read("/big")), 100)
		w.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		var err error
		sent := 0
		for err == nil && sent < 400_000 {
			_, err = w.nc.Write(packet)
			sent += 100
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server took %d requests for 500 kB each: %v", sent, err)
		}
		// One buffer is filled while another is being written.
		if n := heap() - before; n > 8*softQueue {
			t.Errorf("%d bytes of memory for a client that does not read", n)
		}
		other.call(protocol.OpSetData, setData("/big", strings.Repeat("y", 500_000)), protocol.OK)
		w.nc.Close()
		eventually(t, "the connection is gone", func() bool { return s.owner(w.id) == nil })
	})
	t.Run("it is cut off for its notifications", func(t *testing.T) {
		w := lazy(t, s, 10_000)
		path := "/" + strings.Repeat("n", 50_000)
		other.call(protocol.OpCreate, create(path, ""), protocol.OK)
		w.call(protocol.OpAddWatch, &protocol.PathTypeRequest{Path: path, Type: protocol.WatchPersistent}, protocol.OK)
		c := s.owner(w.id)
		for i := 0; s.owner(w.id) != nil; i++ {
			if i > 1000 {
				t.Fatalf("still there after %d notifications of 50 kB", i)
			}
			other.call(protocol.OpSetData, setData(path, ""), protocol.OK)
			if n := c.queuedBytes(); n > hardQueue+100_000 {
				t.Fatalf("%d bytes wait for a client that does not read", n)
			}
		}
		if n := s.metrics.SlowClientsCut.Load(); n != 1 {
			t.Errorf("%d are counted", n)
		}
	})
	t.Run("it is cut off with its session", func(t *testing.T) {
		w := lazy(t, s, 400)
		packet := bytes.Repeat(request(1, protocol.OpGetData, read("/big")), 100)
		w.send(packet)
		eventually(t, "the connection is closed", func() bool { return s.owner(w.id) == nil })
		other.call(protocol.OpExists, read("/"), protocol.OK)
	})
}

// Long answers that become due at once, behind a write, are no reason to cut
// off a client that reads; nor may a write behind them overtake them.
func TestReadsBehindAWriteMayBeLong(t *testing.T) {
	s := startStandalone(t)
	w := dial(t, s)
	w.call(protocol.OpCreate, create("/big", strings.Repeat("x", 500_000)), protocol.OK)
	const reads = 2 * hardQueue / 500_000
	const rounds = 3
	var packet []byte
	for version := range rounds {
		packet = append(packet, request(1, protocol.OpSetData, setData("/big", strings.Repeat("x", 500_000)))...)
		for range reads {
			packet = append(packet, request(int32(2+version), protocol.OpGetData, watching("/big"))...)
		}
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		w.send(packet)
	}()
	for version := range rounds {
		if version > 0 {
			w.expectEvent(protocol.NodeDataChanged, "/big")
		}
		w.expect(1, protocol.OK)
		for range reads {
			r := w.expect(int32(2+version), protocol.OK)
			var got protocol.GetDataResponse
			if decode(t, r.body, &got); got.Stat.Version != int32(version+1) {
				t.Fatalf("version %d read behind the write of version %d", got.Stat.Version, version+1)
			}
		}
	}
	<-sent
}
