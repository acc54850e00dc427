//go:build operations

// Package operations compares what operators ask of a server: every
// four-letter word and every command of the AdminServer, of coordd beside a
// real ZooKeeper 3.9.4, alone, as leader, as follower and without a leader. What
// has to differ is a short list with reasons.
package operations

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// The roles that servers are compared in.
const (
	standalone = "standalone"
	leader     = "leader"
	follower   = "follower"
	observer   = "observer"
	lost       = "without a leader any more"
	lonely     = "without a leader yet"
	readOnly   = "read-only"
	listed     = "with a list of words"
	bare       = "without a list of words, in read-only mode's ensemble"
)

// node is one server under comparison.
type node struct {
	*zkprocess.Server
	adminPort int
	// sessions are what the test calls the sessions that this server knows.
	sessions map[int64]string
	clients  []*zkclient.Client
	// renumber makes server 2 server 1 and the other way round in JSON. Either
	// may lead, and the leaders of both sides are to look alike.
	renumber *strings.Replacer
}

// side is the same servers of either kind, by role.
type side struct {
	nodes map[string]*node
	three []*node
}

// readOnlyFlag is what ZooKeeper does not take from the file.
const readOnlyFlag = "-Dreadonlymode.enabled=true"

// patience lets coordd's leaders stay where a machine is very busy.
const patience = "coordd.heartbeatTimeout=2s\ncoordd.electionTimeout=2s\ncoordd.leaderLeaseTimeout=2s\n"

// launch writes the files of a side's servers: two alone, with different lists
// of words; an ensemble of two and an observer; one of two that knows read-only
// mode; and a member whose ensemble never comes together. All but those alone
// get lines. It returns the servers that serve at once.
func launch(t *testing.T, binary, lines string) (s *side, serving []*zkprocess.Server) {
	const words = "4lw.commands.whitelist=ruok,*,x\nadmin.restore.enabled=false\n"
	members, observerPort := serverLines(t)
	all := words + lines + members
	s = &side{nodes: map[string]*node{
		standalone: configure(t, binary, 1, 4, 0, "4lw.commands.whitelist=*\n"),
		listed:     configure(t, binary, 1, 5, 0, "4lw.commands.whitelist= ruok,stat ,, nope,RUOK, cons\n"),
		observer:   configure(t, binary, 3, 3, observerPort, all+"peerType=observer\n"),
	}}
	s.three = []*node{configure(t, binary, 1, 1, 0, all), configure(t, binary, 2, 2, 0, all), s.nodes[observer]}
	members, _ = serverLines(t)
	s.nodes[lonely] = configure(t, binary, 1, 1, 0, words+lines+members)
	members, _ = serverLines(t)
	members += "readonlymode.enabled=true\n" + lines
	s.nodes[bare] = configure(t, binary, 1, 1, 0, members)
	s.nodes[readOnly] = configure(t, binary, 2, 2, 0, words+members)
	for role, n := range s.nodes {
		if role == standalone || role == listed {
			serving = append(serving, n.Server)
		}
	}
	for _, n := range s.three {
		serving = append(serving, n.Server)
	}
	return s, serving
}

// serverLines are those of two voters and an observer, whose port for clients
// they tell.
func serverLines(t *testing.T) (lines string, observerPort int) {
	for id := 1; id <= 3; id++ {
		host := fmt.Sprintf("127.0.0.%d", id)
		p := zkprocess.FreePorts(t, host, 3)
		lines += fmt.Sprintf("server.%d=%s:%d:%d", id, host, p[0], p[1])
		if id == 3 {
			lines += fmt.Sprintf(":observer;%s:%d", host, p[2])
			observerPort = p[2]
		}
		lines += "\n"
	}
	return lines, observerPort
}

