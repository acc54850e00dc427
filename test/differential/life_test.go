//go:build differential

package differential

import (
	"fmt"

	"github.com/coordd/coordd/protocol"
)

// watcher is the slot that sees what goes by itself; the others may fall silent.
const watcher = slots - 1

// life makes nodes that go by themselves, and sessions that fall silent, and
// waits. Nodes are named after what they are.
func (g *generator) life() {
	g.put(watcher, protocol.OpAddWatch, &protocol.PathTypeRequest{Path: home, Type: protocol.WatchPersistentRecursive})
	for slot := range watcher { // the first steps have made sessions that last
		if g.chance(70) {
			g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: newSession, timeout: shortTimeout}})
		}
	}
	for n := 22 + g.IntN(10); n > 0; n-- {
		g.lifeRequest(g.IntN(slots))
	}
	for slot := range watcher {
		if g.chance(50) { // or it stays, without a word
			g.steps = append(g.steps, step{kind: hangUp, slot: slot})
		}
	}
	g.steps = append(g.steps, step{kind: wait, slot: watcher})
	for slot := range watcher {
		g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: slot, timeout: longTimeout}},
			step{kind: connect, slot: slot, hello: hello{from: newSession, timeout: longTimeout}})
		g.steps[len(g.steps)-1].hello.from = pick(g, []int{newSession, watcher})
	}
}

func (g *generator) lifeRequest(slot int) {
	r := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: g.lifePath(), Data: pick(g, datas), ACL: protocol.WorldAnyone}}
	parent := r.Path
	switch g.IntN(12) {
	case 0, 1: // a container that has had a child, which may stay
		r.Path += fmt.Sprintf("/con%d", g.IntN(3))
		r.Mode = protocol.Container
		g.put(slot, protocol.OpCreateContainer, &r.CreateRequest)
		g.put(slot, protocol.OpCreate, &protocol.CreateRequest{Path: r.Path + "/x", ACL: protocol.WorldAnyone})
		if g.chance(70) {
			g.put(slot, protocol.OpDelete, &protocol.DeleteRequest{Path: r.Path + "/x", Version: -1})
		}
	case 2:
		r.Path += fmt.Sprintf("/never%d", g.IntN(3))
		r.Mode = protocol.Container
		g.put(slot, protocol.OpCreateContainer, &r.CreateRequest)
	case 3, 4: // a TTL that is over at once, or never
		r.Path += fmt.Sprintf("/ttl%d", g.IntN(3))
		r.Mode = pick(g, []protocol.CreateMode{protocol.PersistentTTL, protocol.PersistentSequentialTTL})
		r.TTLMs = pick(g, []int64{1, 1, 1 << 39})
		g.put(slot, protocol.OpCreateTTL, &r)
		if g.chance(30) && r.Mode == protocol.PersistentTTL {
			g.put(slot, protocol.OpCreate, &protocol.CreateRequest{Path: r.Path + "/x", ACL: protocol.WorldAnyone, Mode: pick(g, []protocol.CreateMode{0, 1})})
		}
	case 5, 6:
		r.Path += fmt.Sprintf("/eph%d", g.IntN(3))
		r.Mode = pick(g, []protocol.CreateMode{protocol.Ephemeral, protocol.EphemeralSequential})
		g.put(slot, pick(g, []protocol.OpCode{protocol.OpCreate, protocol.OpCreate2}), &r.CreateRequest)
	case 7:
		g.put(slot, protocol.OpSetData, &protocol.SetDataRequest{Path: parent, Data: []byte("again"), Version: -1})
	case 8:
		g.put(slot, protocol.OpDelete, &protocol.DeleteRequest{Path: parent, Version: -1})
	case 9:
		g.put(slot, protocol.OpGetEphemerals, &protocol.PathRequest{Path: home})
	default:
		op := pick(g, []protocol.OpCode{protocol.OpExists, protocol.OpGetData, protocol.OpGetChildren, protocol.OpGetChildren2})
		g.put(slot, op, &protocol.PathWatchRequest{Path: parent, Watch: true})
	}
}

// lifePath is where something may be that goes by itself. Deeper than one
// inside another it would take settle more looks.
func (g *generator) lifePath() string {
	return home + pick(g, []string{"", "", "", "/con0", "/con1", "/ttl0", "/never0"})
}
