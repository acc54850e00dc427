//go:build differential

package differential

import (
	"math"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// Runs of requests that are made for an answer which chance seldom hits upon.

// put appends a request that is as it should be.
func (g *generator) put(slot int, op protocol.OpCode, body protocol.Record) *step {
	return g.add(slot, op, body.AppendTo(nil))
}

const (
	locked    = home + "/l" // that nobody may do anything with
	ephemeral = home + "/e"
)

var nobody = []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "ip", ID: "10.1.2.3"}}}

// landmarks makes two nodes that refuse what others allow.
func (g *generator) landmarks(slot int) {
	g.put(slot, protocol.OpCreate, &protocol.CreateRequest{Path: locked, Data: []byte("closed"), ACL: nobody})
	g.put(slot, protocol.OpCreate, &protocol.CreateRequest{Path: ephemeral, ACL: protocol.WorldAnyone, Mode: protocol.Ephemeral})
	g.exist = append(g.exist, locked, ephemeral)
}

// creates are the operations that create.
var creates = []protocol.OpCode{protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL}

// sound is a create of a path in a mode that goes with the operation.
func sound(op protocol.OpCode, path string) protocol.CreateTTLRequest {
	r := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: path, Data: []byte("d"), ACL: protocol.WorldAnyone}}
	switch op {
	case protocol.OpCreateContainer:
		r.Mode = protocol.Container
	case protocol.OpCreateTTL:
		r.Mode, r.TTLMs = protocol.PersistentTTL, 1<<38
	}
	return r
}

// body is r as op has it.
func body(op protocol.OpCode, r *protocol.CreateTTLRequest) []byte {
	if op == protocol.OpCreateTTL {
		return r.AppendTo(nil)
	}
	return r.CreateRequest.AppendTo(nil)
}

// refused is an operation that fails for a reason of its own, given the
// landmarks.
func (g *generator) refused() (protocol.OpCode, []byte) {
	op := pick(g, append([]protocol.OpCode{protocol.OpDelete, protocol.OpSetData, protocol.OpCheck, protocol.OpDelete, protocol.OpSetData, protocol.OpCheck}, creates...))
	missing := home + "/none/x"
	switch op {
	case protocol.OpDelete:
		r := pick(g, []protocol.DeleteRequest{{Path: "no", Version: -1}, {Path: missing, Version: -1}, {Path: locked + "/x", Version: -1}, {Path: home, Version: 77}, {Path: home, Version: -1}})
		return op, r.AppendTo(nil)
	case protocol.OpCheck:
		r := pick(g, []protocol.DeleteRequest{{Path: "no", Version: -1}, {Path: missing, Version: -1}, {Path: locked, Version: -1}, {Path: home, Version: 77}})
		return op, r.AppendTo(nil)
	case protocol.OpSetData:
		r := pick(g, []protocol.SetDataRequest{{Path: "no", Version: -1}, {Path: missing, Version: -1}, {Path: locked, Version: -1}, {Path: home, Version: 77}})
		return op, r.AppendTo(nil)
	}
	r := sound(op, pick(g, []string{home + "/./x", missing, locked + "/x", ephemeral + "/x", home}))
	switch g.IntN(8) {
	case 0:
		r.ACL = []protocol.ACL{{Perms: 31, ID: protocol.ID{Scheme: "foo", ID: "bar"}}}
	case 1, 2:
		r.Mode, r.TTLMs = protocol.PersistentTTL, 0 // too short, or not one of the operation's
	}
	return op, body(op, &r)
}

