package fsm

import (
	"testing"

	"github.com/coordd/coordd/protocol"
)

// refusalRig has a node for every refusal.
func refusalRig(t *testing.T) *rig {
	r := newRig(t)
	r.mustCreate("/open", "", open, protocol.Persistent)
	r.mustCreate("/open/kid", "", open, protocol.Persistent)
	r.mustCreate("/leaf", "", open, protocol.Persistent)
	r.mustCreate("/ro", "", open, protocol.Persistent)
	r.mustCreate("/ro/kid", "", open, protocol.Persistent)
	r.mustCreate("/eph", "", open, protocol.Ephemeral)
	res := r.send(protocol.OpSetACL, &protocol.SetACLRequest{Path: "/ro", ACL: readOnly, Version: -1})
	if res.Err != protocol.OK {
		t.Fatal(res.Err)
	}
	r.ids = owner
	r.mustCreate("/mine", "", mine, protocol.Persistent)
	r.ids = anyone
	return r
}

func TestCreateRefusals(t *testing.T) {
	badACL := []protocol.ACL{{Perms: 1, ID: protocol.ID{Scheme: "nobody", ID: "x"}}}
	null := protocol.NullString
	for _, c := range []struct {
		op   protocol.OpCode
		path string
		acl  []protocol.ACL
		mode protocol.CreateMode
		ttl  int64
		want protocol.ErrCode
	}{
		{1, "no slash", badACL, 7, 0, protocol.BadArguments},
		{1, "no slash", badACL, -1, 0, protocol.BadArguments},
		{1, "/x", open, protocol.PersistentTTL, 0, protocol.BadArguments},
		{15, "/x", open, protocol.PersistentSequentialTTL, 0, protocol.BadArguments},
		{21, "/x", open, protocol.PersistentTTL, 0, protocol.BadArguments},
		{21, "/x", open, protocol.PersistentTTL, -1, protocol.BadArguments},
		{21, "/x", open, protocol.PersistentTTL, 1 << 40, protocol.BadArguments},
		{21, "/x", open, protocol.Persistent, -1, protocol.BadArguments},
		{21, "/x", open, protocol.Container, 5, protocol.BadArguments},
		{1, "no slash", badACL, 0, 0, protocol.BadArguments},
		{1, "/nul\x00", badACL, 0, 0, protocol.BadArguments},
		{1, null, open, 0, 0, protocol.MarshallingError},
		{1, "/missing/x", badACL, 0, 0, protocol.InvalidACL},
		{1, "/open", nil, 0, 0, protocol.InvalidACL},
		{1, "/open", []protocol.ACL{}, 0, 0, protocol.InvalidACL},
		{1, "/no//x", open, 0, 0, protocol.NoNode},
		{1, "/missing/.", open, 0, 0, protocol.NoNode},
		{1, "/ro/kid", open, 0, 0, protocol.NoAuth},
		{1, "/ro/..", open, 0, 0, protocol.NoAuth},
		{1, "/.", open, 0, 0, protocol.BadArguments},
		{1, "/open/", open, 0, 0, protocol.BadArguments},
		{1, "", open, 0, 0, protocol.BadArguments},
		{1, "/", open, 0, 0, protocol.NodeExists},
		{1, "/open/kid", open, 0, 0, protocol.NodeExists},
		{1, "/eph/kid", open, 0, 0, protocol.NoChildrenForEphemerals},
		{19, "/eph/kid", open, protocol.Container, 0, protocol.NoChildrenForEphemerals},
		{1, "/ok", open, 0, 0, protocol.OK},
		{15, "/ok2", open, protocol.Container, 0, protocol.OK},
		{19, "/ok3", open, 0, 0, protocol.OK},
		{21, "/ok4", open, protocol.PersistentTTL, 1<<40 - 1, protocol.OK},
	} {
		r := refusalRig(t)
		before, digest := r.m.Zxid(), r.m.Digest()
		var body protocol.Record = &protocol.CreateRequest{Path: c.path, ACL: c.acl, Mode: c.mode}
		if c.op == protocol.OpCreateTTL {
			body = &protocol.CreateTTLRequest{CreateRequest: *body.(*protocol.CreateRequest), TTLMs: c.ttl}
		}
		rec := r.log(c.op, body)
		res := rec.results[0]
		if res.Err != c.want {
			t.Errorf("op %d %q mode %d: %v, want %v", c.op, c.path, c.mode, res.Err, c.want)
		}
		if res.Zxid != before+1 {
			t.Errorf("op %d %q: zxid %x after %x", c.op, c.path, res.Zxid, before)
		}
		if c.want != protocol.OK && (r.m.Digest() != digest || len(rec.events) > 0 || res.Body != nil) {
			t.Errorf("op %d %q failed and left traces", c.op, c.path)
		}
	}
}

