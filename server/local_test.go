package server

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

func ephemeral(path string) *protocol.CreateRequest {
	return &protocol.CreateRequest{Path: path, ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral}
}

// globalSession reports whether s knows session id from the log.
func globalSession(s *Server, id int64) (known bool) {
	s.replica.View(func(m *fsm.Machine) { _, known = m.Session(id) })
	return known
}

func TestLocalSessions(t *testing.T) {
	e := newEnsemble(t, 3, calm, "syncLimit=300", "maxSessionTimeout=60000", "localSessionsEnabled=true")
	leader, follower := e.startAll()
	for name, s := range map[string]*Server{"leader": leader, "follower": follower} {
		t.Run(name, func(t *testing.T) {
			w := dial(t, s)
			before := w.call(protocol.OpExists, read("/"), protocol.OK).Zxid
			again := dial(t, s)
			if r := again.call(protocol.OpExists, read("/"), protocol.OK); r.Zxid != before {
				t.Errorf("opening a local session took zxid 0x%x after 0x%x", r.Zxid, before)
			}
			node := "/" + name
			w.call(protocol.OpCreate, create(node, "x"), protocol.OK)
			w.call(protocol.OpCreate, ephemeral("/no/parent"), protocol.EphemeralOnLocalSession)
			w.call(protocol.OpCreate2, ephemeral(node+"-e"), protocol.EphemeralOnLocalSession)
			var multi protocol.MultiResponse
			decode(t, w.call(protocol.OpMulti, &protocol.MultiRequest{Ops: []protocol.MultiOp{
				{Type: protocol.OpCreate, Body: ephemeral(node + "-e")}}}, protocol.OK).body, &multi)
			if len(multi.Results) != 1 || multi.Results[0].Err != protocol.SessionExpired {
				t.Errorf("a multi with an ephemeral: %+v, want %v", multi.Results, protocol.SessionExpired)
			}

			thief := dialRaw(t, s)
			req := w.again(0)
			req.Password = bytes.Repeat([]byte{7}, 16)
			if thief.connect(req); thief.id != 0 {
				t.Error("a wrong password was taken")
			}
			w.call(protocol.OpExists, read(node), protocol.OK)
			moved := dialRaw(t, s)
			if !moved.connect(w.again(0)) || moved.id != w.id || !bytes.Equal(moved.password, w.password) {
				t.Fatal("the session was not attached at its own server")
			}
			w.expectClosed()
			elsewhere := dialRaw(t, e.other(s))
			if elsewhere.connect(w.again(0)); elsewhere.id != 0 {
				t.Error("another server knows the session")
			}
			if globalSession(s, w.id) {
				t.Error("the session is in the log")
			}
			// The end of the session comes behind the writes before it.
			moved.send(request(1, protocol.OpSetData, setData(node, "y")), request(2, protocol.OpCloseSession, nil))
			zxid := moved.expect(1, protocol.OK).Zxid
			if r := moved.expect(2, protocol.OK); r.Zxid != zxid {
				t.Errorf("closing a local session took zxid 0x%x after 0x%x", r.Zxid, zxid)
			}
			moved.expectClosed()
			gone := dialRaw(t, s)
			if gone.connect(w.again(0)); gone.id != 0 {
				t.Error("the session lives on after its end")
			}
		})
	}
}

// other is a server that runs and is not s.
func (e *ensemble) other(s *Server) *Server {
	for _, o := range e.running {
		if o != nil && o != s {
			return o
		}
	}
	e.t.Fatal("no other server runs")
	return nil
}

