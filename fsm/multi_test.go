package fsm

import (
	"slices"
	"testing"

	"github.com/coordd/coordd/protocol"
)

func multiOf(ops ...protocol.MultiOp) *protocol.MultiRequest { return &protocol.MultiRequest{Ops: ops} }

func opCreate(op protocol.OpCode, path string, mode protocol.CreateMode) protocol.MultiOp {
	return protocol.MultiOp{Type: op, Body: &protocol.CreateRequest{Path: path, ACL: open, Mode: mode}}
}

func opDelete(path string) protocol.MultiOp {
	return protocol.MultiOp{Type: protocol.OpDelete, Body: &protocol.DeleteRequest{Path: path, Version: -1}}
}

func opSet(path, data string) protocol.MultiOp {
	return protocol.MultiOp{Type: protocol.OpSetData, Body: &protocol.SetDataRequest{Path: path, Data: []byte(data), Version: -1}}
}

func TestMultiSucceeds(t *testing.T) {
	r := newRig(t)
	before := r.m.Zxid()
	rec := r.log(protocol.OpMulti, multiOf(
		opCreate(protocol.OpCreate, "/a", protocol.Persistent),
		opCreate(protocol.OpCreate2, "/a/e", protocol.Ephemeral),
		opSet("/a", "1"),
		protocol.MultiOp{Type: protocol.OpCheck, Body: &protocol.CheckRequest{Path: "/a", Version: 1}},
		opDelete("/a/e"),
		opCreate(protocol.OpCreate, "/a/e", protocol.Container),
	))
	wantLines(t, rec, "created /a", "children /", "created /a/e", "children /a", "data /a",
		"deleted /a/e", "children /a", "created /a/e", "children /a", "result Ok")
	var resp protocol.MultiResponse
	d := protocol.NewDecoder(rec.results[0].Body)
	resp.Decode(&d)
	var types []protocol.OpCode
	for _, res := range resp.Results {
		types = append(types, res.Type)
	}
	if d.Err() != nil || !slices.Equal(types, []protocol.OpCode{1, 15, 5, 13, 2, 15}) {
		t.Errorf("results: %v %v", types, d.Err())
	}
	if st := resp.Results[2].Body.(*protocol.StatResponse).Stat; st.Mzxid != before+1 || st.Version != 1 || st.NumChildren != 1 {
		t.Errorf("setData's stat: %+v", st)
	}
	if r.m.Zxid() != before+1 || r.m.Stats().Ephemerals != 0 {
		t.Errorf("zxid %x after %x, %+v", r.m.Zxid(), before, r.m.Stats())
	}
	if !isContainer(r.m.tree.at(r.m.tree.lookup("/a/e")).owner) {
		t.Error("flags 4 in a multi make a container")
	}
	if res := r.send(protocol.OpMulti, multiOf()); string(res.Body) != string(protocol.MultiEnd.AppendTo(nil)) || r.m.Zxid() != before+2 {
		t.Errorf("empty multi: %+v", res)
	}
}

func TestMultiRollsBack(t *testing.T) {
	r := newRig(t)
	r.mustCreate("/d", "old", open, protocol.Persistent)
	r.mustCreate("/d/e", "", open, protocol.Ephemeral)
	r.mustCreate("/d/s", "", open, protocol.PersistentSequential)
	state, stats := r.m.tree.stateDigest(), r.m.Stats()
	before := r.m.Zxid()
	rec := r.log(protocol.OpMulti, multiOf(
		opSet("/d", "new data"),
		opDelete("/d/e"),
		opCreate(protocol.OpCreate, "/d/e", protocol.Persistent),
		opCreate(protocol.OpCreate, "/d/e/kid", protocol.Persistent),
		opCreate(protocol.OpCreate, "/d/s", protocol.EphemeralSequential),
		opCreate(protocol.OpCreate, "/zookeeper/quota/d", protocol.Persistent),
		opDelete("/missing"),
		opSet("/d", "never"),
	))
	codes := multiCodes(t, rec.results[0])
	if !slices.Equal(codes, []protocol.ErrCode{0, 0, 0, 0, 0, 0, protocol.NoNode, protocol.RuntimeInconsistency}) {
		t.Errorf("codes: %v", codes)
	}
	wantLines(t, rec, "result Ok")
	if r.m.tree.stateDigest() != state || r.m.Stats() != stats || r.m.Zxid() != before+1 {
		t.Errorf("left behind: %+v, before %+v", r.m.Stats(), stats)
	}
	r.mustCreate("/d/s", "", open, protocol.PersistentSequential)
	if !r.exists("/d/s0000000002") {
		t.Error("the failed multi consumed a sequence number")
	}
	wantLines(t, r.log(protocol.OpCloseSession, nil), "deleted /d/e", "children /d", "closed 0x100000000000001", "result Ok")
}

