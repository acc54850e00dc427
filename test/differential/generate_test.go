//go:build differential

package differential

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
)

const superUser = "super:secret"

var (
	annDigest   = auth.Digest([]byte(users[0]))
	bobDigest   = auth.Digest([]byte(users[1]))
	superDigest = auth.Digest([]byte(superUser))
)

// shape says what programs may hold.
type shape struct {
	requests int
	// bursts sends runs of requests at once, one connection at a time.
	bursts bool
	// ensemble leaves out what hangs a real ensemble: single writes that
	// cannot be decoded, and multis with a create that has no list.
	ensemble bool
	// servers is how many servers connections go to, if more than one.
	servers int
	// quotas makes more of them.
	quotas bool
	// waits lets nodes and sessions go by themselves.
	waits bool
	// throttled makes requests late.
	throttled bool
	// maxFrame is the longest frame, where it is short.
	maxFrame int
	// frozen is for servers where nothing can be written.
	frozen bool
}

// generator makes one program.
type generator struct {
	*rand.Rand
	shape
	steps  []step
	xid    int32
	exist  []string // paths that were created, and perhaps still are there
	seen   []string // paths that perhaps are watched, the last few
	behind bool     // the next request does not wait for the one before
}

// generate returns the program of a seed.
func generate(seed uint64, s shape) *program {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), shape: s, exist: []string{home}}
	for slot := range slots {
		first := hello{from: newSession, timeout: longTimeout, server: g.server()}
		if s.frozen {
			first.readOnly = 1
		}
		g.steps = append(g.steps, step{kind: connect, slot: slot, hello: first})
		if g.chance(50) {
			g.authenticate(slot, users[g.IntN(3)])
		}
	}
	switch {
	case s.frozen:
		for _, path := range []string{"/a", "/a/a", "/a/b", "/b", "/b/a0000000000", "/c"} {
			g.exist = append(g.exist, home+path)
		}
	case !s.waits && g.chance(70):
		g.landmarks(g.IntN(slots))
	}
	for len(g.steps) < s.requests {
		switch {
		case s.waits && len(g.steps) > s.requests/4: // waits take long
			return g.program(seed)
		case s.waits:
			g.life()
		case s.bursts && g.chance(60):
			g.burst()
		case s.throttled && g.chance(10):
			g.late(g.IntN(slots))
		case s.servers > 1 && g.chance(3):
			g.movedAway()
		case s.quotas && g.chance(3):
			g.overQuota(g.IntN(slots))
		case s.maxFrame > 0 && g.chance(5):
			g.largeFrame(g.IntN(slots))
		case g.chance(7):
			g.connection(g.IntN(slots))
		default:
			g.request(g.IntN(slots))
		}
	}
	return g.program(seed)
}

func (g *generator) program(seed uint64) *program {
	return &program{seed: seed, steps: g.steps, roams: g.servers > 1, rests: g.ensemble, waits: g.waits, frozen: g.frozen, maxFrame: g.maxFrame}
}

