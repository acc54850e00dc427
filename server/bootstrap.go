package server

import (
	"context"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/replica"
)

// makeSelf is this server as its peers see it.
func (s *Server) makeSelf(hadState bool) *peer.Self {
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

// peerState is what a handshake says of this server's data.
func (s *Server) peerState() peer.State {
	st := peer.State{ListDigest: s.cfg.MembershipDigest()}
	if s.replica == nil {
		return st
	}
	st.Leader, st.Term = s.replica.Leader()
	st.LastIndex, _ = s.replica.Indexes()
	switch {
	case st.LastIndex > 1:
		st.Data = peer.HasData
	case st.LastIndex == 1:
		st.Data = peer.FirstEntryOnly
	}
	return st
}

// firstStart decides about an empty server's first start: it asks the other
// voters until all have answered that they are empty too, or a majority has and
// initLimit is over, or one of them has data, whose group then adds this one.
func (s *Server) firstStart(members []replica.Member) {
	if s.cfg.PeerType == config.Observer {
		return // the voters' first entry names it
	}
	patience := time.Now().Add(max(s.cfg.InitTimeout(), 10*time.Second))
	said := time.Now()
	for {
		fresh, voters := 0, 0
		for _, m := range s.cfg.Members {
			if m.Observer {
				continue
			}
			voters++
			if m.ID == s.id {
				fresh++
				continue
			}
			switch st, ok := s.probe(m); {
			case !ok:
			case st.Data == peer.HasData:
				s.log.Info("joining servers that have data", "peer", m.ID)
				return
			case st.ListDigest != s.cfg.MembershipDigest():
				s.log.Error("server.N lines differ from those of another server: make them the same", "peer", m.ID)
			default:
				fresh++
			}
		}
		majority := time.Now().After(patience) && fresh > voters/2 && s.cfg.Raft.Bootstrap == config.BootstrapMajority
		if fresh == voters || majority {
			s.log.Info("first start: all servers asked are empty", "answered", fresh, "voters", voters)
			if err := s.replica.Bootstrap(members); err != nil {
				s.log.Info("first start", "result", err)
			}
			return
		}
		if time.Since(said) > 5*time.Second {
			s.log.Warn("first start waits for the other servers", "answered", fresh, "voters", voters)
			said = time.Now()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.stop:
			return
		}
		if last, _ := s.replica.Indexes(); last > 0 {
			return // a leader has found this server
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

// admitted notes that server has joined under number.
func (s *Server) admitted(server uint8, number uint64) {
	s.log.Info("server admitted", "peer", server, "number", number)
}
