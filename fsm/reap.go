package fsm

// Reap names a node whose time has come, as the leader saw it.
type Reap struct {
	Path                string
	Czxid, Mzxid, Pzxid int64
}

// Reapable lists the nodes, at most limit, whose time has come at nowMs: empty
// containers that once had a child, or never one for neverUsedMs (0: they
// stay), and empty TTL nodes not written for longer than their TTL
// (ContainerManager).
func (m *Machine) Reapable(nowMs, neverUsedMs int64, limit int) []Reap {
	var due []Reap
	add := func(id nodeID, n *record) {
		if len(due) < limit {
			due = append(due, Reap{Path: m.tree.path(id), Czxid: n.czxid, Mzxid: n.mzxid, Pzxid: n.pzxid})
		}
	}
	for _, id := range m.tree.containers() {
		n := m.tree.at(id)
		if n.children == 0 && (n.creates > 0 || neverUsedMs > 0 && nowMs-n.mtime > neverUsedMs) {
			add(id, n)
		}
	}
	for _, id := range m.tree.ttls() {
		n := m.tree.at(id)
		if ttlMs := n.owner &^ ttlMark; n.children == 0 && nowMs-n.mtime > ttlMs {
			add(id, n)
		}
	}
	return due
}

// reap removes a container or TTL node if it is empty and nothing has touched
// it since the leader looked. Otherwise nothing happens, not even a zxid.
func (m *Machine) reap(x *txn, path string, saw [3]int64, term uint64) {
	id := m.tree.lookup(path)
	if id == 0 {
		return
	}
	n := m.tree.at(id)
	if !isContainer(n.owner) && !isTTL(n.owner) || n.children > 0 || [3]int64{n.czxid, n.mzxid, n.pzxid} != saw {
		return
	}
	m.number(x, term)
	m.unlink(x, id, path)
	m.flush(x)
}