// server is one to connect to.
func (g *generator) server() int {
	if g.servers < 2 {
		return 0
	}
	return g.IntN(g.servers)
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// add appends a request and returns it.
func (g *generator) add(slot int, op protocol.OpCode, body []byte) *step {
	g.xid++
	xid := g.xid
	switch {
	case op == protocol.OpPing:
		xid = pick(g, []int32{protocol.XidPing, xid})
	case op == protocol.OpAuth:
		xid = pick(g, []int32{protocol.XidAuth, xid})
	case op == protocol.OpSetWatches || op == protocol.OpSetWatches2:
		xid = pick(g, []int32{protocol.XidSetWatches, xid})
	case g.chance(2):
		xid = pick(g, []int32{0, -3, protocol.XidPing, 1, math.MaxInt32, math.MinInt32})
	}
	g.steps = append(g.steps, step{kind: request, slot: slot, frame: append(header(xid, op), body...), behind: g.behind})
	return &g.steps[len(g.steps)-1]
}

// burst is a run of requests of one connection. Left out is what ZooKeeper
// answers out of turn, or by chance: auth, sasl, what closes, and setACL, whose
// list a later request in flight may or may not be judged by.
func (g *generator) burst() {
	slot := g.IntN(slots)
	start := len(g.steps)
	for n := 2 + g.IntN(40); n > 0; n-- {
		g.behind = len(g.steps) > start
		g.ordinary(slot)
	}
	g.behind = false
}

// request is one request that waits for its answer.
func (g *generator) request(slot int) {
	switch n := g.IntN(100); {
	case n < 4:
		g.add(slot, protocol.OpSetACL, g.malform(protocol.OpSetACL, (&protocol.SetACLRequest{Path: g.aclPath(), ACL: g.acl(), Version: pick(g, versions)}).AppendTo(nil)))
	case n < 8:
		g.authenticate(slot, pick(g, users[:3]))
	case n < 12 || g.quotas && n < 30:
		g.quota(slot)
	case n < 15:
		if op, body := g.refused(); op != protocol.OpCheck {
			g.add(slot, op, body)
		}
	default:
		g.ordinary(slot)
	}
}

func (g *generator) authenticate(slot int, user string) {
	g.add(slot, protocol.OpAuth, (&protocol.AuthRequest{Scheme: "digest", Auth: []byte(user)}).AppendTo(nil))
}

// connection is something that concerns the connection itself.
func (g *generator) connection(slot int) {
	switch n := g.IntN(100); {
	case n < 12:
		a := pick(g, auths)
		g.add(slot, protocol.OpAuth, (&protocol.AuthRequest{Type: int32(g.IntN(3)), Scheme: a.scheme, Auth: a.auth}).AppendTo(nil))
	case n < 17:
		g.authenticate(slot, superUser)
	case n < 21:
		g.add(slot, protocol.OpSasl, (&protocol.SaslRecord{Token: pick(g, [][]byte{{}, []byte("x"), nil})}).AppendTo(nil))
	case n < 24:
		g.add(slot, protocol.OpAuth, g.cut((&protocol.AuthRequest{Scheme: "digest", Auth: []byte("a:b")}).AppendTo(nil)))
	case n < 32:
		g.add(slot, pick(g, unknownOps), protocol.AppendString(nil, g.path()))
	case n < 40:
		g.steps = append(g.steps, step{kind: raw, slot: slot, frame: pick(g, badFrames)})
	case n < 52:
		g.add(slot, protocol.OpCloseSession, nil)
	case n < 60:
		g.steps = append(g.steps, step{kind: hangUp, slot: slot})
	}
	h := hello{from: g.IntN(slots), timeout: pick(g, timeouts), readOnly: pick(g, []int{0, 0, 0, 1, -1}), server: g.server()}
	usual := 0
	if g.frozen {
		usual, h.readOnly = 1, pick(g, []int{1, 1, 1, 1, 0, -1})
	}
	if g.chance(30) {
		h.from = -1 - g.IntN(2)
	}
	if g.chance(20) {
		h.password = passwordKind(g.IntN(5))
	}
	if g.chance(30) {
		h.zxid = zxidKind(g.IntN(5))
	}
	if g.chance(5) {
		h.cut = 1 + g.IntN(45)
	}
	if g.chance(10) {
		h.version = pick(g, []int32{1, 7, -1})
	}
	g.steps = append(g.steps, step{kind: connect, slot: slot, hello: h})
	if g.chance(50) { // a slot without a connection tests nothing
		g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: slot, timeout: longTimeout, readOnly: usual, server: g.server()}})
	}
	if h.from < 0 || h.cut > 0 || h.zxid >= zxidAhead || g.chance(40) {
		g.steps = append(g.steps, step{kind: connect, slot: slot, hello: hello{from: newSession, timeout: longTimeout, readOnly: usual, server: g.server()}})
	}
}

