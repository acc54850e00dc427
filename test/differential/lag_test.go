//go:build differential

package differential

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Servers of an ensemble lag behind each other; programs are not to see by how
// much.

// realName is the name of sides that are real servers, which lag in more ways.
const realName = "ZooKeeper"

// syncXid is the xid of syncs that no program has asked for.
const syncXid = 0x5157

// sync brings a server up to date before a program that uses several of them
// asks it something. It reports false when the connection has ended.
//
// A real server may carry out a sync beside the write of another session that
// came before it, on another thread: it is asked again then.
func (r *runner) sync(st *stream, step int) bool {
	for {
		st.put((&protocol.PathRequest{Path: "/"}).AppendTo(header(syncXid, protocol.OpSync)), true)
		st.w.Flush() // an error shows below
		for {
			frame, err := st.read(patience)
			if err != nil {
				st.end(step, ending(err))
				return false
			}
			var h protocol.ReplyHeader
			d := protocol.NewDecoder(frame)
			if h.Decode(&d); h.Xid != syncXid {
				st.entries = append(st.entries, entry{step: -1, frame: frame})
				continue
			}
			if h.Zxid >= r.last || r.name != realName {
				return true
			}
			break
		}
	}
}

// rest waits until the leader has applied what its follower has shown. A real
// leader judges writes by what it has applied and what it has prepared, but
// for access lists and the ephemerals of a closed session.
func (r *runner) rest() error {
	if r.leader == nil {
		return nil
	}
	if r.book == nil {
		st, err := dial(r.leader.Addr())
		if err != nil {
			return err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		r.book = st
	}
	for deadline := time.Now().Add(patience); ; {
		h, err := r.book.ask(protocol.OpExists, &protocol.PathWatchRequest{Path: "/"})
		if err != nil || h.Zxid >= r.last {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the leader has %#x applied, not %#x", h.Zxid, r.last)
		}
	}
}

// catchUp waits until a server has all that this side has shown, and takes note
// of what more it has.
func (r *runner) catchUp(server int) error {
	last, err := r.guide(server, r.last)
	r.last = max(r.last, last)
	return err
}

// guide waits until a server has all that is committed, last among it, and
// returns the last that it has.
func (s *side) guide(server int, last int64) (int64, error) {
	for len(s.guides) < len(s.addrs) {
		st, err := dial(s.addrs[len(s.guides)])
		if err != nil {
			return 0, err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return 0, err
		}
		s.guides = append(s.guides, st)
	}
	for {
		h, err := s.guides[server].ask(protocol.OpSync, &protocol.PathRequest{Path: "/"})
		if err != nil || h.Zxid >= last || s.name != realName {
			return h.Zxid, err
		}
	}
}
