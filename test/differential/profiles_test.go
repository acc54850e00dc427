//go:build differential

package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// profile is a kind of servers and of programs for them.
type profile struct {
	name     string
	programs int // of a run that is not told how many
	shape    shape
	start    func(t *testing.T, s *side, binary string, lines []string)
	lines    []string
}

// profiles are all that a run goes through.
var profiles = []profile{
	{"Standalone", 220, shape{}, alone, nil},
	{"StandaloneBursts", 300, shape{bursts: true}, alone, nil},
	// Hard limits are enforced.
	{"Quotas", 120, shape{quotas: true}, alone, []string{"enforceQuota=true"}},
	// TTL nodes are off.
	{"SmallFrames", 60, shape{maxFrame: 1500}, alone, []string{"jute.maxbuffer=1500", "extendedTypesEnabled=false"}},
	// What goes by itself goes; containers that had no child stay, or do not.
	{"LifeCycles", 4, shape{waits: true}, alone, lifeSettings("0")},
	{"LifeCyclesFollower", 4, shape{waits: true, ensemble: true}, follower, lifeSettings("1")},
	{"Follower", 60, shape{ensemble: true}, follower, nil},
	{"FollowerBursts", 150, shape{bursts: true, ensemble: true}, follower, nil},
	// Sessions that only the follower knows, and that become global ones with
	// their first ephemeral, or cannot have any.
	{"LocalSessions", 40, shape{ensemble: true}, follower, []string{"localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"}},
	{"LocalSessionsOnly", 35, shape{ensemble: true}, follower, []string{"localSessionsEnabled=true"}},
	// Sessions go from leader to follower to observer and back.
	{"Roaming", 35, shape{ensemble: true, servers: 3}, members, nil},
	{"RoamingBursts", 30, shape{ensemble: true, bursts: true, servers: 3}, members, nil},
	// Requests wait behind a write that a leader is late with.
	{"Throttled", 4, shape{ensemble: true, throttled: true}, follower,
		[]string{"request_throttle_max_requests=1", "request_throttle_stall_time=20", fmt.Sprintf("throttled_op_wait_time=%d", lateAfter.Milliseconds())}},
	// A real server takes each write that it has refused for one under way, and
	// reads no more when there are too many.
	{"ReadOnly", 40, shape{ensemble: true, frozen: true}, left, []string{"readonlymode.enabled=true", "localSessionsEnabled=true", "globalOutstandingLimit=100000000"}},
}

// settings are the zoo.cfg lines of all servers, unless a profile has its own.
// Nothing happens by itself while a program runs: sessions last, and no
// container is looked for. A leader keeps its place while it is stalled, or
// while the machine is busy.
var settings = []string{
	"forceSync=no", "maxClientCnxns=0", "minSessionTimeout=20000", "maxSessionTimeout=60000", "extendedTypesEnabled=true",
	"znode.container.checkIntervalMs=2147483647", "DigestAuthenticationProvider.superDigest=" + superDigest,
	"coordd.heartbeatTimeout=3s", "coordd.electionTimeout=3s", "coordd.leaderLeaseTimeout=3s",
}

// allLines are the lines of a profile with those that it does not change.
func (p *profile) allLines() []string {
	key := func(line string) string { k, _, _ := strings.Cut(line, "="); return k }
	lines := slices.DeleteFunc(slices.Clone(settings), func(line string) bool {
		return slices.ContainsFunc(p.lines, func(own string) bool { return key(own) == key(line) })
	})
	return append(lines, p.lines...)
}

// pair makes the two sides: a real ZooKeeper, and what binary names.
func (p *profile) pair(t *testing.T, name string, binary func(testing.TB) string) *pair {
	lines := p.allLines()
	starter := func(name string, binary func(testing.TB) string) func(*testing.T) *side {
		return func(t *testing.T) *side {
			s := &side{name: name}
			p.start(t, s, binary(t), lines)
			return s
		}
	}
	flags := "-Xmx1g"
	for _, line := range lines { // ZooKeeper takes these as JVM properties only
		if strings.HasPrefix(line, "znode.") || strings.HasPrefix(line, "jute.") || strings.HasPrefix(line, "readonlymode.") {
			flags += " -D" + line
		}
	}
	os.Setenv("SERVER_JVMFLAGS", flags)
	return &pair{t: t, start: [2]func(*testing.T) *side{starter(realName, zkprocess.ZooKeeper), starter(name, binary)}}
}

func (s *side) serve(servers []*zkprocess.Server, addrs ...string) {
	s.addrs, s.own = addrs, addrs[0]
	s.stop = func() {
		for _, server := range servers {
			server.Kill()
		}
	}
}

// alone starts one server.
func alone(t *testing.T, s *side, binary string, lines []string) {
	servers := zkprocess.Start(t, binary, 1, lines...)
	s.serve(servers, servers[0].Addr())
}

