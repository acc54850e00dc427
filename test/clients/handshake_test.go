//go:build clients

package clients

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// oldConn is a connection of a client from before 3.4, whose request for a
// session ends without the byte that says whether it would do with a server that
// is read-only, and which does not look for that byte in the answer.
type oldConn struct {
	t *testing.T
	net.Conn
}

func dialOld(t *testing.T, addr string, session int64, password []byte) (oldConn, protocol.ConnectResponse) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn := oldConn{t, nc}
	request := protocol.ConnectRequest{TimeoutMs: 10_000, SessionID: session, Password: password}
	answer := conn.ask(request.AppendTo(nil))
	if want := 4 + 4 + 8 + 4 + 16; len(answer) != want {
		t.Fatalf("the answer to a request without the byte has %d bytes, want %d", len(answer), want)
	}
	var response protocol.ConnectResponse
	d := protocol.NewDecoder(answer)
	if response.Decode(&d); d.Err() != nil {
		t.Fatal(d.Err())
	}
	return conn, response
}

// ask sends a frame and returns the next that comes.
func (c oldConn) ask(frame []byte) []byte {
	c.t.Helper()
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return answer
}

// call makes a request and returns the error code of its answer.
func (c oldConn) call(xid int32, op protocol.OpCode, request protocol.Record) protocol.ErrCode {
	c.t.Helper()
	frame := (&protocol.RequestHeader{Xid: xid, Op: op}).AppendTo(nil)
	if request != nil {
		frame = request.AppendTo(frame)
	}
	var header protocol.ReplyHeader
	d := protocol.NewDecoder(c.ask(frame))
	if header.Decode(&d); d.Err() != nil || header.Xid != xid {
		c.t.Fatalf("answer to xid %d: %+v, %v", xid, header, d.Err())
	}
	return header.Err
}

// TestHandshakeWithoutReadOnly opens a session as clients before 3.4 do, takes it
// over on another connection, and closes it.
func TestHandshakeWithoutReadOnly(t *testing.T) {
	onEachShape(t, func(t *testing.T, addr string) {
		conn, opened := dialOld(t, addr, 0, make([]byte, 16))
		if opened.SessionID == 0 || opened.TimeoutMs != 10_000 || len(opened.Password) != 16 {
			t.Fatalf("opened %+v", opened)
		}
		mine := &protocol.CreateRequest{Path: "/old", Data: []byte("x"), ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral}
		if code := conn.call(1, protocol.OpCreate, mine); code != protocol.OK {
			t.Fatalf("create: %v", code)
		}
		conn.Close()

		conn, resumed := dialOld(t, addr, opened.SessionID, opened.Password)
		if resumed.SessionID != opened.SessionID {
			t.Fatalf("resumed %x, want %x", resumed.SessionID, opened.SessionID)
		}
		if code := conn.call(2, protocol.OpExists, &protocol.PathWatchRequest{Path: "/old"}); code != protocol.OK {
			t.Errorf("exists: %v", code)
		}
		if code := conn.call(3, protocol.OpCloseSession, nil); code != protocol.OK {
			t.Errorf("close: %v", code)
		}
		if _, late := dialOld(t, addr, opened.SessionID, opened.Password); late.SessionID != 0 || late.TimeoutMs > 0 {
			t.Errorf("a closed session was resumed: %+v", late)
		}
	})
}
