package fsm

import (
	"strings"

	"github.com/coordd/coordd/protocol"
)

const configPath = "/zookeeper/config"

// deleteRequest carries out delete.
func (m *Machine) deleteRequest(x *txn, body []byte) protocol.ErrCode {
	var r protocol.DeleteRequest
	d := protocol.NewViewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	return m.delete(x, &r)
}

// delete removes a node. Order of refusals as in ZooKeeper 3.9: special
// paths, parent, DELETE, node, version, children. The path is not validated
// otherwise: what cannot exist is missing.
func (m *Machine) delete(x *txn, r *protocol.DeleteRequest) protocol.ErrCode {
	if r.Path == protocol.NullString {
		return protocol.MarshallingError
	}
	parentPath, _, ok := protocol.SplitPath(r.Path)
	if !ok || strings.IndexByte(r.Path, 0) >= 0 {
		return protocol.BadArguments
	}
	switch r.Path {
	case "/", "/zookeeper", quotaPath, configPath:
		return protocol.BadArguments
	}
	t := m.tree
	parent := t.lookup(parentPath)
	if parent == 0 {
		return protocol.NoNode
	}
	if !m.allowed(t.aclOf(t.at(parent).acl), protocol.PermDelete, x.ids) {
		return protocol.NoAuth
	}
	id := t.lookup(r.Path) // not by parent and name: "//a" is not "/a"
	if id == 0 {
		return protocol.NoNode
	}
	n := t.at(id)
	switch {
	case r.Version != protocol.AnyVersion && r.Version != n.version:
		return protocol.BadVersion
	case n.children > 0:
		return protocol.NotEmpty
	}
	m.unlink(x, id, r.Path)
	return protocol.OK
}

// unlink removes a childless node, whatever asked for it.
func (m *Machine) unlink(x *txn, id nodeID, path string) {
	t := m.tree
	n := t.at(id)
	parent, owner := n.parent, n.owner
	data, _ := t.data(id)
	parentPath, _, _ := protocol.SplitPath(path)
	m.emit(x, protocol.NodeDeleted, id, path)
	t.remove(id, x.zxid)
	if ephemeralOwner(owner) != 0 {
		x.owners = append(x.owners, ownerChange{session: owner, node: id, gone: true})
	}
	m.account(path, -int64(len(data)), -1)
	m.emit(x, protocol.NodeChildrenChanged, parent, parentPath)
}

// setDataRequest carries out setData.
func (m *Machine) setDataRequest(x *txn, body []byte) protocol.ErrCode {
	var r protocol.SetDataRequest
	d := protocol.NewViewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	stat, code := m.setData(x, &r)
	if code == protocol.OK {
		x.reply(stat.AppendTo)
	}
	return code
}

// setData replaces a node's data. Order of refusals as in ZooKeeper 3.9:
// path, node, WRITE, quota, version.
func (m *Machine) setData(x *txn, r *protocol.SetDataRequest) (protocol.Stat, protocol.ErrCode) {
	if !protocol.ValidPath(r.Path) {
		return protocol.Stat{}, protocol.BadArguments
	}
	id, code := m.permitted(r.Path, protocol.PermWrite, x.ids)
	if code != protocol.OK {
		return protocol.Stat{}, code
	}
	t := m.tree
	old, _ := t.data(id)
	grown := int64(len(r.Data)) - int64(len(old))
	if code := m.checkQuota(x, r.Path, grown, 0); code != protocol.OK {
		return protocol.Stat{}, code
	}
	if r.Version != protocol.AnyVersion && r.Version != t.at(id).version {
		return protocol.Stat{}, protocol.BadVersion
	}
	t.setData(id, r.Data)
	t.update(id, func(n *record) {
		n.version++
		n.mzxid, n.mtime = x.zxid, x.timeMs
	})
	m.account(r.Path, grown, 0)
	m.emit(x, protocol.NodeDataChanged, id, r.Path)
	x.events[len(x.events)-1].Written = len(r.Data)
	return t.stat(id), protocol.OK
}

// setACLRequest replaces a node's ACL list. Order of refusals as in ZooKeeper
// 3.9: path, list, node, ADMIN, aversion. Watches hear nothing of it.
func (m *Machine) setACLRequest(x *txn, body []byte) protocol.ErrCode {
	var r protocol.SetACLRequest
	d := protocol.NewViewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	if !protocol.ValidPath(r.Path) {
		return protocol.BadArguments
	}
	acl, code := fixACL(r.ACL, x.ids)
	if code != protocol.OK {
		return code
	}
	id, code := m.permitted(r.Path, protocol.PermAdmin, x.ids)
	if code != protocol.OK {
		return code
	}
	t := m.tree
	if r.Version != protocol.AnyVersion && r.Version != t.at(id).aversion {
		return protocol.BadVersion
	}
	interned := t.internACL(acl)
	t.update(id, func(n *record) {
		n.acl = interned
		n.aversion++
	})
	stat := t.stat(id)
	x.reply(stat.AppendTo)
	return protocol.OK
}

// check asks for a node's version, inside a multi. Order of refusals as in
// ZooKeeper 3.9: path, node, READ, version.
func (m *Machine) check(x *txn, r *protocol.CheckRequest) protocol.ErrCode {
	if !protocol.ValidPath(r.Path) {
		return protocol.BadArguments
	}
	id, code := m.permitted(r.Path, protocol.PermRead, x.ids)
	if code != protocol.OK {
		return code
	}
	if r.Version != protocol.AnyVersion && r.Version != m.tree.at(id).version {
		return protocol.BadVersion
	}
	return protocol.OK
}