// configure writes the files of server id at 127.0.0.last; clientPort 0 is any.
func configure(t *testing.T, binary string, id, last, clientPort int, lines string) *node {
	dir, host := t.TempDir(), fmt.Sprintf("127.0.0.%d", last)
	ports := zkprocess.FreePorts(t, host, 2)
	if clientPort == 0 {
		clientPort = ports[1]
	}
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=1000\ninitLimit=10\nsyncLimit=5\nmaxSessionTimeout=60000\ndataDir=%s\nclientPort=%d\nclientPortAddress=%s\nadmin.serverPort=%d\nadmin.serverAddress=%s\n%s",
		data, clientPort, host, ports[0], host, lines)
	must(t, os.Mkdir(data, 0o700), os.WriteFile(filepath.Join(data, "myid"), fmt.Appendf(nil, "%d\n", id), 0o600), os.WriteFile(file, []byte(text), 0o600))
	return &node{Server: zkprocess.Configured(binary, id, host, clientPort, file), adminPort: ports[0], sessions: map[int64]string{}, renumber: strings.NewReplacer()}
}

// assignRoles finds out who leads.
func (s *side) assignRoles(t *testing.T) {
	for _, n := range s.three[:2] {
		if n.Mode() == leader {
			s.nodes[leader] = n
		} else {
			s.nodes[follower] = n
		}
	}
	if s.nodes[leader] != nil && s.nodes[leader].ID == 2 {
		for _, n := range s.three {
			n.renumber = strings.NewReplacer("127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.1", `"1" : {`, `"2" : {`, `"2" : {`, `"1" : {`)
		}
	}
	if s.nodes[leader] == nil || s.nodes[follower] == nil {
		t.Fatal("no leader, or no follower")
	}
}

// populate opens two sessions on a node and leaves ephemerals and watches of
// every kind.
func (n *node) populate(t *testing.T, role string) {
	first, second := n.dial(t, role+" 1"), n.dial(t, role+" 2")
	root := "/" + role
	must(t, create(first, root, protocol.Persistent), create(first, root+"/e", protocol.Ephemeral), create(first, root+"/f", protocol.Ephemeral),
		create(second, root+"/g", protocol.Ephemeral), create(first, root+"/child", protocol.Persistent))
	for _, c := range n.clients {
		_, _, dataErr := c.Get(root, true)
		_, existErr := c.Exists(root+"/child", true)
		_, _, childErr := c.Children(root, true)
		must(t, dataErr, existErr, childErr)
		if _, err := c.Exists(root+"/missing", true); err != protocol.NoNode {
			t.Fatalf("exists %s/missing: %v", root, err)
		}
	}
	must(t, first.AddWatch(root+"/persistent", protocol.WatchPersistent), second.AddWatch(root+"/recursive", protocol.WatchPersistentRecursive),
		first.Ping(), second.Ping())
	var calls []*zkclient.Call
	for range 300 { // for hash, which shows one zxid of 128
		calls = append(calls, first.Go(protocol.OpSetData, &protocol.SetDataRequest{Path: root + "/e", Version: protocol.AnyVersion}))
	}
	for _, c := range calls {
		if h, _, err := c.Wait(); err != nil || h.Err != protocol.OK {
			t.Fatal(h.Err, err)
		}
	}
	_, _, err := second.Get(root, false) // the last operation of the second
	must(t, err)
}