// failing is a multi whose operation at some place is refused.
func (g *generator) failing(slot int) {
	var b []byte
	n := 1 + g.IntN(5)
	at := g.IntN(n)
	for i := 0; i < n; i++ {
		if i == at {
			op, body := g.refused()
			b = part(b, op, body)
			continue
		}
		op := pick(g, append([]protocol.OpCode{protocol.OpSetData, protocol.OpCheck, protocol.OpDelete}, creates...))
		if op == protocol.OpDelete && (i+1 == n || i+1 == at) {
			op = protocol.OpCheck // no room for what is to be deleted
		}
		switch op {
		case protocol.OpSetData:
			b = part(b, op, (&protocol.SetDataRequest{Path: home, Data: []byte("d"), Version: -1}).AppendTo(nil))
		case protocol.OpCheck:
			b = part(b, op, (&protocol.DeleteRequest{Path: home, Version: -1}).AppendTo(nil))
		case protocol.OpDelete: // of what the multi has made
			made := sound(protocol.OpCreate, home+"/gone")
			b = part(b, protocol.OpCreate, body(protocol.OpCreate, &made))
			b = part(b, op, (&protocol.DeleteRequest{Path: made.Path, Version: -1}).AppendTo(nil))
			i++
		default:
			r := sound(op, home+"/m")
			switch op {
			case protocol.OpCreateTTL:
				r.Mode = protocol.PersistentSequentialTTL
			case protocol.OpCreateContainer:
				r.Path += g.digits()
			default:
				r.Mode = protocol.PersistentSequential
			}
			b = part(b, op, body(op, &r))
		}
	}
	g.add(slot, protocol.OpMulti, protocol.MultiEnd.AppendTo(b))
}

func (g *generator) digits() string {
	var b strings.Builder
	for range 12 {
		b.WriteByte(byte('0' + g.IntN(10)))
	}
	return b.String()
}

// overQuota has a hard limit that nothing fits in, and everything that could.
func (g *generator) overQuota(slot int) {
	top := "/zookeeper/quota" + home
	limits := top + "/zookeeper_limits"
	for _, n := range []struct{ path, data string }{{top, ""}, {limits, "x"}, {top + "/zookeeper_stats", "count=0,bytes=0"}} {
		g.put(slot, protocol.OpCreate, &protocol.CreateRequest{Path: n.path, Data: []byte(n.data), ACL: protocol.WorldAnyone})
	}
	g.put(slot, protocol.OpSetData, &protocol.SetDataRequest{Path: limits, Data: []byte("count=1,bytes=1=;byteHardLimit=1;countHardLimit=1"), Version: -1})
	check := func(b []byte) []byte {
		return part(b, protocol.OpCheck, (&protocol.DeleteRequest{Path: home, Version: -1}).AppendTo(nil))
	}
	grow := (&protocol.SetDataRequest{Path: home, Data: []byte("more than there is room for"), Version: -1}).AppendTo(nil)
	for _, op := range creates {
		r := sound(op, home+"/q"+g.digits())
		g.add(slot, op, body(op, &r))
		// Only one of them grows: a real server forgets what the operations before did.
		g.add(slot, protocol.OpMulti, protocol.MultiEnd.AppendTo(check(part(check(nil), op, body(op, &r)))))
	}
	g.add(slot, protocol.OpSetData, grow)
	g.add(slot, protocol.OpMulti, protocol.MultiEnd.AppendTo(part(check(nil), protocol.OpSetData, grow)))
	g.put(slot, protocol.OpSetData, &protocol.SetDataRequest{Path: limits, Data: []byte(pick(g, quotaTexts)), Version: -1})
}

// movedAway has a session taken to another server, and a write sent over its
// old connection.
func (g *generator) movedAway() {
	slot := g.IntN(slots)
	next := (slot + 1) % slots
	old := g.IntN(g.servers)
	to := (old + 1 + g.IntN(g.servers-1)) % g.servers
	g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: newSession, timeout: longTimeout, server: old}})
	g.add(slot, protocol.OpGetData, (&protocol.PathWatchRequest{Path: home}).AppendTo(nil))
	g.steps = append(g.steps, step{kind: connect, slot: next, hello: hello{from: slot, timeout: longTimeout, server: to, moves: true}})
	g.put(next, protocol.OpSetData, &protocol.SetDataRequest{Path: home, Data: []byte("moved"), Version: -1})
	g.sentBehind(slot).movedWrite = true
	g.put(next, protocol.OpExists, &protocol.PathWatchRequest{Path: home})
	g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: newSession, timeout: longTimeout, server: old}})
}