func TestLocalSessionExpires(t *testing.T) {
	e := newEnsemble(t, 3, calm, "syncLimit=300", "maxSessionTimeout=60000", "localSessionsEnabled=true")
	_, s := e.startAll()
	silent, pinging := dialRaw(t, s), dialRaw(t, s)
	for _, w := range []*wire{silent, pinging} {
		if !w.connect(protocol.ConnectRequest{TimeoutMs: 700}) || w.id == 0 {
			t.Fatal("no session")
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		silent.expectClosed()
	}()
	for range 40 {
		time.Sleep(50 * time.Millisecond)
		pinging.send(request(protocol.XidPing, protocol.OpPing, nil))
		pinging.expect(protocol.XidPing, protocol.OK)
	}
	select {
	case <-ended:
	default:
		t.Error("a silent session of 700ms lived for 2s")
	}
	if n := s.locals.count(); n != 1 {
		t.Errorf("%d local sessions, want 1", n)
	}
}

func TestLocalSessionBecomesGlobal(t *testing.T) {
	e := newEnsemble(t, 3, calm, "syncLimit=300", "maxSessionTimeout=60000", "localSessionsEnabled=true", "localSessionsUpgradingEnabled=true")
	leader, follower := e.startAll()
	makers := map[string]func(path string) []byte{
		"create":  func(path string) []byte { return request(2, protocol.OpCreate, ephemeral(path)) },
		"create2": func(path string) []byte { return request(2, protocol.OpCreate2, ephemeral(path)) },
		"multi": func(path string) []byte {
			return request(2, protocol.OpMulti, &protocol.MultiRequest{Ops: []protocol.MultiOp{{Type: protocol.OpCreate, Body: ephemeral(path)}}})
		},
	}
	for name, make := range makers {
		for _, s := range []*Server{leader, follower} {
			w := dialRaw(t, s)
			if !w.connect(protocol.ConnectRequest{TimeoutMs: 20_000}) {
				t.Fatal("no session")
			}
			node := "/" + name + "-" + string('0'+rune(s.id))
			w.send(request(1, protocol.OpCreate, create(node, "")), make(node+"-e"), request(3, protocol.OpSetData, setData(node, "x")),
				request(4, protocol.OpGetData, read(node+"-e")))
			first := w.expect(1, protocol.OK).Zxid
			if z := w.expect(2, protocol.OK).Zxid; z < first+2 {
				t.Errorf("%s: zxid 0x%x after 0x%x: the session took none", name, z, first)
			}
			w.expect(3, protocol.OK)
			var got protocol.GetDataResponse
			decode(t, w.expect(4, protocol.OK).body, &got)
			if got.Stat.EphemeralOwner != w.id || !globalSession(s, w.id) || s.locals.count() != 0 {
				t.Errorf("%s: the ephemeral belongs to 0x%x, want 0x%x; global %v, %d local", name, got.Stat.EphemeralOwner, w.id, globalSession(s, w.id), s.locals.count())
			}
			opened := due(e.leads(), w.id)
			eventually(t, "the leader hears of the session", func() bool {
				w.send(request(protocol.XidPing, protocol.OpPing, nil))
				w.expect(protocol.XidPing, protocol.OK)
				return due(e.leads(), w.id).After(opened.Add(100 * time.Millisecond))
			})
			moved := dialRaw(t, e.other(s))
			if !moved.connect(w.again(0)) || moved.id != w.id {
				t.Fatalf("%s: the session did not move to another server", name)
			}
			w.expectClosed()
			moved.call(protocol.OpCloseSession, nil, protocol.OK)
			seer := dial(t, s)
			eventually(t, "the ephemeral is gone", func() bool { return seer.exists(node+"-e") == protocol.NoNode })
			seer.call(protocol.OpCloseSession, nil, protocol.OK)
		}
	}
}

// due is when the leader holds session id to be over.
func due(leader *Server, id int64) time.Time {
	for _, b := range leader.tracker.Dump() {
		if slices.Contains(b.IDs, id) {
			return b.Due
		}
	}
	return time.Time{}
}

func (w *wire) exists(path string) protocol.ErrCode {
	w.t.Helper()
	w.send(request(9, protocol.OpExists, read(path)))
	return w.next().Err
}

func TestReadOnlyMode(t *testing.T) {
	e := newEnsemble(t, 3, calm, "maxSessionTimeout=60000", "readonlymode.enabled=true", "syncLimit=20")
	_, s := e.startAll()
	lost := dial(t, s)
	lost.call(protocol.OpCreate, create("/a", "x"), protocol.OK)
	w := dialRaw(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true}) || w.readOnly {
		t.Error("a server with a leader says that it is read-only")
	}
	seen := w.call(protocol.OpSetData, setData("/a", "y"), protocol.OK).Zxid
	for i, o := range e.running {
		if o != s {
			e.stop(i)
		}
	}
	eventually(t, "no leader", func() bool { return !s.replica.Leads() && !s.forwarder.connected() })
	early := dialRaw(t, s)
	if !early.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true}) || !early.readOnly {
		t.Error("a client that came before read-only mode did not wait for it")
	}
	eventually(t, "read-only mode", s.ReadOnly)
	lost.expectClosed()

	w = dialRaw(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true, LastZxidSeen: seen}) || !w.readOnly || w.id == 0 {
		t.Fatal("a client that accepts a read-only server was not taken")
	}
	w.call(protocol.OpGetData, watching("/a"), protocol.OK)
	for op, body := range map[protocol.OpCode]protocol.Record{
		protocol.OpCreate: create("/b", ""), protocol.OpCreate2: create("/b", ""), protocol.OpDelete: remove("/a"),
		protocol.OpSetData: setData("/a", "y"), protocol.OpSync: &protocol.PathRequest{Path: "/a"},
		protocol.OpMulti: &protocol.MultiRequest{}, protocol.OpSetACL: &protocol.SetACLRequest{Path: "/a", ACL: protocol.WorldAnyone},
	} {
		if r := w.call(op, body, protocol.NotReadOnly); r.Zxid != seen {
			t.Errorf("%v is refused at zxid 0x%x, want 0x%x", op, r.Zxid, seen)
		}
	}
	again := dialRaw(t, s)
	req := w.again(seen)
	req.ReadOnly = true
	if !again.connect(req) || again.id != w.id || !again.readOnly {
		t.Error("the session was not attached")
	}
	w.expectClosed()
	if dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) {
		t.Error("a client that wants to write was taken")
	}
	req = lost.again(seen)
	req.ReadOnly = true
	if dialRaw(t, s).connect(req) {
		t.Error("a global session was answered")
	}
	stranger := dialRaw(t, s)
	if !stranger.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true, SessionID: 77}) || stranger.id != 0 {
		t.Error("an unknown session was not answered as expired")
	}

	e.start(e.free())
	eventually(t, "the server serves writes", func() bool { return s.Serving() && !s.ReadOnly() })
	again.expectClosed()
	back := dialRaw(t, s)
	if !back.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true}) || back.readOnly {
		t.Fatal("the server is still read-only")
	}
	back.call(protocol.OpSetData, setData("/a", "y"), protocol.OK)
}

// free is the index of a server that does not run.
func (e *ensemble) free() int {
	for i, s := range e.running {
		if s == nil {
			return i
		}
	}
	e.t.Fatal("all servers run")
	return 0
}
