package server

import (
	"context"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/peer"
)

// makeSelf is this server as its peers see it.
func (s *Server) makeSelf() *peer.Self {
	return &peer.Self{
		Member: s.id,
		Nonce:  s.forwarder.nonce,
		ClusterID: func() [16]byte {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.cluster
		},
		State:  s.peerState,
		Known:  func(member uint8) bool { _, ok := s.cfg.Member(member); return ok },
		Logger: s.log.Named("peer"),
	}
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

// firstStart decides about an empty server's first start. It asks the other
// voters until all have answered that they are empty too, or a majority has and
// initLimit is over, and then reports true. It reports false when one of them
// has data, whose group this server then joins. Answers are remembered, for
// nothing can have been committed before by a server that was empty since.
func (s *Server) firstStart() bool {
	patience := time.Now().Add(max(s.cfg.InitTimeout(), 10*time.Second))
	said := time.Now()
	fresh, voters := map[uint8]bool{s.id: true}, 0
	for _, m := range s.cfg.Members {
		if !m.Observer {
			voters++
		}
	}
	for {
		for _, m := range s.cfg.Members {
			if m.Observer || fresh[m.ID] {
				continue
			}
			switch st, ok := s.probe(m); {
			case !ok || st.Data == peer.Joining:
			case st.Data == peer.HasData:
				s.log.Info("other servers have data: this one joins them, without a vote until they admit it", "peer", m.ID)
				return false
			case st.ListDigest != s.cfg.MembershipDigest():
				s.log.Error("server.N lines differ from those of another server: make them the same", "peer", m.ID)
			default:
				fresh[m.ID] = true
			}
		}
		majority := time.Now().After(patience) && len(fresh) > voters/2 && s.cfg.Raft.Bootstrap == config.BootstrapMajority
		if len(fresh) == voters || majority {
			s.log.Info("first start: all servers asked are empty", "answered", len(fresh), "voters", voters)
			return true
		}
		if last, _ := s.replica.Indexes(); last > 0 {
			return false // a leader has found this server
		}
		if time.Since(said) > 5*time.Second {
			s.log.Warn("first start waits for the other servers", "answered", len(fresh), "voters", voters)
			said = time.Now()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.stop:
			return false
		}
	}
}

// probe asks a member for its state.
func (s *Server) probe(m config.Member) (peer.State, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, hello, err := peer.Dial(ctx, s.self, m.QuorumAddr(), m.ID, peer.PurposeProbe)
	return hello.State, err == nil
}
