package fsm

import (
	"fmt"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// maxTTLMs is the longest life that a TTL node can have
// (org.apache.zookeeper.server.EphemeralType).
const maxTTLMs = 1<<40 - 1

// made is what a create has made, for its response.
type made struct {
	path string
	stat protocol.Stat
}

// createRequest carries out create, create2, createContainer and createTTL.
func (m *Machine) createRequest(x *txn, op protocol.OpCode, body []byte) protocol.ErrCode {
	var r protocol.CreateTTLRequest
	d := protocol.NewViewDecoder(body)
	if op == protocol.OpCreateTTL {
		r.Decode(&d)
	} else {
		r.CreateRequest.Decode(&d)
		r.TTLMs = -1
	}
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	if code := m.checkMode(op, r.Mode, r.TTLMs); code != protocol.OK {
		return code
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	if x.epoch == LocalEpoch && r.Mode.Ephemeral() {
		if op == protocol.OpCreate || op == protocol.OpCreate2 {
			return protocol.EphemeralOnLocalSession
		}
		return protocol.SessionExpired // its server only looks at those two
	}
	n, code := m.create(x, op, &r)
	if code == protocol.OK {
		x.reply(func(b []byte) []byte { return n.appendTo(b, op) })
	}
	return code
}

// appendTo appends the response: only create (op 1) leaves the stat out.
func (n *made) appendTo(b []byte, op protocol.OpCode) []byte {
	b = protocol.AppendString(b, n.path)
	if op == protocol.OpCreate {
		return b
	}
	return n.stat.AppendTo(b)
}

// checkMode judges flags and TTL; this comes before everything else. A TTL in
// createTTL with flags that have none crashes ZooKeeper, and is refused here.
func (m *Machine) checkMode(op protocol.OpCode, mode protocol.CreateMode, ttlMs int64) protocol.ErrCode {
	switch {
	case !mode.Valid():
		return protocol.BadArguments
	case mode.TTL() && !m.settings.ExtendedTypes:
		return protocol.Unimplemented
	case mode.TTL() != (op == protocol.OpCreateTTL):
		return protocol.BadArguments
	case mode.TTL() && (ttlMs < 1 || ttlMs > maxTTLMs):
		return protocol.BadArguments
	}
	return protocol.OK
}

// create makes a node. Order of refusals as in ZooKeeper 3.9, after flags and
// session: slash and NUL, ACL, parent, CREATE, path, exists, ephemeral
// parent, quota. The kind of node follows from op, not from the flags alone.
func (m *Machine) create(x *txn, op protocol.OpCode, r *protocol.CreateTTLRequest) (made, protocol.ErrCode) {
	if r.Path == protocol.NullString {
		return made{}, protocol.MarshallingError
	}
	parentPath, name, ok := protocol.SplitPath(r.Path)
	if !ok || strings.IndexByte(r.Path, 0) >= 0 {
		return made{}, protocol.BadArguments
	}
	acl, code := fixACL(r.ACL, x.ids)
	if code != protocol.OK {
		return made{}, code
	}
	t := m.tree
	parent := t.lookup(parentPath)
	if parent == 0 {
		return made{}, protocol.NoNode
	}
	if !m.allowed(t.aclOf(t.at(parent).acl), protocol.PermCreate, x.ids) {
		return made{}, protocol.NoAuth
	}
	path := r.Path
	if r.Mode.Sequential() {
		suffix := fmt.Sprintf("%010d", t.at(parent).creates)
		path, name = path+suffix, name+suffix
	}
	switch {
	case !protocol.ValidPath(path):
		return made{}, protocol.BadArguments
	case path == "/" || t.child(parent, name) != 0:
		return made{}, protocol.NodeExists
	case ephemeralOwner(t.at(parent).owner) != 0:
		return made{}, protocol.NoChildrenForEphemerals
	}
	if code := m.checkQuota(x, path, int64(len(r.Data)), 1); code != protocol.OK {
		return made{}, code
	}
	owner := ownerOf(op, r, x.session)
	id := t.insert(parent, name, r.Data, t.internACL(acl), owner, x.zxid, x.timeMs)
	if ephemeralOwner(owner) != 0 {
		x.owners = append(x.owners, ownerChange{session: owner, node: id})
	}
	n := made{path, t.stat(id)}
	m.accountCreate(path, int64(len(r.Data)))
	m.emit(x, protocol.NodeCreated, id, path)
	x.events[len(x.events)-1].Written = len(r.Data)
	m.emit(x, protocol.NodeChildrenChanged, parent, parentPath)
	return n, protocol.OK
}

// ownerOf is what stands where an ephemeral has its session.
func ownerOf(op protocol.OpCode, r *protocol.CreateTTLRequest, session int64) int64 {
	switch {
	case op == protocol.OpCreateContainer:
		return containerMark
	case op == protocol.OpCreateTTL:
		return ttlMark | r.TTLMs
	case r.Mode.Ephemeral():
		return session
	}
	return 0
}
