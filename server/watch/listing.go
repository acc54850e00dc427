package watch

import (
	"cmp"
	"slices"
	"strings"
)

// Counts returns how many connections have watches, how many paths have
// watchers, and how many watches there are in ZooKeeper's count, in which a
// persistent watch counts twice and what else a connection has for a node's
// data, or for its children, counts once (DataTree.getWatchCount).
func (m *Manager) Counts() (connections, paths, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts.connections, m.counts.paths, m.counts.dataLinks + m.counts.childLinks
}

// DataCounts is Counts without the watches for children alone. The command
// wchs shows these (DataTree.dumpWatchesSummary).
func (m *Manager) DataCounts() (connections, paths, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts.dataConnections, m.counts.dataPaths, m.counts.dataLinks
}

// PathWatchers is a path and the sessions that watch it, in ascending order.
type PathWatchers struct {
	Path     string
	Sessions []int64
}

// EachByPath returns the paths with their watchers, sorted by path. Like the
// command wchp it leaves out watches for children alone. It walks over all
// watches under the lock that Dispatch needs, and so holds up changes: ask
// rarely.
func (m *Manager) EachByPath() []PathWatchers {
	byPath := map[string][]int64{}
	m.eachDataLink(func(path string, session int64) {
		byPath[path] = append(byPath[path], session)
	})
	list := make([]PathWatchers, 0, len(byPath))
	for path, sessions := range byPath {
		slices.Sort(sessions)
		list = append(list, PathWatchers{path, slices.Compact(sessions)})
	}
	slices.SortFunc(list, func(a, b PathWatchers) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// SessionWatches is a session and the paths that it watches, sorted.
type SessionWatches struct {
	Session int64
	Paths   []string
}

// EachBySession returns the sessions with what they watch, sorted by id. Like
// the command wchc it leaves out watches for children alone. It holds up
// changes as EachByPath does.
func (m *Manager) EachBySession() []SessionWatches {
	bySession := map[int64][]string{}
	m.eachDataLink(func(path string, session int64) {
		bySession[session] = append(bySession[session], path)
	})
	list := make([]SessionWatches, 0, len(bySession))
	for session, paths := range bySession {
		slices.Sort(paths)
		list = append(list, SessionWatches{session, slices.Compact(paths)})
	}
	slices.SortFunc(list, func(a, b SessionWatches) int { return cmp.Compare(a.Session, b.Session) })
	return list
}

// eachDataLink calls f for every link of the data side, in no order.
func (m *Manager) eachDataLink(f func(path string, session int64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := none + 1; id < m.links.next; id++ {
		if l := m.links.at(id); l.kinds()&dataSide != 0 {
			f(m.paths.at(l.path).name, (*m.handles.at(l.handle())).session)
		}
	}
}