func TestExtendedTypesOff(t *testing.T) {
	r := newRig(t)
	r.entry(func(e *EntryBuilder) { e.Settings(Settings{}) })
	ttl := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: "bad", ACL: nil, Mode: protocol.PersistentTTL}}
	if got := r.send(protocol.OpCreateTTL, &ttl).Err; got != protocol.Unimplemented {
		t.Errorf("createTTL: %v", got)
	}
	if got := r.create("/x", "", open, protocol.PersistentTTL); got != protocol.Unimplemented {
		t.Errorf("create with flags 5: %v", got)
	}
}

func TestChangeRefusals(t *testing.T) {
	null := protocol.NullString
	del := func(path string, v int32) (protocol.OpCode, protocol.Record) {
		return protocol.OpDelete, &protocol.DeleteRequest{Path: path, Version: v}
	}
	set := func(path string, v int32) (protocol.OpCode, protocol.Record) {
		return protocol.OpSetData, &protocol.SetDataRequest{Path: path, Version: v}
	}
	acl := func(path string, v int32) (protocol.OpCode, protocol.Record) {
		return protocol.OpSetACL, &protocol.SetACLRequest{Path: path, ACL: open, Version: v}
	}
	noACL := func(path string, v int32) (protocol.OpCode, protocol.Record) {
		return protocol.OpSetACL, &protocol.SetACLRequest{Path: path, Version: v}
	}
	check := func(path string, v int32) (protocol.OpCode, protocol.Record) {
		return protocol.OpMulti, &protocol.MultiRequest{Ops: []protocol.MultiOp{
			{Type: protocol.OpCheck, Body: &protocol.CheckRequest{Path: path, Version: v}}}}
	}
	for _, c := range []struct {
		name    string
		request func(string, int32) (protocol.OpCode, protocol.Record)
		path    string
		version int32
		want    protocol.ErrCode
	}{
		{"delete", del, null, -1, protocol.MarshallingError},
		{"delete", del, "noslash", -1, protocol.BadArguments},
		{"delete", del, "", -1, protocol.BadArguments},
		{"delete", del, "/x\x00", -1, protocol.BadArguments},
		{"delete", del, "/", -1, protocol.BadArguments},
		{"delete", del, "/zookeeper", -1, protocol.BadArguments},
		{"delete", del, "/zookeeper/quota", -1, protocol.BadArguments},
		{"delete", del, "/zookeeper/config", -1, protocol.BadArguments},
		{"delete", del, "/missing/x", -1, protocol.NoNode},
		{"delete", del, "/open//kid", -1, protocol.NoNode},
		{"delete", del, "/open/", -1, protocol.NoNode},
		{"delete", del, "//", -1, protocol.NoNode},
		{"delete", del, "//leaf", -1, protocol.NoNode},
		{"delete", del, "/ro/missing", -1, protocol.NoAuth},
		{"delete", del, "/ro/kid", 5, protocol.NoAuth},
		{"delete", del, "/open", 5, protocol.BadVersion},
		{"delete", del, "/leaf", -2, protocol.BadVersion},
		{"delete", del, "/open", 0, protocol.NotEmpty},
		{"delete", del, "/leaf", 0, protocol.OK},
		{"setData", set, null, -1, protocol.BadArguments},
		{"setData", set, "", -1, protocol.BadArguments},
		{"setData", set, "/open/", -1, protocol.BadArguments},
		{"setData", set, "/missing", 5, protocol.NoNode},
		{"setData", set, "/mine", 5, protocol.NoAuth},
		{"setData", set, "/leaf", 5, protocol.BadVersion},
		{"setData", set, "/", -1, protocol.OK},
		{"setData", set, "/zookeeper/config", -1, protocol.NoAuth},
		{"setACL", noACL, "/x/", -1, protocol.BadArguments},
		{"setACL", noACL, "/missing", -1, protocol.InvalidACL},
		{"setACL", acl, "/missing", 5, protocol.NoNode},
		{"setACL", acl, "/ro", 5, protocol.NoAuth},
		{"setACL", acl, "/leaf", 5, protocol.BadVersion},
		{"setACL", acl, "/leaf", 0, protocol.OK},
		{"check", check, "/x/", -1, protocol.BadArguments},
		{"check", check, "/missing", 5, protocol.NoNode},
		{"check", check, "/mine", 5, protocol.NoAuth},
		{"check", check, "/leaf", 5, protocol.BadVersion},
		{"check", check, "/leaf", 0, protocol.OK},
	} {
		r := refusalRig(t)
		before := r.m.Zxid()
		op, body := c.request(c.path, c.version)
		res := r.send(op, body)
		got := res.Err
		if op == protocol.OpMulti {
			got = multiCodes(t, res)[0]
		}
		if got != c.want {
			t.Errorf("%s %q version %d: %v, want %v", c.name, c.path, c.version, got, c.want)
		}
		if r.m.Zxid() != before+1 {
			t.Errorf("%s %q took no zxid", c.name, c.path)
		}
	}
}

