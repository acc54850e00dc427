//go:build chaos

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/workload"
	"github.com/coordd/coordd/internal/zkprocess"
)

// kind is one of the two that have to bear the same.
type kind string

const (
	coordd    kind = "coordd"
	zookeeper kind = "ZooKeeper"
)

// site is three servers, each on a network interface of its own, and the load
// on them. Servers are known by their places, from 0; in the network they are
// hosts 1 to 3.
type site struct {
	t       *testing.T
	kind    kind
	net     *network
	servers []*zkprocess.Server
	disks   []*sickDisk // nil: they are on the machine's
	load    *workload.Run
	random  func(n int) int

	violations []string
}

// newSite starts servers with the settings of ZooKeeper's sample, which are
// also those that most run with.
func newSite(t *testing.T, k kind, f fault, random func(n int) int) *site {
	t.Helper()
	program := zkprocess.Coordd(t)
	if k == zookeeper {
		program = zkprocess.ZooKeeper(t)
	}
	s := &site{t: t, kind: k, net: newNetwork(t, 3), random: random}
	members := ""
	for i := range 3 {
		members += fmt.Sprintf("server.%d=%s%d:2888:3888\n", i+1, subnet, i+1)
	}
	for i := range 3 {
		dir := t.TempDir()
		data, file := filepath.Join(dir, "data"), filepath.Join(dir, "zoo.cfg")
		if f.sick {
			s.disks = append(s.disks, newSickDisk(t, data))
		} else if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		host := fmt.Sprintf("%s%d", subnet, i+1)
		text := fmt.Sprintf("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=2181\nclientPortAddress=%s\n4lw.commands.whitelist=*\nadmin.enableServer=false\n%s%s", data, host, members, f.lines)
		for _, err := range []error{
			os.WriteFile(filepath.Join(data, "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o600),
			os.WriteFile(file, []byte(text), 0o600),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		server := zkprocess.Configured(program, i+1, host, 2181, file)
		server.DataDir = data
		s.servers = append(s.servers, server)
		s.start(i)
		t.Cleanup(func() {
			s.mend(i)
			_ = server.Continue() // an error means it is gone
			server.Kill()
			if t.Failed() {
				if log, err := os.ReadFile(server.Log); err == nil {
					t.Logf("server %d, end of its log:\n%s", i+1, log[max(0, len(log)-4000):])
				}
			}
		})
	}
	s.standing(func() bool { return true })
	return s
}

func (s *site) start(server int) {
	s.t.Helper()
	if err := s.net.in(server+1, s.servers[server].Run); err != nil {
		s.t.Fatal(err)
	}
}

// mend makes a server's disk a good one.
func (s *site) mend(server int) {
	if s.disks != nil {
		s.disks[server].mend()
	}
}

// leader says which server leads, and which do not.
func (s *site) leader() (leader int, followers []int) {
	s.t.Helper()
	s.standing(func() bool { return true })
	for i, server := range s.servers {
		if server.Mode() == "leader" {
			leader = i
		} else {
			followers = append(followers, i)
		}
	}
	return leader, followers
}

// separate cuts a server off from the other servers; what it sends, what it is
// sent, or both.
func (s *site) separate(server int, out, in bool) {
	for other := range s.servers {
		if other != server {
			s.net.set(server+1, other+1, rule{cut: out})
			s.net.set(other+1, server+1, rule{cut: in})
		}
	}
}

// recover takes all that was done to the servers away, and starts those that
// have ended.
func (s *site) recover() {
	s.t.Helper()
	s.net.heal()
	for i, server := range s.servers {
		s.mend(i)
		_ = server.Continue() // an error means it is gone
	}
	for i, server := range s.servers {
		if server.Exited() {
			s.start(i)
		}
	}
}

// whole waits until the servers are what they were, and every client has one.
func (s *site) whole() {
	s.t.Helper()
	s.standing(s.load.Connected)
}

// standing waits until one server leads, the others follow, and more holds.
func (s *site) standing(more func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		// One that ends itself because of its disk, or as it starts beside
		// others that do, is what a supervisor starts again.
		for i, server := range s.servers {
			if server.Exited() {
				s.start(i)
			}
		}
		if s.healthy() && more() {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: the servers are not whole %v after all was mended", s.kind, 2*patience)
		}
	}
}

func (s *site) healthy() bool {
	leaders, followers := 0, 0
	for _, server := range s.servers {
		switch server.Mode() {
		case "leader":
			leaders++
		case "follower":
			followers++
		}
	}
	return leaders == 1 && followers == len(s.servers)-1
}
