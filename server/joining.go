package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	if err := s.matchClusterIDs(); err != nil {
		return err
	}
	has, err := replica.HasEntries(storage)
	if err != nil {
		return err
	}
	gap, err := replica.SnapshotMissing(storage)
	if err != nil {
		return err
	}
	number, marked, err := readJoining(s.host.Disk, s.cfg.DataLogDir)
	if err != nil {
		return err
	}
	belongs := s.cluster != [16]byte{}
	if !marked && has && present && gap == nil {
		return nil
	}
	if number == 0 {
		if number, err = s.markJoining(); err != nil {
			return err
		}
	}
	if has && !present || !has && belongs || gap != nil {
		s.log.Warn("part of this server's data is gone: it joins the others again, without a vote until they admit it", "number", number)
	}
	if gap != nil { // marked first: from here on the log's loss is on record
		s.log.Warn("the log is of no use without the snapshot it continues: it is cleared", "reason", gap, "dataDir", s.cfg.DataDir)
		if err := replica.ClearLog(storage); err != nil {
			return err
		}
	}
	s.joining.lost.Store(has || belongs)
	s.joining.number.Store(number)
	storage.Stable.SetJoining(number)
	return nil
}

// checkLog looks whether Raft can start on the log of a server that has no vote
// to be taken from it: one that runs alone, or an observer.
func (s *Server) checkLog(storage replica.Storage) error {
	missing, err := replica.SnapshotMissing(storage)
	if missing == nil || err != nil {
		return err
	}
	if s.cfg.Standalone {
		return fmt.Errorf("%w: bring the snapshots of dataDir %s back, or empty it and dataLogDir %s to begin without data", missing, s.cfg.DataDir, s.cfg.DataLogDir)
	}
	s.log.Warn("the log is of no use without the snapshot it continues: it is cleared, and fetched again", "reason", missing, "dataDir", s.cfg.DataDir)
	return replica.ClearLog(storage)
}

// matchClusterIDs sees to it that both data directories are of the same cluster,
// and that both say so: the one that lacks the id may be a new disk.
func (s *Server) matchClusterIDs() error {
	if s.cfg.DataLogDir == s.cfg.DataDir {
		return nil
	}
	logs, err := readClusterID(s.host.Disk, s.cfg.DataLogDir)
	var none [16]byte
	switch {
	case err != nil:
		return err
	case logs == s.cluster:
		return nil
	case logs != none && s.cluster != none:
		return fmt.Errorf("dataDir %s belongs to cluster %x, dataLogDir %s to cluster %x: put the directories of one server together", s.cfg.DataDir, s.cluster, s.cfg.DataLogDir, logs)
	}
	dir := s.cfg.DataLogDir
	if s.cluster == none {
		s.cluster, dir = logs, s.cfg.DataDir
	}
	if err := writeDurably(s.host.Disk, dir, clusterFile, hex.EncodeToString(s.cluster[:])+"\n"); err != nil {
		return fmt.Errorf("write cluster id: %w", err)
	}
	return nil
}

// readJoining reports whether dir has the mark, and its number; 0 for one
// that cannot be made out and is to be drawn again.
func readJoining(disk Disk, dir string) (number uint64, marked bool, err error) {
	p, err := disk.ReadFile(filepath.Join(dir, joiningFile))
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
	if err := writeDurably(s.host.Disk, s.cfg.DataLogDir, joiningFile, fmt.Sprintf("%d\n", number)); err != nil {
		return 0, fmt.Errorf("write joining mark: %w", err)
	}
	return number, nil
}

// mayVote takes the mark away, for good, and lets this server vote.
func (s *Server) mayVote() error {
	if err := removeDurably(s.host.Disk, s.cfg.DataDir, initializeFile); err != nil { // said once, meant once
		return fmt.Errorf("remove %s: %w", initializeFile, err)
	}
	if err := removeDurably(s.host.Disk, s.cfg.DataLogDir, joiningFile); err != nil {
		return fmt.Errorf("remove joining mark: %w", err)
	}
	s.joining.number.Store(0)
	s.replica.SetJoining(0)
	return nil
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
		admitted := s.admittedUnder(s.id)
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
		if err := s.grow(l, members); err != nil {
			s.log.Warn("could not take the servers of zoo.cfg in", "reason", err)
			continue
		}
		states := s.states(members)
		for _, m := range members {
			st := states[m.ID]
			if st.Data != peer.Joining || st.JoinNumber == 0 {
				continue
			}
			if s.admittedUnder(m.ID) == st.JoinNumber {
				s.replica.Vouch(m.ID, st.JoinNumber) // it has yet to hear of that
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

// states asks the other members, all at once, where they stand. Those that do
// not answer are missing.
func (s *Server) states(members []replica.Member) map[uint8]peer.State {
	states := map[uint8]peer.State{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, m := range members {
		c, ok := s.cfg.Member(m.ID)
		if !ok || m.ID == s.id {
			continue
		}
		asked.Go(func() {
			if st, ok := s.probe(c); ok {
				mu.Lock()
				defer mu.Unlock()
				states[m.ID] = st
			}
		})
	}
	asked.Wait()
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

// bringBack takes the vote of m and vouches for it, waits until m has the log,
// gives it its vote back and logs its admission, which alone lets it use the
// vote. Until m's vote is gone it follows nobody. The vote comes back first so
// that nothing is left to do once m's mark is gone.
//
// A voter that counts but does not vote is what that order costs: should the
// leader die between the two, m counts as failed until the next one has begun
// again. The other order could leave a server without mark and without vote.
func (s *Server) bringBack(l *reign, m replica.Member, number uint64) error {
	s.log.Info("server joins that lost its data", "peer", m.ID, "number", number)
	// Also if m has no vote: what is committed by this proves, after number
	// was heard, that this server still leads.
	if err := s.replica.Demote(m.ID); err != nil {
		return err
	}
	s.replica.Vouch(m.ID, number)
	deadline := time.Now().Add(catchUpTimeout)
	c, _ := s.cfg.Member(m.ID) // it has answered by that address
	target, _ := s.replica.Indexes()
	err := s.await(l, deadline, func() (bool, error) {
		st, ok := s.probe(c)
		if ok && st.JoinNumber != number && (st.JoinNumber != 0 || st.Data != peer.Joining) {
			return false, errors.New("it has lost its data again")
		}
		return ok && st.JoinNumber == number && st.LastIndex >= target, nil
	})
	if err != nil {
		return fmt.Errorf("wait until it has the log: %w", err)
	}
	if !c.Observer {
		if err := s.replica.Promote(m); err != nil {
			return err
		}
	}
	l.add(m.ID, 32, func(e *fsm.EntryBuilder) { e.Admit(m.ID, number) })
	if err := s.await(l, deadline, func() (bool, error) { return s.admittedUnder(m.ID) == number, nil }); err != nil {
		return fmt.Errorf("wait for its admission: %w", err)
	}
	return nil
}

// await returns nil once done reports true, or done's error.
func (s *Server) await(l *reign, deadline time.Time, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("it takes too long")
		}
		select {
		case <-time.After(joiningPoll):
		case <-l.done:
			return errors.New("leadership has ended")
		}
	}
}

func (s *Server) admittedUnder(member uint8) (number uint64) {
	s.replica.View(func(m *fsm.Machine) { number = m.AdmittedNumber(member) })
	return number
}
