//go:build chaos

package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// fault is something that is done to servers under load.
type fault struct {
	name string
	// few faults take long, or are not compared: they have a fifth of the rounds.
	few   bool
	alone bool   // coordd's: it makes no sense for a ZooKeeper
	sick  bool   // the servers' disks are the test's
	lines string // added to zoo.cfg
	// brief is in the short form of the table.
	brief bool
	// do does it, and says which servers have it. It is taken back when lasts
	// is over and, unless whole, every client writes again.
	do    func(s *site) []int
	lasts time.Duration
	whole bool
	aim   aim
}

// aim is what coordd has to reach.
type aim struct {
	median, longest float64       // × ZooKeeper's gap in writes, of clients of other servers
	gap             time.Duration // in writes, of the same, at most
	unfailing       bool          // no request of theirs fails
	everybody       bool          // gap is about all clients
}

var hung = aim{median: 0.15, longest: 0.15}

// allFaults is the table's order.
func allFaults() []fault {
	return []fault{
		{name: "none", few: true, do: func(*site) []int { return nil }, lasts: 3 * time.Second},
		{name: "leader: kill -9", brief: true, do: killLeader, aim: aim{median: 0.1, longest: 0.5}},
		{name: "follower: kill -9", few: true, do: killFollower},
		{name: "all: kill -9", few: true, do: killEverybody},
		{name: "leader: SIGTERM", few: true, brief: true, do: stopLeader, lasts: time.Second, aim: aim{gap: 50 * time.Millisecond, unfailing: true, everybody: true}},
		{name: "follower: SIGTERM", few: true, do: stopFollower, lasts: time.Second, aim: aim{gap: 50 * time.Millisecond, unfailing: true, everybody: true}},
		{name: "each in turn: SIGTERM and started", few: true, do: rolling, whole: true},
		{name: "leader: SIGSTOP until others have taken over", few: true, do: suspendLeader, aim: hung},
		{name: "leader: SIGSTOP for 300 ms", few: true, do: suspendLeader, lasts: 300 * time.Millisecond, whole: true},
		{name: "follower: SIGSTOP", few: true, do: suspendFollower},
		{name: "leader and a follower: SIGSTOP for 9 s", few: true, do: suspendMajority, lasts: 9 * time.Second, whole: true},
		{name: "leader: cut off from the others", few: true, brief: true, do: separateLeader(true, true), aim: hung},
		{name: "leader: what it sends to the others is lost", few: true, do: separateLeader(true, false), aim: hung},
		{name: "leader: what the others send to it is lost", few: true, do: separateLeader(false, true), aim: hung},
		{name: "leader: cut off from the others and from clients", few: true, do: cutLeader, aim: hung},
		{name: "follower: cut off from the others", few: true, do: separateFollower(true, true)},
		{name: "follower: what it sends to the others is lost", few: true, do: separateFollower(true, false)},
		{name: "between servers: 50 ms each way, 2 % lost", few: true, do: badNetwork, lasts: 5 * time.Second, whole: true},
		{name: "leader's disk: stalled", few: true, sick: true, do: onLeadersDisk(func(d *sickDisk) { d.stall() }), lasts: 5 * time.Second, aim: aim{gap: 2 * time.Second}},
		{name: "leader's disk: each sync takes 200 ms more", few: true, sick: true, do: onLeadersDisk(func(d *sickDisk) { d.set(200*time.Millisecond, false, false) }), lasts: 5 * time.Second, whole: true},
		{name: "leader's disk: full", few: true, sick: true, do: onLeadersDisk(func(d *sickDisk) { d.set(0, false, true) }), lasts: 2 * time.Second},
		{name: "leader's disk: syncs fail", few: true, sick: true, do: onLeadersDisk(func(d *sickDisk) { d.set(0, true, false) }), lasts: 2 * time.Second},
		{name: "follower: killed, its disk wiped", few: true, do: wipeFollower},
		{name: "follower: killed, the end of its log torn", few: true, alone: true, do: tearLog},
		{name: "follower: killed, a bit of its log flipped", few: true, alone: true, do: flipIn("*.wal")},
		{name: "follower: killed, a bit of its snapshot flipped", few: true, alone: true, lines: "coordd.snapshotThreshold=50\ncoordd.trailingLogs=5\n", do: flipIn("snapshots/*/state.bin")},
		{name: "everything at once", few: true, do: everything, whole: true},
	}
}

func killLeader(s *site) []int {
	leader, _ := s.leader()
	s.servers[leader].Kill()
	return []int{leader}
}

func (s *site) someFollower() int {
	s.t.Helper()
	_, followers := s.leader()
	return followers[s.random(len(followers))]
}

func killFollower(s *site) []int {
	follower := s.someFollower()
	s.servers[follower].Kill()
	return []int{follower}
}

func killEverybody(s *site) []int {
	killAll(s.servers)
	for i := range s.servers {
		s.start(i)
	}
	return []int{0, 1, 2}
}

func (s *site) terminate(server int) {
	s.t.Helper()
	if err := s.servers[server].Terminate(); err != nil {
		s.t.Fatal(err)
	}
}

func stopLeader(s *site) []int {
	leader, _ := s.leader()
	s.terminate(leader)
	return []int{leader}
}

func stopFollower(s *site) []int {
	follower := s.someFollower()
	s.terminate(follower)
	return []int{follower}
}

