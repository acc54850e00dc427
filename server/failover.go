package server

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/replica"
)

const (
	// lostPatience bounds how long a broken stream to the leader is looked
	// into; after that Raft's timeouts decide.
	lostPatience = time.Second
	// confirmPatience bounds the look of a server that another one asks; it is
	// less than the other waits for the answer.
	confirmPatience = 80 * time.Millisecond
	// failoverPatience bounds the agreement of the survivors.
	failoverPatience = 2 * time.Second
)

// leaderLost looks into a stream to the leader that broke. If the leader's
// process is dead, the survivors agree at once on who stands for election.
// Anything else is left to Raft's timeouts.
//
// A firewall can refuse connections as well as a dead process does. So that one
// between two servers does not depose a leader that lives, both of the leader's
// ports must refuse, and not only here: only servers that find the leader dead
// themselves are counted as its survivors (position), and it takes a quorum of
// them for anybody to stand.
func (s *Server) leaderLost(leader config.Member) {
	ctx, cancel := context.WithTimeout(context.Background(), lostPatience)
	defer cancel()
	if !s.isDead(ctx, leader) {
		return // follow dials again
	}
	ctx, cancel = context.WithTimeout(context.Background(), failoverPatience)
	defer cancel()
	stood := s.replica.Failover(ctx, leader.ID, survivors{s})
	s.log.Info("the leader's process is gone", "leader", leader.ID, "standing", stood)
}

// isDead reports whether m's process is gone: its ports refuse connections.
func (s *Server) isDead(ctx context.Context, m config.Member) bool {
	return s.refuses(ctx, m, m.QuorumAddr()) && s.refuses(ctx, m, m.ElectionAddr())
}

func (s *Server) refuses(ctx context.Context, m config.Member, addr string) bool {
	for ctx.Err() == nil {
		_, _, err := peer.Dial(ctx, s.self, addr, m.ID, peer.PurposeProbe)
		switch {
		case err == nil:
			return false
		case errors.Is(err, syscall.ECONNREFUSED):
			return true
		case !peer.Lost(err):
			return false // a time-out, say: it may only be slow
		}
		time.Sleep(time.Millisecond) // a dying process accepts for a moment
	}
	return false
}

// survivors asks the other voters where they stand.
type survivors struct{ s *Server }

var _ replica.Peers = survivors{}

// Ask implements replica.Peers.
func (p survivors) Ask(ctx context.Context, lost uint8) <-chan replica.Survivor {
	answers := make(chan replica.Survivor, len(p.s.cfg.Members))
	var asked sync.WaitGroup
	for _, m := range p.s.cfg.Members {
		if m.ID == p.s.id || m.ID == lost || m.Observer {
			continue
		}
		asked.Go(func() {
			a, err := p.s.ask(ctx, m, lost)
			if err != nil {
				p.s.log.Info("no answer about the leader's death", "peer", m.ID, "reason", err)
				return
			}
			answers <- a
		})
	}
	go func() {
		asked.Wait()
		close(answers)
	}()
	return answers
}

func (s *Server) ask(ctx context.Context, m config.Member, lost uint8) (replica.Survivor, error) {
	conn, _, err := peer.Dial(ctx, s.self, m.QuorumAddr(), m.ID, peer.PurposeStream)
	if err != nil {
		return replica.Survivor{}, err
	}
	defer conn.Close()
	go func() {
		select {
		case <-ctx.Done():
			conn.Close()
		case <-conn.Done():
		}
	}()
	if err := conn.Send(peer.MsgFailover, s.ownPosition(lost).AppendTo(nil)); err != nil {
		return replica.Survivor{}, err
	}
	typ, p, err := conn.Recv()
	if err != nil {
		return replica.Survivor{}, err
	}
	a, err := peer.DecodePosition(p)
	if err != nil || typ != peer.MsgFailoverAnswer {
		return replica.Survivor{}, errors.Join(err, peer.ErrMalformed)
	}
	return replica.Survivor{ID: m.ID, Leader: a.Leader, Voter: a.Voter, Term: a.Term, LastTerm: a.LastTerm, LastIndex: a.LastIndex}, nil
}

// position is where this server stands, for another one, asker, that asks about
// the death of lost. It may not stand, nor be counted, while it finds lost alive,
// unless it is lost itself that asks: a leader without a disk gives its place up.
func (s *Server) position(lost, asker uint8) peer.Position {
	p := s.ownPosition(lost)
	if lost == asker {
		return p
	}
	m, ok := s.cfg.Member(lost)
	ctx, cancel := context.WithTimeout(context.Background(), confirmPatience)
	defer cancel()
	p.Voter = p.Voter && ok && s.isDead(ctx, m)
	return p
}

func (s *Server) ownPosition(lost uint8) peer.Position {
	me := s.replica.Standing()
	return peer.Position{Lost: lost, Leader: me.Leader, Voter: me.Voter, Term: me.Term, LastTerm: me.LastTerm, LastIndex: me.LastIndex}
}