// ordinary is a request that is answered in its turn.
func (g *generator) ordinary(slot int) {
	switch n := g.IntN(100); {
	case n < 20:
		op, body := g.create(false)
		g.add(slot, op, g.malform(op, body))
	case n < 28:
		g.add(slot, protocol.OpDelete, g.malform(protocol.OpDelete, g.delete()))
	case n < 37:
		g.add(slot, protocol.OpSetData, g.malform(protocol.OpSetData, g.setData()))
	case n < 47:
		switch {
		case g.quotas: // a real server checks the operations of a multi by the usage before it
		case g.chance(30):
			g.failing(slot)
		default:
			g.multi(slot)
		}
	case n < 70:
		op := pick(g, []protocol.OpCode{protocol.OpExists, protocol.OpGetData, protocol.OpGetChildren, protocol.OpGetChildren2, protocol.OpGetData})
		body := protocol.AppendString(nil, g.watched())
		g.add(slot, op, g.malform(op, append(body, pick(g, []byte{0, 1, 1, 2}))))
	case n < 73:
		g.add(slot, protocol.OpGetACL, g.malform(protocol.OpGetACL, protocol.AppendString(nil, g.path())))
	case n < 75:
		g.add(slot, protocol.OpGetAllChildrenNumber, g.malform(protocol.OpGetAllChildrenNumber, protocol.AppendString(nil, g.path())))
	case n < 77:
		prefix := pick(g, []string{g.path(), home, "", "/", " ", "\t", protocol.NullString, "/p", home + "/", "\u00a0", "\u2003", "x"})
		g.add(slot, protocol.OpGetEphemerals, g.malform(protocol.OpGetEphemerals, protocol.AppendString(nil, prefix)))
	case n < 79:
		g.add(slot, protocol.OpSync, g.malform(protocol.OpSync, protocol.AppendString(nil, g.path())))
	case n < 80:
		g.add(slot, protocol.OpPing, nil)
	case n < 81:
		g.add(slot, protocol.OpWhoAmI, nil)
	case n < 85:
		g.add(slot, protocol.OpAddWatch, g.malform(protocol.OpAddWatch, (&protocol.PathTypeRequest{Path: g.watched(), Type: pick(g, []int32{0, 0, 0, 1, 1, 1, 2, -1, 5})}).AppendTo(nil)))
	case n < 90:
		op := pick(g, []protocol.OpCode{protocol.OpCheckWatches, protocol.OpRemoveWatches})
		g.add(slot, op, g.malform(op, (&protocol.PathTypeRequest{Path: pick(g, append(slices.Clone(g.seen), g.path())), Type: pick(g, []int32{1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 0, 6, -1})}).AppendTo(nil)))
	case n < 94:
		g.setWatches(slot)
	case n < 99:
		g.multiRead(slot)
	default:
		r := protocol.ReconfigRequest{Joining: protocol.NullString, Leaving: pick(g, []string{"1", "x", protocol.NullString}), NewMembers: protocol.NullString, CurConfigID: -1}
		g.add(slot, protocol.OpReconfig, g.malform(protocol.OpReconfig, r.AppendTo(nil)))
	}
}

// watched is a path to be watched.
func (g *generator) watched() string {
	path := g.path()
	if g.seen = append(g.seen, path); len(g.seen) > 5 {
		g.seen = g.seen[1:]
	}
	return path
}

// path is some path: mostly one that may exist.
func (g *generator) path() string {
	switch n := g.IntN(100); {
	case n < 15 && len(g.seen) > 0:
		return pick(g, g.seen)
	case n < 50:
		return pick(g, g.exist)
	case n < 85:
		return g.plainPath()
	case n < 94:
		return pick(g, oddPaths)
	}
	return pick(g, systemPaths)
}

func (g *generator) plainPath() string {
	path := home
	if g.chance(30) {
		path = pick(g, g.exist)
		if strings.Count(path, "/") > 5 {
			path = home
		}
	}
	for n := 1 + g.IntN(2); n > 0; n-- {
		path += "/" + pick(g, names)
	}
	if g.chance(10) {
		path += pick(g, []string{"0000000000", "0000000001", "0000000002", "0000000003"})
	}
	return path
}

// aclPath leaves the server's own nodes open for the programs to come.
func (g *generator) aclPath() string {
	for {
		if p := g.path(); p != "/" && p != home && !strings.HasPrefix(p, "/zookeeper") {
			return p
		}
	}
}

func (g *generator) acl() []protocol.ACL {
	switch n := g.IntN(100); {
	case n < 60:
		return protocol.WorldAnyone
	case n < 63:
		return nil
	case n < 65:
		return []protocol.ACL{}
	}
	var list []protocol.ACL
	for n := 1 + g.IntN(3); n > 0; n-- {
		a := protocol.ACL{Perms: pick(g, allPerms), ID: pick(g, soundIDs)}
		if g.chance(25) {
			a.ID = pick(g, oddIDs)
		}
		// A multi that stumbles over a null leaves ghosts of its operations
		// before a real server's requests in flight.
		if g.bursts && (a.ID.Scheme == protocol.NullString || a.ID.ID == protocol.NullString) {
			continue
		}
		list = append(list, a)
		if g.chance(10) {
			list = append(list, a)
		}
	}
	return list
}

