package fsm

import (
	"slices"
	"testing"

	"github.com/coordd/coordd/protocol"
)

func TestSessionEpochs(t *testing.T) {
	r := newRig(t)
	attach := func(pass string, replaces uint32) Result {
		return r.send(OpAttach, &Attach{Password: []byte(pass), TimeoutMs: 9000, Replaces: replaces})
	}
	before := r.m.Zxid()
	if res := attach("wrong", 1); res.Err != protocol.SessionExpired || res.Epoch != 0 {
		t.Errorf("wrong password: %+v", res)
	}
	if res := attach(string(password), 0); res.Err != protocol.BadVersion || res.Epoch != 1 {
		t.Errorf("stale attach: %+v", res)
	}
	if res := attach(string(password), 1); res.Err != protocol.OK || res.Epoch != 2 || res.Zxid != before {
		t.Errorf("attach: %+v", res)
	}
	if res := attach(string(password), 1); res.Err != protocol.BadVersion || res.Epoch != 2 {
		t.Errorf("the same attach again: %+v", res)
	}
	if r.m.Zxid() != before {
		t.Error("attaching took a zxid")
	}
	if s, ok := r.m.Session(alice); !ok || s.TimeoutMs != 9000 || s.Epoch != 2 || s.Owner != 1 {
		t.Errorf("session: %+v", s)
	}
	if code := r.create("/x", "", open, protocol.Persistent); code != protocol.SessionMoved || r.exists("/x") {
		t.Errorf("old epoch: %v", code)
	}
	if r.m.Zxid() != before+1 {
		t.Error("the moved session's write took no zxid")
	}
	if res := r.send(protocol.OpCloseSession, nil); res.Err != protocol.SessionMoved {
		t.Errorf("close by the old epoch: %v", res.Err)
	}
	if res := r.send(protocol.OpSync, &protocol.PathRequest{Path: "/"}); res.Err != protocol.OK {
		t.Errorf("sync on a moved session: %v", res.Err)
	}
	r.epoch = 2
	r.mustCreate("/x", "", open, protocol.Persistent)
	r.session = 0x0100000000000077
	if res := attach(string(password), 1); res.Err != protocol.SessionExpired {
		t.Errorf("attach to nothing: %v", res.Err)
	}
	if code := r.create("/y", "", open, protocol.Persistent); code != protocol.SessionExpired {
		t.Errorf("unknown session: %v", code)
	}
	for _, id := range []int64{0, containerMark, -1, ttlMark | 5} {
		if res := r.send(protocol.OpCreateSession, &CreateSession{ID: id, Password: password}); res.Err != protocol.BadArguments {
			t.Errorf("session %#x: %v", id, res.Err)
		}
	}
	if res := r.send(protocol.OpCreateSession, &CreateSession{ID: bob, Password: password}); res.Err != protocol.SessionMoved {
		t.Errorf("an id twice: %v", res.Err)
	}
}

func TestCloseSession(t *testing.T) {
	r := newRig(t)
	r.mustCreate("/d", "", open, protocol.Persistent)
	for _, path := range []string{"/z", "/d/b", "/d/a"} {
		r.mustCreate(path, "", open, protocol.Ephemeral)
	}
	r.session = bob
	r.mustCreate("/bob", "", open, protocol.Ephemeral)
	r.session = alice
	if got := r.m.Ephemerals(alice, "/d/"); !slices.Equal(got, []string{"/d/a", "/d/b"}) {
		t.Errorf("ephemerals: %v", got)
	}
	if got := r.m.Ephemerals(alice, protocol.NullString); len(got) != 3 {
		t.Errorf("all ephemerals: %v", got)
	}
	before := r.m.Zxid()
	rec := r.log(protocol.OpCloseSession, nil)
	wantLines(t, rec, "deleted /d/a", "children /d", "deleted /d/b", "children /d", "deleted /z", "children /",
		"closed 0x100000000000001", "result Ok")
	for _, e := range rec.events {
		if e.Zxid != before+1 {
			t.Errorf("event of zxid %x", e.Zxid)
		}
	}
	if _, ok := r.m.Session(alice); ok || !r.exists("/bob") || r.m.Stats().Ephemerals != 1 || r.m.Stats().Sessions != 1 {
		t.Errorf("left: %+v", r.m.Stats())
	}
	if res := r.send(protocol.OpCloseSession, nil); res.Err != protocol.SessionExpired {
		t.Errorf("closed twice: %v", res.Err)
	}
}

func TestExpireIsGuarded(t *testing.T) {
	r := newRig(t)
	r.mustCreate("/e", "", open, protocol.Ephemeral)
	before := r.m.Zxid()
	rec := r.entry(func(e *EntryBuilder) {
		e.Expire(alice, 2)
		e.Expire(bob+1, 1)
	})
	wantLines(t, rec)
	if r.m.Zxid() != before {
		t.Error("an expiry that came too late took a zxid")
	}
	rec = r.entry(func(e *EntryBuilder) { e.Expire(alice, 1) })
	wantLines(t, rec, "deleted /e", "children /", "closed 0x100000000000001")
	if r.m.Zxid() != before+1 {
		t.Errorf("zxid %x after %x", r.m.Zxid(), before)
	}
}

func TestLocalSessions(t *testing.T) {
	r := newRig(t)
	r.session, r.epoch = 0x0100000000000099, LocalEpoch
	r.mustCreate("/x", "", open, protocol.Persistent)
	if code := r.create("no slash", "", open, protocol.Ephemeral); code != protocol.EphemeralOnLocalSession {
		t.Errorf("ephemeral: %v", code)
	}
	res := r.send(protocol.OpMulti, &protocol.MultiRequest{Ops: []protocol.MultiOp{
		{Type: protocol.OpCreate, Body: &protocol.CreateRequest{Path: "/e", ACL: open, Mode: protocol.Ephemeral}}}})
	if got := multiCodes(t, res)[0]; got != protocol.SessionExpired {
		t.Errorf("ephemeral in a multi: %v", got)
	}
}