func (n *node) dial(t *testing.T, name string) *zkclient.Client {
	c, err := zkclient.Dial(context.Background(), n.Addr(), zkclient.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(c.HangUp)
	n.sessions[c.SessionID()] = name
	n.clients = append(n.clients, c)
	return c
}

func create(c *zkclient.Client, path string, mode protocol.CreateMode) error {
	_, err := c.Create(path, []byte("data"), mode, nil)
	return err
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWordsAndCommands asks both servers everything, in every role.
func TestWordsAndCommands(t *testing.T) {
	theirs, first := launch(t, zkprocess.ZooKeeper(t), "")
	ours, second := launch(t, zkprocess.Coordd(t), patience)
	for role, flags := range map[string]string{lonely: "", bare: readOnlyFlag, readOnly: readOnlyFlag} {
		t.Setenv("SERVER_JVMFLAGS", flags)
		for _, s := range []*side{theirs, ours} {
			must(t, s.nodes[role].Run())
			t.Cleanup(s.nodes[role].Kill)
		}
	}
	t.Setenv("SERVER_JVMFLAGS", "")
	zkprocess.RunAll(t, append(first, second...))
	for _, s := range []*side{theirs, ours} {
		s.assignRoles(t)
		members := map[int64]string{}
		for _, role := range []string{standalone, leader, follower, observer} {
			n := s.nodes[role]
			if role != standalone { // every member shows the sessions of all
				n.sessions = members
			}
			n.populate(t, role)
		}
	}
	used := map[*difference]bool{}
	for _, role := range []string{standalone, leader, follower, observer, listed, bare, lonely, readOnly} {
		t.Run(role, func(t *testing.T) {
			want := http.StatusOK
			switch role {
			case bare:
				awaitAnswer(t, theirs.nodes[role], "isro", "rw")
				awaitAnswer(t, ours.nodes[role], "isro", "rw")
			case lonely:
				want = http.StatusServiceUnavailable
			case readOnly:
				theirs.nodes[bare].Kill()
				ours.nodes[bare].Kill()
				awaitAnswer(t, theirs.nodes[role], "isro", "ro")
				awaitAnswer(t, ours.nodes[role], "isro", "ro")
				want = 0
			}
			compareWords(t, role, theirs.nodes[role], ours.nodes[role], used)
			if role != listed && role != bare { // the list is for words alone
				compareCommands(t, role, theirs.nodes[role], ours.nodes[role], used)
			}
			probes(t, ours.nodes[role], want)
		})
	}
	t.Run("hash is the same on all members", func(t *testing.T) {
		want, _ := ask(ours.nodes[leader].Addr(), "hash")
		if strings.Count(want, "\n") < 2 {
			t.Errorf("the leader's: %q", want)
		}
		awaitAnswer(t, ours.nodes[follower], "hash", want)
	})
	t.Run("connections", func(t *testing.T) { compareConnections(t, theirs.nodes[standalone], ours.nodes[standalone]) })
	t.Run("who may take snapshots", func(t *testing.T) { compareGuards(t, theirs.nodes[standalone], ours.nodes[standalone]) })
	t.Run(lost, func(t *testing.T) {
		for _, s := range []*side{theirs, ours} {
			s.nodes[leader].Kill()
			s.nodes[observer].Kill()
			s.nodes[lost] = s.nodes[follower]
		}
		for _, s := range []*side{theirs, ours} {
			awaitAnswer(t, s.nodes[lost], "wchs", "This ZooKeeper instance is not currently serving requests\n")
		}
		compareWords(t, lost, theirs.nodes[lost], ours.nodes[lost], used)
		compareCommands(t, lost, theirs.nodes[lost], ours.nodes[lost], used)
		probes(t, ours.nodes[lost], http.StatusServiceUnavailable)
	})
	for _, d := range differences {
		if !used[d] && !t.Failed() {
			t.Errorf("the difference at %s (%s) is not there: strike it off the list", d.where, d.why)
		}
	}
}

func awaitAnswer(t *testing.T, n *node, word, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		answer, err := ask(n.Addr(), word)
		if err == nil && answer == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s at %s: %q %v, want %q", word, n.Addr(), answer, err, want)
		}
	}
}

// compare reports how two answers differ, line by line, but for the
// differences that are known.
func compare(t *testing.T, where string, theirs, ours []string, used map[*difference]bool) {
	t.Helper()
	for _, d := range differences {
		if !d.where.MatchString(where) {
			continue
		}
		if d.whole(theirs, ours) {
			used[d] = true
			return
		}
		known := func(line string) bool {
			known := d.lines != nil && d.lines.MatchString(line)
			used[d] = used[d] || known
			return known
		}
		theirs, ours = slices.DeleteFunc(slices.Clone(theirs), known), slices.DeleteFunc(slices.Clone(ours), known)
	}
	if slices.Equal(theirs, ours) {
		return
	}
	var b strings.Builder
	for _, line := range theirs {
		if !slices.Contains(ours, line) {
			fmt.Fprintf(&b, "  only ZooKeeper: %q\n", line)
		}
	}
	for _, line := range ours {
		if !slices.Contains(theirs, line) {
			fmt.Fprintf(&b, "  only coordd:    %q\n", line)
		}
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "  order or number of lines:\n  ZooKeeper %q\n  coordd    %q\n", theirs, ours)
	}
	t.Errorf("%s:\n%s", where, b.String())
}
