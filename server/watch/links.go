package watch

import "hash/maphash"

// hash returns the hash of a path.
func (m *Manager) hash(path string) uint32 { return uint32(maphash.String(m.seed, path)) }

// pathHash returns the hash of a path record.
func (m *Manager) pathHash(id uint32) uint32 { return m.paths.at(id).hash }

// pairHash returns the hash of a path and a handle.
func pairHash(path, handle uint32) uint32 {
	// The multiplier is 2^64 / golden ratio; the high half is well mixed.
	x := (uint64(path)<<32 | uint64(handle)) * 0x9e3779b97f4a7c15
	x ^= x >> 32
	return uint32(x * 0x9e3779b97f4a7c15 >> 32)
}

// linkHash returns the hash of a link.
func (m *Manager) linkHash(id uint32) uint32 {
	l := m.links.at(id)
	return pairHash(l.path, l.handle())
}

func (m *Manager) findPathLocked(hash uint32, path string) uint32 {
	return m.byName.find(hash, func(id uint32) bool {
		p := m.paths.at(id)
		return p.hash == hash && p.name == path
	})
}

func (m *Manager) findLinkLocked(path, handle uint32) uint32 {
	return m.byPair.find(pairHash(path, handle), func(id uint32) bool {
		l := m.links.at(id)
		return l.path == path && l.handle() == handle
	})
}

// lookupLocked returns the link of a handle and a path, or none.
func (m *Manager) lookupLocked(h *Handle, path string) uint32 {
	if h.id == none {
		return none
	}
	p := m.findPathLocked(m.hash(path), path)
	if p == none {
		return none
	}
	return m.findLinkLocked(p, h.id)
}

// firstLinkLocked returns the first link of a path, or none.
func (m *Manager) firstLinkLocked(path string) uint32 {
	p := m.findPathLocked(m.hash(path), path)
	if p == none {
		return none
	}
	return m.paths.at(p).links
}

// linkLocked makes a link without kinds between a path and a handle.
func (m *Manager) linkLocked(path uint32, h *Handle) uint32 {
	p := m.paths.at(path)
	if h.links == none {
		m.counts.connections++
	}
	id := m.links.alloc()
	*m.links.at(id) = link{
		path:           path,
		handleAndKinds: h.id << kindBits,
		nextByPath:     p.links,
		nextByHandle:   h.links,
	}
	if p.links != none {
		m.links.at(p.links).prevByPath = id
	}
	if h.links != none {
		m.links.at(h.links).prevByHandle = id
	}
	p.links, h.links = id, id
	m.byPair.add(pairHash(path, h.id), id, m.linkHash)
	m.live.Add(1)
	return id
}

// setKindsLocked changes the kinds of a link, keeps the counts, and unlinks it
// when no kind is left.
func (m *Manager) setKindsLocked(id uint32, kinds Kind) {
	l := m.links.at(id)
	old := l.kinds()
	p, h := m.paths.at(l.path), *m.handles.at(l.handle())
	l.handleAndKinds = h.id<<kindBits | uint32(kinds)

	c := &m.counts
	c.childLinks += change(old, kinds, childSide)
	c.recursive += change(old, kinds, PersistentRecursive)
	if d := change(old, kinds, dataSide); d != 0 {
		c.dataLinks += d
		c.dataPaths += countChange(&p.data, d)
		c.dataConnections += countChange(&h.data, d)
	}
	if kinds == 0 {
		m.unlinkLocked(id)
	}
}

// change returns by how much the number of links with any kind of a group
// grows when the kinds of one link change.
func change(old, kinds, group Kind) int {
	had, has := old&group != 0, kinds&group != 0
	switch {
	case has && !had:
		return 1
	case had && !has:
		return -1
	}
	return 0
}

// countChange adds d, 1 or -1, to n and returns by how much the number of
// counters above zero grows.
func countChange(n *uint32, d int) int {
	old := *n
	*n = uint32(int(old) + d)
	switch {
	case old == 0:
		return 1
	case *n == 0:
		return -1
	}
	return 0
}

// unlinkLocked removes a link, and its path if it was the last one there.
func (m *Manager) unlinkLocked(id uint32) {
	l := *m.links.at(id)
	p, h := m.paths.at(l.path), *m.handles.at(l.handle())
	m.byPair.remove(pairHash(l.path, h.id), id, m.linkHash)

	if l.prevByPath == none {
		p.links = l.nextByPath
	} else {
		m.links.at(l.prevByPath).nextByPath = l.nextByPath
	}
	if l.nextByPath != none {
		m.links.at(l.nextByPath).prevByPath = l.prevByPath
	}
	if l.prevByHandle == none {
		h.links = l.nextByHandle
	} else {
		m.links.at(l.prevByHandle).nextByHandle = l.nextByHandle
	}
	if l.nextByHandle != none {
		m.links.at(l.nextByHandle).prevByHandle = l.prevByHandle
	}
	m.links.release(id)
	m.live.Add(-1)

	if h.links == none {
		m.counts.connections--
	}
	if p.links == none {
		m.byName.remove(p.hash, l.path, m.pathHash)
		m.paths.release(l.path)
		m.counts.paths--
	}
}
