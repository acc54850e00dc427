package server

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/peer"
)

// makeSelf is this server as its peers see it.
func (s *Server) makeSelf() *peer.Self {
	return &peer.Self{
		Member:    s.id,
		Nonce:     s.forwarder.nonce,
		ClusterID: s.clusterID,
		State:     s.peerState,
		Known:     func(member uint8) bool { _, ok := s.cfg.Member(member); return ok },
		Logger:    s.log.Named("peer"),
		DialTCP:   s.host.Dial,
	}
}

// clusterID returns the id of this server's cluster, zero if it is not known
// yet. One that the directories have lost is learned from the state again.
func (s *Server) clusterID() [16]byte {
	s.mu.Lock()
	id := s.cluster
	s.mu.Unlock()
	select {
	case <-s.opened:
	default:
		return id
	}
	if id == [16]byte{} {
		s.replica.View(func(m *fsm.Machine) { id = m.ClusterID() })
		s.learnCluster(id)
	}
	return id
}

// peerState is what a handshake says of this server's data. Joining without a
// number is no answer: Raft is still to be opened.
func (s *Server) peerState() peer.State {
	st := peer.State{ListDigest: s.cfg.MembershipDigest(), Data: peer.Joining}
	select {
	case <-s.opened:
	default:
		return st
	}
	st.Leader, st.Term = s.replica.Leader()
	st.LastIndex, _ = s.replica.Indexes()
	number := s.joining.number.Load()
	switch {
	case number != 0 && (s.joining.lost.Load() || st.LastIndex > 0):
		st.JoinNumber = number
	case st.LastIndex > 1:
		st.Data = peer.HasData
	case st.LastIndex == 1:
		st.Data = peer.FirstEntryOnly
	default:
		st.Data = peer.Empty
	}
	return st
}

const (
	// probeTimeout bounds a question to a member that is to answer at once.
	probeTimeout = time.Second
	// firstProbeTimeout leaves a member the time to find out whether another
	// process of ours is alive (peer.DefaultDoubleWait), and so to tell us.
	firstProbeTimeout = peer.DefaultDoubleWait + time.Second
	// differenceLasts is how long a list that differed is held against its
	// server once that does not answer.
	differenceLasts = 10 * time.Second
)

// initializeFile in dataDir is the operator's word that there is no data to
// wait for (zkServer-initialize.sh).
const initializeFile = "initialize"

// firstStart decides about an empty server's first start. It asks the other
// voters until all have answered that they are empty too and then reports true;
// once initLimit is over, 10 s at most, a majority is enough, and with the
// operator's word at once. It reports false when one of them has data, whose
// group this server then joins. Answers are remembered: what a server that was
// empty has now is no older than this one, which has been empty all the while.
//
// Two faults of a configuration make it wait for the operator: a voter whose
// list differs, for which of the lists is meant is not ours to guess, and
// another live process with this server's id. This server asks itself too, by
// the address that the others have for it: the double may be the one there.
func (s *Server) firstStart() bool {
	patience := time.Now().Add(min(s.cfg.InitTimeout(), 10*time.Second))
	said := time.Now()
	fresh, voters := map[uint8]bool{s.id: true}, len(s.cfg.Voters())
	differing := map[uint8][32]byte{}
	var differed time.Time
	for {
		var data uint8 // a server that has some
		doubled := false
		for _, m := range s.cfg.Voters() {
			st, err := s.probeWithin(firstProbeTimeout, m)
			same := err != nil || st.ListDigest == s.cfg.MembershipDigest()
			if !same && differing[m.ID] != st.ListDigest {
				differing[m.ID] = st.ListDigest
				s.log.Error("the server.N lines differ from those of another server: make them the same in every zoo.cfg, then restart",
					"peer", m.ID, "differing", s.cfg.DifferingMembers(st.ListDigest))
			}
			var refused *peer.Refused
			switch {
			case errors.As(err, &refused):
				doubled = doubled || refused.Reason == peer.DoubledID || refused.Reason == peer.SameID
			case err != nil:
			case st.Data == peer.HasData:
				data = m.ID
			case !same:
				differed = time.Now()
			case st.Data != peer.Joining:
				fresh[m.ID] = true
			}
		}
		agreed := time.Since(differed) > differenceLasts
		majority := agreed && len(fresh) > voters/2 &&
			(time.Now().After(patience) && s.cfg.Raft.Bootstrap == config.BootstrapMajority || s.toldToInitialize())
		switch {
		case doubled: // peer has said so
		case len(fresh) == voters:
			s.log.Info("first start: all servers are empty", "voters", voters)
			return true
		case data != 0:
			s.log.Info("other servers have data: this one joins them, without a vote until they admit it", "peer", data)
			return false
		case majority:
			s.log.Warn("first start without servers that do not answer: if one of them holds data of this ensemble, stop now and start that one first",
				"empty", len(fresh), "voters", voters)
			return true
		}
		if time.Since(said) > 5*time.Second {
			s.log.Warn("first start waits until every server has said that it is empty", "answered", len(fresh), "voters", voters,
				"majorityIn", max(time.Until(patience), 0).Round(time.Second), "bootstrap", s.cfg.Raft.Bootstrap)
			said = time.Now()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.stop:
			return false
		}
	}
}

// toldToInitialize reports whether the operator has given his word.
func (s *Server) toldToInitialize() bool {
	told, err := s.host.Disk.Exists(filepath.Join(s.cfg.DataDir, initializeFile))
	return told && err == nil
}

// probe asks a member for its state.
func (s *Server) probe(m config.Member) (peer.State, bool) {
	st, err := s.probeWithin(probeTimeout, m)
	return st, err == nil
}

func (s *Server) probeWithin(timeout time.Duration, m config.Member) (peer.State, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, hello, err := peer.Dial(ctx, s.self, m.QuorumAddr(), m.ID, peer.PurposeProbe)
	return hello.State, err
}
