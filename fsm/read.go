package fsm

import (
	"strings"

	"github.com/coordd/coordd/protocol"
)

// readable finds the node of a read and checks that ids may do any of want.
// Reads validate no path: what is malformed is missing.
func (m *Machine) readable(path string, want protocol.Perm, ids []protocol.ID) (nodeID, protocol.ErrCode) {
	if path == protocol.NullString {
		return 0, protocol.MarshallingError
	}
	return m.permitted(path, want, ids)
}

// permitted finds a node and checks that ids may do any of want.
func (m *Machine) permitted(path string, want protocol.Perm, ids []protocol.ID) (nodeID, protocol.ErrCode) {
	id := m.tree.lookup(path)
	if id == 0 {
		return 0, protocol.NoNode
	}
	if !m.allowed(m.tree.aclOf(m.tree.at(id).acl), want, ids) {
		return 0, protocol.NoAuth
	}
	return id, protocol.OK
}

// Exists answers exists: NoNode for a missing node, BadArguments for a NUL in
// the path, NoAuth without READ.
func (m *Machine) Exists(path string, ids []protocol.ID) (protocol.Stat, protocol.ErrCode) {
	if strings.IndexByte(path, 0) >= 0 {
		return protocol.Stat{}, protocol.BadArguments
	}
	id, code := m.readable(path, protocol.PermRead, ids)
	if code != protocol.OK {
		return protocol.Stat{}, code
	}
	return m.tree.stat(id), protocol.OK
}

// GetData answers getData. The string never changes: the caller may keep it
// after it has let go of the lock.
func (m *Machine) GetData(path string, ids []protocol.ID) (data string, null bool, st protocol.Stat, code protocol.ErrCode) {
	id, code := m.readable(path, protocol.PermRead, ids)
	if code != protocol.OK {
		return "", false, protocol.Stat{}, code
	}
	data, null = m.tree.data(id)
	return data, null, m.tree.stat(id), protocol.OK
}

// GetACL answers getACL, which takes READ or ADMIN; without ADMIN the hashes
// of digest ids are masked. The list must not be changed.
func (m *Machine) GetACL(path string, ids []protocol.ID) ([]protocol.ACL, protocol.Stat, protocol.ErrCode) {
	id, code := m.readable(path, protocol.PermRead|protocol.PermAdmin, ids)
	if code != protocol.OK {
		return nil, protocol.Stat{}, code
	}
	acl := m.tree.aclOf(m.tree.at(id).acl)
	if !m.allowed(acl, protocol.PermAdmin, ids) {
		acl = maskACL(acl)
	}
	return acl, m.tree.stat(id), protocol.OK
}

// AppendChildren appends the children's names as an encoded vector, in no
// particular order, for getChildren and getChildren2.
func (m *Machine) AppendChildren(b []byte, path string, ids []protocol.ID) ([]byte, protocol.Stat, protocol.ErrCode) {
	id, code := m.readable(path, protocol.PermRead, ids)
	if code != protocol.OK {
		return b, protocol.Stat{}, code
	}
	b = protocol.AppendInt(b, m.tree.at(id).children)
	m.tree.eachChild(id, func(child nodeID) bool {
		b = protocol.AppendString(b, m.tree.name(child))
		return true
	})
	return b, m.tree.stat(id), protocol.OK
}

// AllChildrenNumber answers getAllChildrenNumber: how many nodes lie below
// path. ZooKeeper knows the root twice, and by its name "" counts "/" too.
func (m *Machine) AllChildrenNumber(path string, ids []protocol.ID) (int32, protocol.ErrCode) {
	id, code := m.readable(path, protocol.PermRead, ids)
	switch {
	case code != protocol.OK:
		return 0, code
	case path == "":
		return int32(m.tree.count()), protocol.OK
	case path == "/":
		return int32(m.tree.count() - 1), protocol.OK
	}
	return int32(m.tree.descendants(id)), protocol.OK
}

// CanRead reports whether ids may see events that acl filters.
func (m *Machine) CanRead(acl []protocol.ACL, ids []protocol.ID) bool {
	return m.allowed(acl, protocol.PermRead, ids)
}

// HasAll reports whether ids have every permission on the node at path.
func (m *Machine) HasAll(path string, ids []protocol.ID) bool {
	for p := protocol.PermRead; p <= protocol.PermAdmin; p <<= 1 {
		if _, code := m.permitted(path, p, ids); code != protocol.OK {
			return false
		}
	}
	return true
}

// NodeZxids are the zxids by which setWatches tells what a client has missed.
func (m *Machine) NodeZxids(path string) (czxid, mzxid, pzxid int64, ok bool) {
	id := m.tree.lookup(path)
	if id == 0 {
		return 0, 0, 0, false
	}
	n := m.tree.at(id)
	return n.czxid, n.mzxid, n.pzxid, true
}

// NodeSize is how many bytes of data and how many children the node at path
// has.
func (m *Machine) NodeSize(path string) (data, children int, ok bool) {
	id := m.tree.lookup(path)
	if id == 0 {
		return 0, 0, false
	}
	n := m.tree.at(id)
	return len(n.data()), int(n.children), true
}

// NodeACL is the list of the node at path. It must not be changed.
func (m *Machine) NodeACL(path string) ([]protocol.ACL, bool) {
	id := m.tree.lookup(path)
	if id == 0 {
		return nil, false
	}
	return m.tree.aclOf(m.tree.at(id).acl), true
}

// Stats are sizes for the admin commands and metrics.
type Stats struct {
	// NodeCount is the znode count as ZooKeeper shows it: with the root twice.
	NodeCount int
	// DataSize is ZooKeeper's approximate_data_size: paths and data, in bytes.
	DataSize int64
	// Ephemerals is how many ephemeral nodes there are.
	Ephemerals int
	// EphemeralSessions is how many sessions own one.
	EphemeralSessions int
	// Sessions is how many global sessions there are.
	Sessions int
	// Digest is ZooKeeper's digest of the tree.
	Digest uint64
}

// Stats counts what there is.
func (m *Machine) Stats() Stats {
	return Stats{NodeCount: m.tree.count() + 1, DataSize: m.tree.dataSize(), Ephemerals: m.ephemerals.count,
		EphemeralSessions: len(m.ephemerals.nodes), Sessions: len(m.sessions.slots), Digest: m.tree.digest()}
}