func rolling(s *site) []int {
	for i := range s.servers {
		s.terminate(i)
		s.start(i)
		await(s.t, 2*patience, "the server is back", s.healthy)
		time.Sleep(time.Second)
	}
	return []int{0, 1, 2}
}

func (s *site) suspend(server int) {
	s.t.Helper()
	suspend(s.t, s.servers[server])
}

func suspendLeader(s *site) []int {
	leader, _ := s.leader()
	s.suspend(leader)
	return []int{leader}
}

func suspendFollower(s *site) []int {
	follower := s.someFollower()
	s.suspend(follower)
	return []int{follower}
}

func suspendMajority(s *site) []int {
	leader, followers := s.leader()
	follower := followers[s.random(len(followers))]
	s.suspend(leader)
	s.suspend(follower)
	return []int{0, 1, 2} // the third has no majority
}

func separateLeader(out, in bool) func(*site) []int {
	return func(s *site) []int {
		leader, _ := s.leader()
		s.separate(leader, out, in)
		return []int{leader}
	}
}

func separateFollower(out, in bool) func(*site) []int {
	return func(s *site) []int {
		follower := s.someFollower()
		s.separate(follower, out, in)
		return []int{follower}
	}
}

func cutLeader(s *site) []int {
	leader, _ := s.leader()
	s.separate(leader, true, true)
	s.net.set(0, leader+1, rule{cut: true})
	s.net.set(leader+1, 0, rule{cut: true})
	return []int{leader}
}

func badNetwork(s *site) []int {
	for a := range s.servers {
		for b := range s.servers {
			s.net.set(a+1, b+1, rule{delay: 50 * time.Millisecond, loss: 0.02})
		}
	}
	return []int{0, 1, 2}
}

func onLeadersDisk(sicken func(*sickDisk)) func(*site) []int {
	return func(s *site) []int {
		leader, _ := s.leader()
		sicken(s.disks[leader])
		return []int{leader}
	}
}

func wipeFollower(s *site) []int {
	follower := s.someFollower()
	server := s.servers[follower]
	server.Kill()
	wipe(s.t, server)
	s.start(follower)
	return []int{follower}
}

// everything does one thing after the other without waiting, to whoever it hits.
func everything(s *site) []int {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Duration(100+s.random(1500)) * time.Millisecond) {
		server := s.random(len(s.servers))
		switch s.random(7) {
		case 0:
			s.servers[server].Kill()
		case 1:
			if !s.servers[server].Exited() {
				s.suspend(server)
			}
		case 2:
			s.separate(server, true, true)
		case 3:
			s.separate(server, s.random(2) == 0, true)
		case 4:
			s.net.set(server+1, (server+1)%3+1, rule{delay: 100 * time.Millisecond, loss: 0.1})
		default: // more often than each of the others, so that it works now and then
			s.recover()
		}
	}
	return []int{0, 1, 2}
}

// newest is the last file of a server that a pattern names, and where its
// content ends: logs have room behind it.
func (s *site) newest(server int, pattern string) (path string, content []byte) {
	s.t.Helper()
	var files []string
	await(s.t, patience, fmt.Sprintf("server %d has a file %s", server, pattern), func() bool {
		files, _ = filepath.Glob(filepath.Join(s.servers[server].DataDir, pattern))
		files = slices.DeleteFunc(files, func(f string) bool { return strings.Contains(f, ".tmp") })
		return len(files) > 0
	})
	path = slices.Max(files)
	content, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return path, bytes.TrimRight(content, "\x00")
}

func (s *site) overwrite(path string, offset int, with []byte) {
	s.t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, int64(offset)); err != nil {
		s.t.Fatal(err)
	}
}

// tearLog has the last write end in something that was never written.
func tearLog(s *site) []int {
	follower := s.someFollower()
	s.servers[follower].Kill()
	path, content := s.newest(follower, "*.wal")
	s.overwrite(path, len(content), bytes.Repeat([]byte{0xa5}, 1+s.random(200)))
	s.start(follower)
	return []int{follower}
}

// flipIn changes a bit of a file: the server must say which file it is, and
// serve nobody. It is started again with what the file had.
func flipIn(pattern string) func(*site) []int {
	return func(s *site) []int {
		follower := s.someFollower()
		server := s.servers[follower]
		s.newest(follower, pattern) // it has one
		server.Kill()
		path, content := s.newest(follower, pattern)
		offset := s.random(len(content) / 2)
		s.overwrite(path, offset, []byte{content[offset] ^ 1<<s.random(8)})
		before, _ := os.ReadFile(server.Log)
		s.start(follower)
		await(s.t, patience, "the server with a flipped bit ends", func() bool {
			if mode := server.Mode(); mode != "" {
				s.t.Fatalf("a server with bit %d of %s flipped serves as %s", offset, path, mode)
			}
			return server.Exited()
		})
		log, _ := os.ReadFile(server.Log)
		name := filepath.Base(path)
		if name == "state.bin" {
			name = filepath.Base(filepath.Dir(path)) // a snapshot is called as its folder is
		}
		if !bytes.Contains(log[len(before):], []byte(name)) {
			s.violation(fmt.Sprintf("the server with byte %d of %s flipped does not name it:\n%s", offset, path, log[len(before):]))
		}
		s.overwrite(path, offset, content[offset:offset+1])
		return []int{follower}
	}
}
