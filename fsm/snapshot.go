package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/coordd/coordd/protocol"
)

// The kinds of block that a snapshot holds beside the tree's.
const (
	blockHead     byte = 16
	blockSessions byte = 17
)

// Snapshot is the state as it stood when Machine.Snapshot was called; the
// machine goes on meanwhile.
type Snapshot struct {
	tree     *treeSnapshot
	sessions []*sessionChunk
	head     []byte
	digest   uint64
}

// Snapshot starts a snapshot of the whole machine. It copies no nodes and
// takes well under a millisecond. The caller has the write lock.
func (m *Machine) Snapshot() *Snapshot {
	return &Snapshot{tree: m.tree.snapshot(), sessions: m.sessions.freeze(), head: m.appendHead(nil), digest: m.StateDigest()}
}

// WriteTo writes the snapshot to w. It takes mu for reading again and again,
// briefly, never while it writes; the caller must not hold it.
func (s *Snapshot) WriteTo(w io.Writer, mu RLocker) error {
	out := newStreamWriter(w)
	if err := out.block(blockHead, s.head); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	var rows []byte
	for _, c := range s.sessions {
		rows = rows[:0]
		for i := range c.rows {
			if c.rows[i].id != 0 {
				rows = c.rows[i].appendTo(rows)
			}
		}
		if err := out.block(blockSessions, rows); err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
	}
	if err := s.tree.writeTo(out, mu); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := out.close(s.digest); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// Release ends the snapshot, written or not. The caller has the write lock.
func (s *Snapshot) Release() { s.tree.release() }

var errSnapshot = errors.New("corrupt snapshot")

// Restore builds a machine from what WriteTo has written. It checks every
// byte, and the digest of the state that comes out, before it returns it.
func Restore(r io.Reader) (*Machine, error) {
	m := &Machine{sessions: newSessionTable(), ephemerals: newEphemeralTable()}
	in := newStreamReader(r)
	var loader *treeLoader // from the first block on: nothing is built for a stream that has none
	headed := false
	for {
		kind, payload, err := in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
		switch {
		case kind < blockHead:
			if loader == nil {
				loader = newTreeLoader()
			}
			err = loader.block(payload)
		case kind == blockHead && !headed:
			err = m.loadHead(payload)
			headed = true
		case kind == blockSessions:
			err = m.loadSessions(payload)
		default:
			err = errSnapshot
		}
		if err != nil {
			return nil, fmt.Errorf("read snapshot, block of kind %d: %w", kind, err)
		}
	}
	if !headed || loader == nil {
		return nil, fmt.Errorf("read snapshot: no head or no tree: %w", errSnapshot)
	}
	t, err := loader.finish()
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	m.tree = t
	if m.tree.lookup(quotaPath) == 0 || m.tree.lookup(configPath) == 0 {
		return nil, fmt.Errorf("read snapshot: built-in nodes are missing: %w", errSnapshot)
	}
	if got := m.StateDigest(); got != in.digest() {
		return nil, fmt.Errorf("read snapshot: state has digest %016x, not %016x: %w", got, in.digest(), errSnapshot)
	}
	m.findEphemerals()
	return m, nil
}

func (m *Machine) loadHead(p []byte) error {
	d := protocol.NewDecoder(p)
	m.zxid, m.timeMs, m.settings = d.Long(), d.Long(), settingsOf(uint32(d.Int()))
	for i := range m.clusterID {
		m.clusterID[i] = decodeByte(&d)
	}
	for last := -1; d.Err() == nil && len(d.Rest()) > 0; {
		server := int(decodeByte(&d))
		s := stream{uint64(d.Long()), uint64(d.Long()), uint64(d.Long()), uint64(d.Long())}
		if server <= last {
			return errSnapshot
		}
		m.streams[server], last = s, server
	}
	return d.Err()
}

func (m *Machine) loadSessions(p []byte) error {
	if len(p)%sessionSize != 0 {
		return errSnapshot
	}
	for ; len(p) > 0; p = p[sessionSize:] {
		var s session
		d := protocol.NewDecoder(p)
		s.decode(&d)
		if !validSessionID(s.id) || m.sessions.get(s.id) != nil {
			return errSnapshot
		}
		m.sessions.set(s)
	}
	return nil
}

// findEphemerals fills the ephemeral table from the tree.
func (m *Machine) findEphemerals() {
	for id := rootID; id < m.tree.slab.limit; id++ {
		n := m.tree.at(id)
		if owner := ephemeralOwner(n.owner); n.live() && owner != 0 {
			m.ephemerals.add(owner, id)
		}
	}
}

// appendHead appends the state outside tree and session table, as it stands
// in snapshots.
func (m *Machine) appendHead(b []byte) []byte {
	b = protocol.AppendLong(b, m.zxid)
	b = protocol.AppendLong(b, m.timeMs)
	b = binary.BigEndian.AppendUint32(b, m.settings.bits())
	b = append(b, m.clusterID[:]...)
	for i := range m.streams {
		s := &m.streams[i]
		if *s == (stream{}) {
			continue
		}
		b = append(b, byte(i))
		b = binary.BigEndian.AppendUint64(b, s.incarnation)
		b = binary.BigEndian.AppendUint64(b, s.nonce)
		b = binary.BigEndian.AppendUint64(b, s.last)
		b = binary.BigEndian.AppendUint64(b, s.admitted)
	}
	return b
}
