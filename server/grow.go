package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/server/replica"
)

// checkMembers holds the group in the log, which counts, against the zoo.cfg,
// which was for the first start. Its error is a group that this server cannot
// serve in. Addresses are always zoo.cfg's.
func (s *Server) checkMembers() error {
	inLog := s.replica.Members()
	alone := len(inLog) == 1 && inLog[0].ID == s.id
	if len(inLog) == 0 || alone && s.cfg.Standalone || s.joining.number.Load() != 0 {
		return nil
	}
	if s.cfg.Standalone {
		return fmt.Errorf("the log in %s is of the group %s, but zoo.cfg makes this server stand alone: bring its server.N lines back, or give it an empty dataDir", s.cfg.DataLogDir, names(inLog))
	}
	if len(inLog) == 1 && !alone {
		return fmt.Errorf("the log in %s is of server %d, which ran alone, but myid says %d: make this server.%d in every zoo.cfg", s.cfg.DataLogDir, inLog[0].ID, s.id, inLog[0].ID)
	}
	if alone {
		return nil // it is about to grow
	}
	var differing []string
	for _, m := range s.listed() {
		if !slices.ContainsFunc(inLog, func(o replica.Member) bool { return o.ID == m.ID && o.Voter == m.Voter }) {
			differing = append(differing, fmt.Sprintf("server.%d", m.ID))
		}
	}
	for _, m := range inLog {
		if _, ok := s.cfg.Member(m.ID); !ok {
			differing = append(differing, fmt.Sprintf("server.%d", m.ID))
		}
	}
	if len(differing) > 0 {
		s.log.Warn("zoo.cfg differs from the members in the log, which count: a list is taken from the file at the first start only", "differing", strings.Join(differing, " "), "log", names(inLog))
	}
	return nil
}

func names(members []replica.Member) string {
	var all []string
	for _, m := range members {
		all = append(all, fmt.Sprintf("server.%d=%s", m.ID, m.Addr))
	}
	return strings.Join(all, " ")
}

// listed is what zoo.cfg says of the members.
func (s *Server) listed() (members []replica.Member) {
	for _, m := range s.cfg.Members {
		members = append(members, replica.Member{ID: m.ID, Addr: m.ElectionAddr(), Voter: !m.Observer})
	}
	return members
}

// grow makes the group of a server that ran alone into that of its zoo.cfg: all
// others get a place without a vote, here or not, before any of them gets one.
// From then on the log has the list. readmit brings them up to date as they turn
// up and gives them their votes, as it does with members that lost their data.
func (s *Server) grow(l *reign, members []replica.Member) error {
	var voters []replica.Member
	for _, m := range members {
		if m.Voter {
			voters = append(voters, m)
		}
	}
	if len(voters) != 1 || voters[0].ID != s.id || len(s.cfg.Members) == len(members) {
		return nil
	}
	s.log.Info("this server ran alone: it takes the servers of zoo.cfg in", "members", names(s.listed()))
	me, _ := s.cfg.Member(s.id)
	if err := s.replica.Promote(replica.Member{ID: s.id, Addr: me.ElectionAddr()}); err != nil {
		return err
	}
	for _, m := range s.listed() {
		if m.ID == s.id {
			continue
		}
		if err := s.replica.Add(m); err != nil {
			return err
		}
	}
	id := s.self.ClusterID()
	l.add(0, 1024, func(e *fsm.EntryBuilder) { e.Cluster(id, s.cfg.DynamicText(s.cfg.ConfigVersion)) })
	return nil
}
