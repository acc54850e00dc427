//go:build simulate

package fsm

// LoseStreamTable plants a fault for tests: what is known of every server's
// batches is gone, as if a snapshot had left it out.
func (m *Machine) LoseStreamTable() { m.streams = [256]stream{} }

// LoseEphemeral plants a fault for tests: the node at path will stay behind when
// its session ends. It reports whether that is an ephemeral.
func (m *Machine) LoseEphemeral(path string) bool {
	id := m.tree.lookup(path)
	if id == 0 || ephemeralOwner(m.tree.at(id).owner) == 0 {
		return false
	}
	m.ephemerals.remove(m.tree.at(id).owner, id)
	return true
}
