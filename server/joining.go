package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/replica"
)

const (
	// joiningFile, in the log directory, is the mark of a server that may have
	// lost its data. It holds the mark's number, decimal.
	joiningFile = "joining"
	// joiningPoll is how often a joining server looks whether it is admitted.
	joiningPoll = 50 * time.Millisecond
	// rejoinPoll is how often a leader asks the others whether they join.
	rejoinPoll = 500 * time.Millisecond
	// catchUpTimeout bounds one attempt to bring a server back; the leader then
	// looks at the others, and tries again.
	catchUpTimeout = time.Minute
)

// joining is where this server stands with its mark. A server that lost its
// data has forgotten its votes and what it acknowledged, so from before Raft
// starts until a leader has admitted it under the mark's number it takes no
// part in elections. An empty server carries a mark too, until it knows that
// the whole ensemble is as new as it is.
type joining struct {
	number atomic.Uint64 // of the mark; 0 = none
	lost   atomic.Bool   // there is data, here or elsewhere: only a leader can clear the mark
}

// startJoining decides, before any port is open, whether this server may vote.
// present says that log and stable store were there before they were opened.
func (s *Server) startJoining(storage replica.Storage, present bool) error {
	has, err := replica.HasEntries(storage)
	if err != nil {
		return err
	}
	number, marked, err := readJoining(s.cfg.DataLogDir)
	if err != nil {
		return err
	}
	belongs := s.cluster != [16]byte{}
	if !marked && has && present {
		return nil
	}
	if number == 0 {
		if number, err = s.markJoining(); err != nil {
			return err
		}
	}
	if has && !present || !has && belongs {
		s.log.Warn("part of this server's data is gone: it joins the others again, without a vote until they admit it", "number", number)
	}
	s.joining.lost.Store(has || belongs)
	s.joining.number.Store(number)
	storage.Stable.SetJoining(true)
	return nil
}

