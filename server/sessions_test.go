package server

import (
	"bytes"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// again is the request with which a client takes its session to another
// connection.
func (w *wire) again(lastZxid int64) protocol.ConnectRequest {
	return protocol.ConnectRequest{LastZxidSeen: lastZxid, TimeoutMs: w.timeoutMs, SessionID: w.id, Password: w.password}
}

func TestReattachedSessionNeverReadsBack(t *testing.T) {
	s := startStandalone(t)
	w := dial(t, s)
	seen := w.call(protocol.OpCreate, create("/a", ""), protocol.OK).Zxid
	for range 20 {
		old := w
		old.nc.Close()
		ahead := dialRaw(t, s)
		if ahead.connect(old.again(seen + 1000)) {
			t.Fatalf("a client that has seen zxid 0x%x was let in", seen+1000)
		}
		w = dialRaw(t, s)
		if !w.connect(old.again(seen)) || w.id != old.id || !bytes.Equal(w.password, old.password) {
			t.Fatalf("session 0x%x was not attached", old.id)
		}
		w.send(request(1, protocol.OpGetData, read("/a")), request(2, protocol.OpSetData, setData("/a", "x")))
		if r := w.expect(1, protocol.OK); r.Zxid < seen {
			t.Fatalf("read at zxid 0x%x after 0x%x", r.Zxid, seen)
		}
		seen = w.expect(2, protocol.OK).Zxid
	}
}

func TestMovedSessionClosesItsOldConnection(t *testing.T) {
	s := startStandalone(t)
	old := dial(t, s)
	old.call(protocol.OpCreate, &protocol.CreateRequest{Path: "/e", ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral}, protocol.OK)
	old.call(protocol.OpGetData, watching("/e"), protocol.OK)
	moved := dialRaw(t, s)
	if !moved.connect(old.again(0)) || moved.id != old.id {
		t.Fatal("the session did not move")
	}
	old.expectClosed()
	var got protocol.GetDataResponse
	decode(t, moved.call(protocol.OpGetData, read("/e"), protocol.OK).body, &got)
	if got.Stat.EphemeralOwner != moved.id {
		t.Errorf("the ephemeral node belongs to 0x%x, want 0x%x", got.Stat.EphemeralOwner, moved.id)
	}
	moved.call(protocol.OpSetData, setData("/e", "x"), protocol.OK) // no event: the watch went with its connection
}

func TestWrongPasswordDoesNotDisturbTheOwner(t *testing.T) {
	s := startStandalone(t)
	owner := dial(t, s)
	for _, password := range [][]byte{bytes.Repeat([]byte{7}, 16), {}, nil, bytes.Repeat([]byte{7}, 1000)} {
		thief := dialRaw(t, s)
		req := owner.again(0)
		req.Password = password
		if !thief.connect(req) {
			t.Fatal("closed without an answer")
		}
		expectNoSession(t, thief)
		owner.call(protocol.OpExists, read("/"), protocol.OK)
	}
	if s.owner(owner.id) == nil {
		t.Error("the session lost its connection")
	}
}

// expectNoSession checks the answer that says the session has expired.
func expectNoSession(t *testing.T, w *wire) {
	t.Helper()
	if w.id != 0 || w.timeoutMs != 0 || !bytes.Equal(w.password, make([]byte, 16)) {
		t.Errorf("got session 0x%x, timeout %d, password %x, want zeros", w.id, w.timeoutMs, w.password)
	}
	w.expectClosed()
}

func TestExpiredSessionIsAnsweredWithZeros(t *testing.T) {
	s := startStandalone(t, "tickTime=50", "minSessionTimeout=100")
	w, watcher := dialRaw(t, s), dial(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 1}) || w.timeoutMs != 100 {
		t.Fatalf("got timeout %d ms, want minSessionTimeout", w.timeoutMs)
	}
	w.call(protocol.OpCreate, &protocol.CreateRequest{Path: "/e", ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral}, protocol.OK)
	watcher.call(protocol.OpExists, watching("/e"), protocol.OK)
	w.expectClosed() // without a ping
	watcher.expectEvent(protocol.NodeDeleted, "/e")

	late := dialRaw(t, s)
	if !late.connect(w.again(0)) {
		t.Fatal("closed without an answer")
	}
	expectNoSession(t, late)
	never := dialRaw(t, s)
	if !never.connect(protocol.ConnectRequest{TimeoutMs: 1000, SessionID: 12345, Password: make([]byte, 16)}) {
		t.Fatal("closed without an answer")
	}
	expectNoSession(t, never)
}