func multiCodes(t *testing.T, res Result) (codes []protocol.ErrCode) {
	t.Helper()
	if res.Err != protocol.OK {
		t.Fatalf("multi: %v", res.Err)
	}
	var r protocol.MultiResponse
	d := protocol.NewDecoder(res.Body)
	r.Decode(&d)
	if d.Err() != nil || len(d.Rest()) > 0 {
		t.Fatalf("multi's response: %v, %d bytes left", d.Err(), len(d.Rest()))
	}
	for _, one := range r.Results {
		codes = append(codes, one.Err)
	}
	return codes
}

func TestUndecodableRequests(t *testing.T) {
	r := newRig(t)
	for _, op := range []protocol.OpCode{protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL,
		protocol.OpDelete, protocol.OpSetData, protocol.OpSetACL, protocol.OpMulti, protocol.OpReconfig, protocol.OpCreateSession, OpInvalid} {
		before := r.m.Zxid()
		res := r.batch(r.request(op, []byte{0, 0, 0})).results[0]
		if res.Err != protocol.MarshallingError || res.Zxid != before+1 || res.Body != nil {
			t.Errorf("%v: %+v", op, res)
		}
	}
	if res := r.send(protocol.OpCheck, &protocol.CheckRequest{Path: "/"}); res.Err != protocol.Unimplemented {
		t.Errorf("check of its own: %v", res.Err)
	}
	rec := r.batch(r.request(OpInvalid, protocol.AppendInt(nil, int32(protocol.BadArguments))))
	if rec.results[0].Err != protocol.BadArguments {
		t.Errorf("invalid: %v", rec.results[0].Err)
	}
	if res := r.send(protocol.OpReconfig, &protocol.ReconfigRequest{}); res.Err != protocol.ReconfigDisabled {
		t.Errorf("reconfig: %v", res.Err)
	}
}

func TestReadRefusals(t *testing.T) {
	r := refusalRig(t)
	for _, c := range []struct {
		path           string
		exists, others protocol.ErrCode
	}{
		{"/open", protocol.OK, protocol.OK},
		{"", protocol.OK, protocol.OK},
		{"/missing", protocol.NoNode, protocol.NoNode},
		{"bad//", protocol.NoNode, protocol.NoNode},
		{"/open/", protocol.NoNode, protocol.NoNode},
		{"/n\x00", protocol.BadArguments, protocol.NoNode},
		{"/mine", protocol.NoAuth, protocol.NoAuth},
		{protocol.NullString, protocol.MarshallingError, protocol.MarshallingError},
	} {
		_, exists := r.m.Exists(c.path, anyone)
		_, _, _, data := r.m.GetData(c.path, anyone)
		_, _, children := r.m.AppendChildren(nil, c.path, anyone)
		_, all := r.m.AllChildrenNumber(c.path, anyone)
		_, _, acl := r.m.GetACL(c.path, anyone)
		if exists != c.exists || data != c.others || children != c.others || all != c.others || acl != c.others {
			t.Errorf("%q: %v %v %v %v %v", c.path, exists, data, children, all, acl)
		}
	}
}