// readJoining reports whether dir has the mark, and its number; 0 for one
// that cannot be made out and is to be drawn again.
func readJoining(dir string) (number uint64, marked bool, err error) {
	p, err := os.ReadFile(filepath.Join(dir, joiningFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read joining mark: %w", err)
	}
	number, err = strconv.ParseUint(strings.TrimSpace(string(p)), 10, 64)
	if err != nil {
		return 0, true, nil
	}
	return number, true, nil
}

func (s *Server) markJoining() (uint64, error) {
	number := max(randomNumber(), 1)
	if err := writeDurably(s.cfg.DataLogDir, joiningFile, fmt.Sprintf("%d\n", number)); err != nil {
		return 0, fmt.Errorf("write joining mark: %w", err)
	}
	return number, nil
}

// mayVote takes the mark away, for good, and lets this server vote.
func (s *Server) mayVote() error {
	if err := removeDurably(s.cfg.DataLogDir, joiningFile); err != nil {
		return fmt.Errorf("remove joining mark: %w", err)
	}
	s.joining.number.Store(0)
	s.replica.SetJoining(false)
	return nil
}

// removeDurably removes the file name from dir, and is back when it is gone
// from the disk too.
func removeDurably(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// join ends this server's joining: as a first start together with the others,
// or by the word of a leader of servers that have data.
func (s *Server) join(members []replica.Member) {
	if !s.joining.lost.Load() && s.firstStart() {
		if err := s.mayVote(); err != nil {
			s.fail(err)
			return
		}
		if err := s.replica.Bootstrap(members); err != nil {
			s.log.Info("first start", "result", err) // a leader was faster
		}
		return
	}
	s.joining.lost.Store(true)
	tick := time.NewTicker(joiningPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
		var admitted uint64
		s.replica.View(func(m *fsm.Machine) { admitted = m.AdmittedNumber(s.id) })
		if admitted != s.joining.number.Load() {
			continue
		}
		if err := s.mayVote(); err != nil {
			s.fail(err)
			return
		}
		s.log.Info("joined: this server holds everything again and votes", "number", admitted)
		return
	}
}

// admitted notes that server has joined under number. It runs in apply; the
// server itself looks at the state, which a snapshot may have brought.
func (s *Server) admitted(server uint8, number uint64) {
	s.log.Info("server admitted", "peer", server, "number", number)
}

// readmit brings servers that lost their data back, one at a time, while l
// lasts. What a leader leaves half done the next one begins again, since the
// server says that it is joining until its admission is applied.
func (s *Server) readmit(l *reign) {
	tick := time.NewTicker(rejoinPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.done:
			return
		}
		members := s.replica.Members()
		states := s.states(members)
		for _, m := range members {
			st := states[m.ID]
			if st.Data != peer.Joining || st.JoinNumber == 0 || s.admittedUnder(m.ID) == st.JoinNumber {
				continue
			}
			if m.Voter && !quorumWithout(m.ID, s.id, members, states) {
				continue
			}
			if err := s.bringBack(l, m, st.JoinNumber); err != nil {
				s.log.Warn("server that lost its data has not joined yet", "peer", m.ID, "reason", err)
			}
			break // states are old by now
		}
	}
}

// states asks the other members where they stand. Those that do not answer
// are missing.
func (s *Server) states(members []replica.Member) map[uint8]peer.State {
	states := map[uint8]peer.State{}
	for _, m := range members {
		c, ok := s.cfg.Member(m.ID)
		if !ok || m.ID == s.id {
			continue
		}
		if st, ok := s.probe(c); ok {
			states[m.ID] = st
		}
	}
	return states
}

// quorumWithout reports whether the voters other than joiner have a quorum
// among themselves, of servers that answer and have their data. Without one
// the loss of joiner's vote could not be committed.
func quorumWithout(joiner, leader uint8, members []replica.Member, states map[uint8]peer.State) bool {
	voters, sound := 0, 0
	for _, m := range members {
		if !m.Voter || m.ID == joiner {
			continue
		}
		voters++
		if st, ok := states[m.ID]; m.ID == leader || ok && st.Data == peer.HasData {
			sound++
		}
	}
	return sound > voters/2
}

// bringBack takes the vote of m, waits until m has the log, gives it its vote
// back and logs its admission, which alone lets it use the vote. The vote comes
// first so that nothing is left to do once m's mark is gone.
func (s *Server) bringBack(l *reign, m replica.Member, number uint64) error {
	s.log.Info("server joins that lost its data", "peer", m.ID, "number", number)
	if m.Voter {
		if err := s.replica.Demote(m.ID); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(catchUpTimeout)
	c, _ := s.cfg.Member(m.ID) // it has answered by that address
	target, _ := s.replica.Indexes()
	err := s.await(l, deadline, func() bool {
		st, ok := s.probe(c)
		return ok && st.JoinNumber == number && st.LastIndex >= target
	})
	if err != nil {
		return fmt.Errorf("wait until it has the log: %w", err)
	}
	if !c.Observer {
		if err := s.replica.Promote(m); err != nil {
			return err
		}
	}
	l.add(32, func(e *fsm.EntryBuilder) { e.Admit(m.ID, number) })
	if err := s.await(l, deadline, func() bool { return s.admittedUnder(m.ID) == number }); err != nil {
		return fmt.Errorf("wait for its admission: %w", err)
	}
	return nil
}

// await returns nil once done reports true.
func (s *Server) await(l *reign, deadline time.Time, done func() bool) error {
	for !done() {
		if time.Now().After(deadline) {
			return errors.New("it takes too long")
		}
		select {
		case <-time.After(joiningPoll):
		case <-l.done:
			return errors.New("leadership has ended")
		}
	}
	return nil
}

func (s *Server) admittedUnder(member uint8) (number uint64) {
	s.replica.View(func(m *fsm.Machine) { number = m.AdmittedNumber(member) })
	return number
}