func TestPingsKeepASession(t *testing.T) {
	s := startStandalone(t, "tickTime=50", "minSessionTimeout=200")
	w := dialRaw(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 200}) {
		t.Fatal("no session")
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(40 * time.Millisecond) {
		w.send(request(protocol.XidPing, protocol.OpPing, nil))
		w.expect(protocol.XidPing, protocol.OK)
	}
}

func TestCloseSessionInAPipeline(t *testing.T) {
	s := startStandalone(t)
	w, other := dial(t, s), dial(t, s)
	w.send(
		request(1, protocol.OpCreate, &protocol.CreateRequest{Path: "/e", ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral}),
		request(2, protocol.OpGetData, watching("/e")),
		request(3, protocol.OpCloseSession, nil),
		request(4, protocol.OpGetData, read("/")),
		request(5, protocol.OpCreate, create("/after", "")),
	)
	w.expect(1, protocol.OK)
	w.expect(2, protocol.OK)
	r := w.next()
	if r.Xid == protocol.XidNotification { // its own watch may still fire
		r = w.next()
	}
	if r.Xid != 3 || r.Err != protocol.OK {
		t.Fatalf("got xid %d %v, want the reply to closeSession", r.Xid, r.Err)
	}
	// What came behind is never answered well, as in ZooKeeper.
	for {
		r, err := w.receive()
		if err != nil {
			if !closedByServer(err) {
				t.Fatal(err)
			}
			break
		}
		if r.Err == protocol.OK {
			t.Errorf("xid %d behind closeSession was answered", r.Xid)
		}
	}
	other.call(protocol.OpExists, read("/e"), protocol.NoNode)
	other.call(protocol.OpExists, read("/after"), protocol.NoNode)
	late := dialRaw(t, s)
	if !late.connect(w.again(0)) {
		t.Fatal("closed without an answer")
	}
	expectNoSession(t, late)
}

func TestAuthFailureClosesTheConnection(t *testing.T) {
	s := startStandalone(t)
	tests := []struct {
		scheme string
		auth   []byte
		code   protocol.ErrCode
	}{
		{"digest", []byte("user:password"), protocol.OK},
		{"ip", []byte("10.0.0.1"), protocol.OK},
		{"digest", nil, protocol.AuthFailed},
		{"nosuch", []byte("x"), protocol.AuthFailed},
		{"world", []byte("anyone"), protocol.AuthFailed},
		{"super", []byte("x"), protocol.AuthFailed},
	}
	for _, tt := range tests {
		w := dial(t, s)
		w.send(
			request(protocol.XidAuth, protocol.OpAuth, &protocol.AuthRequest{Scheme: tt.scheme, Auth: tt.auth}),
			request(1, protocol.OpExists, read("/")),
		)
		w.expect(protocol.XidAuth, tt.code)
		if tt.code == protocol.OK {
			w.expect(1, protocol.OK)
		} else {
			w.expectClosed()
		}
	}
}

// Requests have the identities of the moment they came, also when they wait.
func TestAuthHoldsForWhatComesBehindIt(t *testing.T) {
	s := startStandalone(t)
	w := dial(t, s)
	auth := request(protocol.XidAuth, protocol.OpAuth, &protocol.AuthRequest{Scheme: "digest", Auth: []byte("u:p")})
	secret := create("/secret", "x")
	secret.ACL = []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "auth"}}}
	w.send(request(1, protocol.OpCreate, secret), auth, request(2, protocol.OpCreate, secret), request(3, protocol.OpGetData, read("/secret")))
	codes := map[int32]protocol.ErrCode{}
	for range 4 {
		r := w.next()
		codes[r.Xid] = r.Err
	}
	for xid, code := range map[int32]protocol.ErrCode{1: protocol.InvalidACL, protocol.XidAuth: protocol.OK, 2: protocol.OK, 3: protocol.OK} {
		if codes[xid] != code {
			t.Errorf("xid %d: got %v, want %v", xid, codes[xid], code)
		}
	}
	other := dial(t, s)
	other.send(request(1, protocol.OpSync, read("/")), request(2, protocol.OpGetData, read("/secret")), auth, request(3, protocol.OpGetData, read("/secret")))
	codes = map[int32]protocol.ErrCode{}
	for range 4 {
		r := other.next()
		codes[r.Xid] = r.Err
	}
	if codes[2] != protocol.NoAuth || codes[3] != protocol.OK {
		t.Errorf("before auth: %v, after: %v, want NoAuth and Ok", codes[2], codes[3])
	}
}
