package server

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/internal/zkprocess"
)

// TestMain lets more ensembles run at once than there are cores: they wait more
// than they work.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// ensemble is servers of one group in this process, some of which run.
type ensemble struct {
	t         *testing.T
	dirs      []string // dataDir by index; dataLogDir is its subdirectory log
	ports     [][3]int // client, quorum, election
	lines     string   // added to each zoo.cfg
	observers map[int]bool
	alone     bool // servers are started without server.N lines
	running   []*Server
}

// newEnsemble prepares n servers; member i+1 is at index i. None is started. The
// test runs beside others of its kind, which wait more than they work.
func newEnsemble(t *testing.T, n int, lines ...string) *ensemble {
	t.Helper()
	t.Parallel()
	e := &ensemble{t: t, lines: strings.Join(lines, "\n"), running: make([]*Server, n)}
	for i := range n {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		e.dirs = append(e.dirs, dir)
		e.name(i)
		e.ports = append(e.ports, [3]int(zkprocess.FreePorts(t, e.host(i), 3)))
	}
	t.Cleanup(func() {
		for i := range e.running {
			e.stop(i)
			eventually(t, "the directory is gone", func() bool { return os.RemoveAll(e.dirs[i]) == nil })
		}
	})
	return e
}

// calm is for tests that must not lose their leader on a busy machine.
const calm = "coordd.heartbeatTimeout=1000\ncoordd.electionTimeout=1000\ncoordd.leaderLeaseTimeout=1000"

func (e *ensemble) host(i int) string { return fmt.Sprintf("127.0.0.%d", i+1) }

// name writes the file myid.
func (e *ensemble) name(i int) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dirs[i], "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// start runs server i.
func (e *ensemble) start(i int) *Server {
	e.t.Helper()
	s, err := e.tryStart(i)
	if err != nil {
		e.t.Fatal(err)
	}
	e.running[i] = s
	return s
}

func (e *ensemble) tryStart(i int) (*Server, error) {
	e.t.Helper()
	return Start(e.config(i), hclog.NewNullLogger(), Build{})
}

// startAll runs all servers, waits until those that may vote do (one that comes
// late to a first start joins the others, and has no vote until it has their log)
// and returns the leader and one that does not lead.
func (e *ensemble) startAll() (leader, follower *Server) {
	e.t.Helper()
	for i := range e.dirs {
		e.start(i)
	}
	for i, s := range e.running {
		if !e.observers[i] {
			e.votes(s)
		}
	}
	eventually(e.t, "all servers serve", func() bool {
		for _, s := range e.running {
			if !s.Serving() {
				return false
			}
		}
		return true
	})
	leader = e.leads()
	return leader, e.running[e.follower(leader)]
}

// config is what server i is started with.
func (e *ensemble) config(i int) *config.Config {
	e.t.Helper()
	text := fmt.Sprintf(`dataDir=%s
dataLogDir=%s
clientPort=%d
clientPortAddress=%s
tickTime=100
initLimit=10
syncLimit=50
coordd.heartbeatTimeout=100
coordd.electionTimeout=100
coordd.leaderLeaseTimeout=100
admin.enableServer=false
%s
`, e.dirs[i], filepath.Join(e.dirs[i], "log"), e.ports[i][0], e.host(i), e.lines)
	for k, p := range e.ports {
		role := "participant"
		if e.observers[k] {
			role = "observer"
		}
		if !e.alone {
			text += fmt.Sprintf("server.%d=%s:%d:%d:%s\n", k+1, e.host(k), p[1], p[2], role)
		}
	}
	cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
	if err != nil {
		e.t.Fatal(err)
	}
	return cfg
}

// stop ends server i, if it runs, which must not have failed.
func (e *ensemble) stop(i int) {
	s := e.running[i]
	if s == nil {
		return
	}
	e.running[i] = nil
	s.Shutdown()
	select {
	case err := <-s.Failed():
		e.t.Errorf("server %d failed: %v", i+1, err)
	default:
	}
}

// lose removes files of server i, which does not run; "." is all but myid.
func (e *ensemble) lose(i int, names ...string) {
	e.t.Helper()
	for _, name := range names {
		if name == "." {
			if err := os.RemoveAll(e.dirs[i]); err != nil {
				e.t.Fatal(err)
			}
			if err := os.Mkdir(e.dirs[i], 0o700); err != nil {
				e.t.Fatal(err)
			}
			e.name(i)
			continue
		}
		files, _ := filepath.Glob(filepath.Join(e.dirs[i], name))
		if len(files) == 0 {
			e.t.Fatalf("server %d has no %s to lose", i+1, name)
		}
		for _, f := range files {
			if err := os.RemoveAll(f); err != nil {
				e.t.Fatal(err)
			}
		}
	}
}

// leads waits until one of the running servers leads and serves.
func (e *ensemble) leads() (leader *Server) {
	e.t.Helper()
	eventually(e.t, "a leader", func() bool {
		leader = nil
		for _, s := range e.running {
			if s != nil && s.currentReign() != nil && s.Serving() {
				leader = s
			}
		}
		return leader != nil
	})
	return leader
}

// votes waits until s is a voter without a mark, which has all that the leader
// has.
func (e *ensemble) votes(s *Server) {
	e.t.Helper()
	eventually(e.t, fmt.Sprintf("server %d votes", s.id), func() bool {
		_, marked, err := readJoining(osDisk{}, s.cfg.DataLogDir)
		return err == nil && !marked && s.joining.number.Load() == 0 && s.Serving() && s.replica.Standing().Voter
	})
}

// write logs something.
func (e *ensemble) write() {
	e.t.Helper()
	e.log(func(entry *fsm.EntryBuilder) { entry.Settings(fsm.Settings{}) })
}

// log has whoever leads log and apply what add puts into an entry.
func (e *ensemble) log(add func(entry *fsm.EntryBuilder)) {
	e.t.Helper()
	eventually(e.t, "an entry", func() bool {
		entry := fsm.NewEntry(time.Now().UnixMilli())
		add(entry)
		return e.leads().replica.Propose(entry.Bytes()).Error() == nil
	})
}

// nobodyLeads fails the test if somebody leads within d.
func (e *ensemble) nobodyLeads(d time.Duration) {
	e.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, s := range e.running {
			if s != nil && s.currentReign() != nil {
				e.t.Fatalf("server %d leads", s.id)
			}
		}
	}
}
