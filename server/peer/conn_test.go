package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// stream makes a Conn of nc as if its handshake had just ended.
func stream(nc net.Conn, opts Options) *Conn {
	return newConn(&link{Conn: nc, self: &Self{Member: 1}, member: 2, nonce: 2}, PurposeStream, opts.filled())
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestMessagesArriveInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(0, 300_000)), 1, 20).Draw(rt, "sizes")
		x, y := net.Pipe()
		a, b := stream(x, Options{}), stream(y, Options{})
		defer a.Close()
		defer b.Close()
		for i, n := range sizes {
			if err := a.Send(byte(1+i), bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				rt.Fatal(err)
			}
		}
		for i, n := range sizes {
			typ, payload, err := b.Recv()
			if err != nil || typ != byte(1+i) || !bytes.Equal(payload, bytes.Repeat([]byte{byte(i)}, n)) {
				rt.Fatalf("message %d: type %d, %d bytes, %v; want %d bytes", i, typ, len(payload), err, n)
			}
		}
	})
}

func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	wire := binary.BigEndian.AppendUint32(nil, 64<<20)
	wire = append(wire, 9)
	wire = append(wire, make([]byte, 100_000)...)
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, _, err := readMessage(bytes.NewReader(wire), 64<<20); !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if got > 500_000 {
		t.Fatalf("%d bytes allocated for 100,000 that came", got)
	}
}

func TestFramesOutsideTheLimits(t *testing.T) {
	for _, n := range []uint32{0, 12, 1 << 31, 1<<32 - 1} {
		wire := append(binary.BigEndian.AppendUint32(nil, n), make([]byte, 64)...)
		if _, _, err := readMessage(bytes.NewReader(wire), 10); !errors.Is(err, ErrTooLarge) {
			t.Errorf("a frame of %d: %v", n, err)
		}
	}
	x, y := net.Pipe()
	defer y.Close()
	c := stream(x, Options{MaxMessage: 10})
	defer c.Close()
	if err := c.Send(MsgBatch, make([]byte, 11)); !errors.Is(err, ErrTooLarge) || c.Err() != nil {
		t.Fatalf("Send says %v, the connection %v", err, c.Err())
	}
}

func TestIdleConnectionStaysUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		a, b := stream(x, Options{}), stream(y, Options{})
		for _, c := range []*Conn{a, b} {
			go c.Recv()
		}
		time.Sleep(time.Hour)
		if a.Err() != nil || b.Err() != nil {
			t.Fatalf("idle connection ended: %v, %v", a.Err(), b.Err())
		}
		a.Close()
		<-b.Done()
		if !Lost(b.Err()) {
			t.Fatalf("the peer's end is told as %v", b.Err())
		}
		if err := a.Send(MsgTouch, nil); !errors.Is(err, ErrClosed) {
			t.Fatalf("Send after Close: %v", err)
		}
	})
}

func TestHungPeerEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		c := stream(x, Options{})
		start := time.Now()
		_, _, err := c.Recv()
		if took := time.Since(start); !errors.Is(err, ErrSilent) || took != DefaultIdleTimeout || Lost(err) {
			t.Fatalf("after %v: %v", took, err)
		}
		<-c.Done()
	})
}

func TestBusyReceiverDoesNotBlameThePeer(t *testing.T) {
	a, b := tcpPair(t)
	opts := Options{KeepAlive: 5 * time.Millisecond, IdleTimeout: 50 * time.Millisecond}
	x, y := stream(a, opts), stream(b, opts)
	defer x.Close()
	defer y.Close()
	x.Send(1, []byte("one"))
	y.Recv()
	time.Sleep(200 * time.Millisecond) // busy, four times the idle timeout
	x.Send(2, []byte("two"))
	if typ, _, err := y.Recv(); typ != 2 || err != nil {
		t.Fatalf("type %d, %v", typ, err)
	}
}

func TestSlowReaderHitsTheBound(t *testing.T) {
	x, y := net.Pipe() // y is never read
	defer y.Close()
	c := stream(x, Options{MaxQueued: 10_000})
	var err error
	sent := 0
	for ; err == nil && sent < 1000; sent++ {
		err = c.Send(MsgBatch, make([]byte, 936))
	}
	// The writer's own buffer takes up to 64 KiB beside the queue.
	if !errors.Is(err, ErrQueueFull) || sent < 10 || sent > 10+ioBufferLen/936+2 {
		t.Fatalf("Send number %d says %v", sent, err)
	}
	<-c.Done()
	if !strings.Contains(c.Err().Error(), "does not read") {
		t.Fatalf("ended with %v", c.Err())
	}
}

func TestAMessageLargerThanTheBoundGoesAlone(t *testing.T) {
	x, y := net.Pipe()
	a, b := stream(x, Options{MaxQueued: 10}), stream(y, Options{})
	defer a.Close()
	defer b.Close()
	if err := a.Send(MsgBatch, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, p, err := b.Recv(); len(p) != 1000 || err != nil {
		t.Fatalf("%d bytes, %v", len(p), err)
	}
}

func TestFinishDeliversTheLastWord(t *testing.T) {
	a, b := tcpPair(t)
	x, y := stream(a, Options{}), stream(b, Options{})
	y.Send(MsgOpen, make([]byte, 100_000)) // unread by x: a plain close would reset
	big := make([]byte, 1<<20)
	x.Send(MsgBatch, big)
	x.Send(MsgRefused, []byte("no"))
	x.Finish(5 * time.Second)
	if err := x.Send(MsgTouch, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("Send after Finish: %v", err)
	}
	if typ, p, err := y.Recv(); typ != MsgBatch || len(p) != len(big) || err != nil {
		t.Fatalf("type %d, %d bytes, %v", typ, len(p), err)
	}
	if typ, _, err := y.Recv(); typ != MsgRefused || err != nil {
		t.Fatalf("type %d, %v", typ, err)
	}
	if _, _, err := y.Recv(); !Lost(err) {
		t.Fatalf("after the last word: %v", err)
	}
	x.Recv() // the open
	x.Recv() // y's end
	<-x.Done()
}

func TestFinishLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe() // y is never read
		defer y.Close()
		c := stream(x, Options{})
		c.Send(MsgRefused, []byte("no"))
		start := time.Now()
		c.Finish(time.Second)
		<-c.Done()
		if took := time.Since(start); took != time.Second {
			t.Fatalf("ended after %v", took)
		}
	})
}