func TestMultiFailsAsAWhole(t *testing.T) {
	noACL := opCreate(protocol.OpCreate, "/x", 0)
	noACL.Body.(*protocol.CreateRequest).ACL = nil
	worldNull := opCreate(protocol.OpCreate, "/x", 0)
	worldNull.Body.(*protocol.CreateRequest).ACL = []protocol.ACL{entry(1, "world", protocol.NullString)}
	get := protocol.MultiOp{Type: protocol.OpGetData, Body: &protocol.PathWatchRequest{Path: "/"}}
	for name, m := range map[string]*protocol.MultiRequest{
		"flag 7":        multiOf(opSet("/", "x"), opCreate(protocol.OpCreate, "/x", 7)),
		"null list":     multiOf(opSet("/", "x"), noACL),
		"null path":     multiOf(opSet("/", "x"), opCreate(protocol.OpCreate, protocol.NullString, 0)),
		"null delete":   multiOf(opSet("/", "x"), opDelete(protocol.NullString)),
		"null setData":  multiOf(opSet("/", "x"), opSet(protocol.NullString, "x")),
		"null check":    multiOf(opSet("/", "x"), protocol.MultiOp{Type: protocol.OpCheck, Body: &protocol.CheckRequest{Path: protocol.NullString}}),
		"TTL by create": multiOf(opSet("/", "x"), opCreate(protocol.OpCreate2, "/x", protocol.PersistentTTL)),
		"null world id": multiOf(opSet("/", "x"), worldNull),
		"reads":         multiOf(get),
		"mixed":         multiOf(opSet("/", "x"), get),
		"setACL inside": multiOf(opSet("/", "x"), protocol.MultiOp{Type: protocol.OpSetACL, Body: &protocol.SetACLRequest{Path: "/", ACL: open}}),
	} {
		r := newRig(t)
		before := r.m.Zxid()
		res := r.send(protocol.OpMulti, m)
		if res.Err != protocol.MarshallingError || res.Body != nil || r.m.Zxid() != before+1 || r.data("/") != "" {
			t.Errorf("%s: %+v", name, res)
		}
	}
	r := newRig(t)
	r.epoch = 9
	if res := r.send(protocol.OpMulti, multiOf(opSet("/", "x"))); res.Err != protocol.SessionMoved {
		t.Errorf("moved: %v", res.Err)
	}
}

// TestMultiCreateTTL: inside a multi createTTL with a mode that has none is
// the plain operation of that mode, whatever its ttl.
func TestMultiCreateTTL(t *testing.T) {
	for mode, want := range map[protocol.CreateMode]protocol.OpCode{
		protocol.Persistent: protocol.OpCreate, protocol.Ephemeral: protocol.OpCreate, protocol.Container: protocol.OpCreate2,
	} {
		r := newRig(t)
		create := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: "/x", ACL: open, Mode: mode}, TTLMs: -1}
		res := r.send(protocol.OpMulti, multiOf(protocol.MultiOp{Type: protocol.OpCreateTTL, Body: &create}))
		var resp protocol.MultiResponse
		d := protocol.NewDecoder(res.Body)
		resp.Decode(&d)
		if d.Err() != nil || len(resp.Results) != 1 || resp.Results[0].Type != want || !r.exists("/x") {
			t.Errorf("mode %d: %+v", mode, resp.Results)
		}
	}
	r := newRig(t)
	create := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: "/x", ACL: open, Mode: 7}, TTLMs: -1}
	res := r.send(protocol.OpMulti, multiOf(protocol.MultiOp{Type: protocol.OpCreateTTL, Body: &create}))
	if codes := multiCodes(t, res); codes[0] != protocol.BadArguments {
		t.Errorf("mode 7: %v", codes)
	}
}