// sentBehind is one of the writes that only a session's owner may send.
func (g *generator) sentBehind(slot int) *step {
	op := pick(g, append([]protocol.OpCode{protocol.OpDelete, protocol.OpSetData, protocol.OpSetACL, protocol.OpMulti}, creates...))
	switch op {
	case protocol.OpDelete:
		return g.put(slot, op, &protocol.DeleteRequest{Path: home + "/a", Version: -1})
	case protocol.OpSetData:
		return g.put(slot, op, &protocol.SetDataRequest{Path: home, Version: -1})
	case protocol.OpSetACL:
		return g.put(slot, op, &protocol.SetACLRequest{Path: home + "/a", ACL: protocol.WorldAnyone, Version: -1})
	case protocol.OpMulti:
		r := sound(protocol.OpCreate, home+"/a")
		return g.add(slot, op, protocol.MultiEnd.AppendTo(part(nil, protocol.OpCreate, body(protocol.OpCreate, &r))))
	}
	r := sound(op, home+"/a")
	return g.add(slot, op, body(op, &r))
}

// late has requests of every kind wait behind a write that takes its time.
func (g *generator) late(slot int) {
	g.put(slot, protocol.OpSetData, &protocol.SetDataRequest{Path: home, Data: []byte("first"), Version: -1})
	g.behind = true
	all := g.everything()
	g.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, r := range all {
		g.add(slot, r.op, r.body)
	}
	g.behind = false
	g.steps[len(g.steps)-1].stalled = true
}

type whole struct {
	op   protocol.OpCode
	body []byte
}

// everything is one sound request of each operation that is answered in its turn.
func (g *generator) everything() []whole {
	read := (&protocol.PathWatchRequest{Path: home, Watch: true}).AppendTo(nil)
	path := (&protocol.PathRequest{Path: home}).AppendTo(nil)
	watch := (&protocol.PathTypeRequest{Path: home, Type: 3}).AppendTo(nil)
	watches := protocol.SetWatches2Request{SetWatchesRequest: protocol.SetWatchesRequest{RelativeZxid: math.MaxInt64, Data: []string{home}, Exist: []string{}, Child: []string{}},
		Persistent: []string{}, PersistentRecursive: []string{}}
	reconfig := protocol.ReconfigRequest{Joining: protocol.NullString, Leaving: "9", NewMembers: protocol.NullString, CurConfigID: -1}
	list := []whole{
		{protocol.OpDelete, (&protocol.DeleteRequest{Path: home + "/x", Version: -1}).AppendTo(nil)},
		{protocol.OpSetData, (&protocol.SetDataRequest{Path: home, Version: -1}).AppendTo(nil)},
		{protocol.OpSetACL, (&protocol.SetACLRequest{Path: home, ACL: protocol.WorldAnyone, Version: -1}).AppendTo(nil)},
		{protocol.OpExists, read}, {protocol.OpGetData, read}, {protocol.OpGetChildren, read}, {protocol.OpGetChildren2, read},
		{protocol.OpGetACL, path}, {protocol.OpGetAllChildrenNumber, path}, {protocol.OpGetEphemerals, path}, {protocol.OpSync, path},
		{protocol.OpAddWatch, (&protocol.PathTypeRequest{Path: home, Type: 0}).AppendTo(nil)},
		{protocol.OpCheckWatches, watch}, {protocol.OpRemoveWatches, watch},
		{protocol.OpSetWatches, watches.SetWatchesRequest.AppendTo(nil)}, {protocol.OpSetWatches2, watches.AppendTo(nil)},
		{protocol.OpMulti, protocol.MultiEnd.AppendTo(part(nil, protocol.OpCheck, (&protocol.DeleteRequest{Path: home, Version: -1}).AppendTo(nil)))},
		{protocol.OpMultiRead, protocol.MultiEnd.AppendTo(part(nil, protocol.OpGetData, read))},
		{protocol.OpReconfig, reconfig.AppendTo(nil)},
		{protocol.OpWhoAmI, nil},
	}
	for _, op := range creates {
		r := sound(op, home+"/late")
		list = append(list, whole{op, body(op, &r)})
	}
	return list
}

// largeFrame is a request about as long as may be, then a new connection.
func (g *generator) largeFrame(slot int) {
	r := protocol.SetDataRequest{Path: home, Data: []byte{}, Version: -1}
	rest := g.maxFrame - protocol.RequestHeaderSize - len(r.AppendTo(nil))
	r.Data = make([]byte, rest+pick(g, []int{-1, 0, 0, 1, 2, 1000}))
	g.put(slot, protocol.OpSetData, &r)
	g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: slot, timeout: longTimeout}})
}
