package server

import (
	"time"

	"github.com/coordd/coordd/server/replica"
)

// askAgain is how long a server without a Raft waits before it asks the others
// again who leads.
const askAgain = 200 * time.Millisecond

// reopenStorage opens the stores again after a failed write, if there is room.
func (s *Server) reopenStorage() (replica.Storage, error) {
	if err := s.host.Disk.CheckRoom(s.cfg.DataLogDir); err != nil {
		return replica.Storage{}, err
	}
	return s.openStorage()
}

// gaveUp ends the connections of a leader whose disk stalls: here they would
// wait for as long as it does, and with another server they need not.
func (s *Server) gaveUp() {
	for _, c := range s.connections() {
		c.close()
	}
}

// findLeader returns the leader and its term. While Raft here is closed for a
// disk that cannot be written, the others know: this server's clients read on,
// so the leader must go on hearing of them.
func (s *Server) findLeader() (leader uint8, term uint64) {
	if leader, term = s.replica.Leader(); leader != 0 || !s.replica.Down() {
		return leader, term
	}
	for _, st := range s.states(s.replica.Members()) {
		if st.Leader != 0 && st.Term >= term {
			leader, term = st.Leader, st.Term
		}
	}
	if leader == 0 || leader == s.id {
		select {
		case <-time.After(askAgain):
		case <-s.stop:
		}
	}
	return leader, term
}