// follower starts three servers; programs run against a follower.
func follower(t *testing.T, s *side, binary string, lines []string) {
	servers := zkprocess.Start(t, binary, 3, lines...)
	s.serve(servers, zkprocess.Follower(t, servers).Addr())
	for _, server := range servers {
		if server.Mode() == "leader" {
			s.leader = server
		}
	}
}

// members starts two servers that elect a leader, and an observer; programs
// run against all of them.
func members(t *testing.T, s *side, binary string, lines []string) {
	var servers []*zkprocess.Server
	ports := map[int][]int{}
	list := ""
	for id := 1; id <= 3; id++ {
		host := fmt.Sprintf("127.0.0.%d", id)
		ports[id] = zkprocess.FreePorts(t, host, 3)
		list += fmt.Sprintf("server.%d=%s:%d:%d:%s\n", id, host, ports[id][0], ports[id][1], []string{"participant", "participant", "observer"}[id-1])
	}
	for id := 1; id <= 3; id++ {
		host, dir := fmt.Sprintf("127.0.0.%d", id), t.TempDir()
		data, file := filepath.Join(dir, "data"), filepath.Join(dir, "zoo.cfg")
		text := fmt.Sprintf("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%d\nclientPortAddress=%s\n4lw.commands.whitelist=*\nadmin.enableServer=false\n%s%s\n",
			data, ports[id][2], host, list, strings.Join(lines, "\n"))
		if id == 3 {
			text += "peerType=observer\n"
		}
		for _, write := range []error{
			os.Mkdir(data, 0o700),
			os.WriteFile(filepath.Join(data, "myid"), fmt.Appendf(nil, "%d\n", id), 0o600),
			os.WriteFile(file, []byte(text), 0o600),
		} {
			if write != nil {
				t.Fatalf("write configuration: %v", write)
			}
		}
		servers = append(servers, zkprocess.Configured(binary, id, host, ports[id][2], file))
	}
	zkprocess.RunAll(t, servers)
	byMode := map[string]string{}
	for _, server := range servers {
		byMode[server.Mode()] = server.Addr()
	}
	if len(byMode) != 3 {
		t.Fatalf("modes %v", byMode)
	}
	s.leader = servers[slices.IndexFunc(servers, func(server *zkprocess.Server) bool { return server.Addr() == byMode["leader"] })]
	s.serve(servers, byMode["leader"], byMode["follower"], byMode["observer"])
}

// left is the one of three servers that is left when the others are gone, and
// serves reads only.
func left(t *testing.T, s *side, binary string, lines []string) {
	servers := zkprocess.Start(t, binary, 3, lines...)
	survivor := zkprocess.Follower(t, servers)
	s.serve(servers, survivor.Addr())
	if err := s.build(); err != nil {
		t.Fatalf("%s: build a tree: %v", s.name, err)
	}
	for _, server := range servers {
		if server != survivor {
			server.Kill()
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if answer, err := survivor.FourLetterWord("isro"); err == nil && answer == "ro" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not read-only after 30 s", s.name)
		}
	}
}

// build makes what programs find that cannot write: nodes of all kinds, and
// lists that let nobody read, or only one user.
func (s *side) build() error {
	st, err := dial(s.own)
	if err != nil {
		return err
	}
	defer st.nc.Close()
	hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
	if _, err := st.call(hello.AppendTo(nil)); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	s.built = &tree{name: "p0000001", began: time.Now()}
	ann := []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: annDigest}}}
	nobody := []protocol.ACL{{Perms: protocol.PermAdmin, ID: protocol.ID{Scheme: "ip", ID: "10.1.2.3"}}}
	for _, n := range []struct {
		path string
		acl  []protocol.ACL
		op   protocol.OpCode
		mode protocol.CreateMode
	}{
		{"", protocol.WorldAnyone, protocol.OpCreate, 0},
		{"/a", protocol.WorldAnyone, protocol.OpCreate, 0},
		{"/a/a", ann, protocol.OpCreate, 0},
		{"/a/b", nobody, protocol.OpCreate, 0},
		{"/a/b/c", protocol.WorldAnyone, protocol.OpCreate, 0},
		{"/b", protocol.WorldAnyone, protocol.OpCreateContainer, protocol.Container},
		{"/b/a", protocol.WorldAnyone, protocol.OpCreate2, protocol.PersistentSequential},
		{"/c", nobody, protocol.OpCreate, 0},
	} {
		h, err := st.ask(n.op, &protocol.CreateRequest{Path: "/" + s.built.name + n.path, Data: []byte(n.path), ACL: n.acl, Mode: n.mode})
		if err == nil && h.Err != 0 && n.path != "/a/b/c" {
			err = h.Err
		}
		if err != nil {
			return fmt.Errorf("create %s: %w", n.path, err)
		}
		if n.path == "" {
			s.built.base = h.Zxid
		}
	}
	if _, err := st.call(header(1, protocol.OpCloseSession)); err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	return nil
}