// create is one of the four creates. Left out is createTTL with a mode without
// TTL and a negative ttl, which kills a real server for good.
func (g *generator) create(inside bool) (protocol.OpCode, []byte) {
	r := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Data: pick(g, datas), ACL: g.acl()}}
	if inside && g.ensemble && r.ACL == nil {
		r.ACL = protocol.WorldAnyone // a multi without a list hangs a real ensemble like a write that cannot be decoded
	}
	if r.Path = g.plainPath(); g.chance(20) {
		r.Path = g.path()
	}
	if g.chance(3) {
		r.Path += "/"
	}
	r.Mode = pick(g, []protocol.CreateMode{0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4})
	if g.chance(4) {
		r.Mode = pick(g, []protocol.CreateMode{5, 6, 7, -1, 100, math.MinInt32})
	}
	if inside && !r.Mode.Valid() && g.chance(80) {
		r.Mode = 0
	}
	if len(g.exist) < 40 {
		g.exist = append(g.exist, r.Path)
	}
	switch n := g.IntN(100); {
	case n < 50:
		return protocol.OpCreate, r.CreateRequest.AppendTo(nil)
	case n < 80:
		return protocol.OpCreate2, r.CreateRequest.AppendTo(nil)
	case n < 90:
		// With an ephemeral mode it is an ephemeral to a real server's requests
		// in flight, and a container once made.
		if g.chance(80) || r.Mode.Ephemeral() && (g.bursts || inside) {
			r.Mode = protocol.Container
		}
		return protocol.OpCreateContainer, r.CreateRequest.AppendTo(nil)
	}
	if g.chance(80) {
		r.Mode = pick(g, []protocol.CreateMode{protocol.PersistentTTL, protocol.PersistentSequentialTTL})
	}
	r.TTLMs = pick(g, []int64{1, 5000, 1 << 39, 1<<40 - 1, 1 << 40, 0, -1, math.MaxInt64, math.MinInt64})
	if !r.Mode.TTL() {
		r.TTLMs = pick(g, []int64{0, 1, 5000, math.MaxInt64})
	}
	return protocol.OpCreateTTL, r.AppendTo(nil)
}

func (g *generator) delete() []byte {
	return (&protocol.DeleteRequest{Path: g.path(), Version: pick(g, versions)}).AppendTo(nil)
}

func (g *generator) setData() []byte {
	path := g.path()
	for strings.HasPrefix(path, "/zookeeper/quota/") { // a stats node without its text kills a real server
		path = g.path()
	}
	return (&protocol.SetDataRequest{Path: path, Data: pick(g, datas), Version: pick(g, versions)}).AppendTo(nil)
}

// quota makes, changes, reads and removes the nodes of a quota.
func (g *generator) quota(slot int) {
	top := "/zookeeper/quota" + home + pick(g, []string{"", "", "/a", "/a/b"})
	limits, stats := top+"/zookeeper_limits", top+"/zookeeper_stats"
	create := func(path, data string) {
		r := protocol.CreateRequest{Path: path, Data: []byte(data), ACL: protocol.WorldAnyone}
		g.add(slot, protocol.OpCreate, r.AppendTo(nil))
	}
	switch n := g.IntN(100); {
	case n < 40:
		create("/zookeeper/quota"+home, "")
		create("/zookeeper/quota"+home+"/a", "")
		create(top, "")
		create(limits, pick(g, quotaTexts))
		create(stats, "count=0,bytes=0")
	case n < 50:
		create(stats, pick(g, quotaTexts))
	case n < 60:
		create(limits, pick(g, quotaTexts))
	case n < 70:
		r := protocol.SetDataRequest{Path: limits, Data: []byte(pick(g, quotaTexts)), Version: -1}
		g.add(slot, protocol.OpSetData, r.AppendTo(nil))
	case n < 80:
		r := protocol.DeleteRequest{Path: pick(g, []string{limits, stats, top}), Version: -1}
		g.add(slot, protocol.OpDelete, r.AppendTo(nil))
	default:
		r := protocol.PathWatchRequest{Path: stats, Watch: true}
		g.add(slot, protocol.OpGetData, r.AppendTo(nil))
	}
}
