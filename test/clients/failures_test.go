//go:build clients

package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// A start that fails says why in one line, changes nothing when the
// configuration is at fault, and exits as ZooKeeper does where that has a code.
// The sentences are coordd's own, so these tests do not run a ZooKeeper.

// ZooKeeper's exit codes.
const (
	exitUnexpected = 1
	exitConfig     = 2
	exitDataDir    = 3
	exitServerPort = 14
)

// threeMembers are server lines for 127.0.0.31 to .33.
const threeMembers = `server.1=127.0.0.31:2888:3888
server.2=127.0.0.32:2888:3888
server.3=127.0.0.33:2888:3888
`

// installation is a directory with a zoo.cfg and a dataDir.
type installation struct {
	id            int
	host          string
	file, dataDir string
}

// install writes a zoo.cfg of 6 lines and the given ones, and myid.
func install(t *testing.T, id int, host, lines string) installation {
	t.Helper()
	dir := t.TempDir()
	in := installation{id, host, filepath.Join(dir, "zoo.cfg"), filepath.Join(dir, "data")}
	mustMkdir(t, in.dataDir)
	mustWrite(t, filepath.Join(in.dataDir, "myid"), strconv.Itoa(id)+"\n")
	in.configure(t, lines)
	return in
}

func (in installation) configure(t *testing.T, lines string) {
	t.Helper()
	mustWrite(t, in.file, fmt.Sprintf("tickTime=2000\ninitLimit=4\nsyncLimit=5\ndataDir=%s\nclientPort=2181\nclientPortAddress=%s\n%s\nadmin.enableServer=false\n",
		in.dataDir, in.host, lines))
}

// run starts the server to go on in the background, until the test ends.
func (in installation) run(t *testing.T) *zkprocess.Server {
	t.Helper()
	s := zkprocess.Configured(zkprocess.Coordd(t), in.id, in.host, clientPort, in.file)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of server %d at %s:\n%s", in.id, in.host, readLog(t, s))
		}
	})
	return s
}

func readLog(t *testing.T, s *zkprocess.Server) string {
	t.Helper()
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// linesWith are the lines of the log that hold text.
func linesWith(log, text string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// await fails the test unless done reports true in time. With a reason it says
// that, too.
func await(t *testing.T, what string, done func() bool, reason ...*error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if !time.Now().After(deadline) {
			continue
		}
		for _, err := range reason {
			what += fmt.Sprintf(": %v", *err)
		}
		t.Fatalf("waited 30s in vain: %s", what)
	}
}

// fails runs coordd until it exits, and returns what it said and its exit code.
func fails(t *testing.T, args ...string) (said string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, zkprocess.Coordd(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = t.TempDir()
	err := cmd.Run()
	var exited *exec.ExitError
	if err == nil || !errors.As(err, &exited) || ctx.Err() != nil {
		t.Fatalf("coordd %v: %v, want it to fail; it said:\n%s", args, err, out.String())
	}
	for _, trace := range []string{"goroutine ", "panic", ".go:"} {
		if strings.Contains(out.String(), trace) {
			t.Errorf("coordd %v shows its inside:\n%s", args, out.String())
		}
	}
	return out.String(), exited.ExitCode()
}

// wantLine checks that the program ends with one line to the operator, which
// closes with sentence. Log lines may stand before it.
func wantLine(t *testing.T, said, sentence string) {
	t.Helper()
	var ends []string
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "coordd: ") {
			ends = append(ends, line)
		}
	}
	if len(ends) != 1 || !strings.HasSuffix(said, ends[0]) || !strings.HasSuffix(ends[0], ": "+sentence+"\n") {
		t.Errorf("got\n%swant as the last line\ncoordd: %s", said, sentence)
	}
}

// tree lists all that is below dir, with sizes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		fmt.Fprintln(&b, path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWrongConfiguration: {F} is zoo.cfg, {D} dataDir.
func TestWrongConfiguration(t *testing.T) {
	const none, directory = "none", "a directory"
	number := "allowed: a whole number from 1 to 255, one of 1, 2, 3"
	for _, tc := range []struct {
		name, myid, lines string
		want              string
	}{
		{"no myid", none, threeMembers, "{D}/myid: is missing: write this server's number into it, one of 1, 2, 3"},
		{"myid cannot be read", directory, threeMembers, "{D}/myid: cannot be read: is a directory"},
		{"empty myid", "", threeMembers, "{D}/myid:1: is empty: write this server's number into it, one of 1, 2, 3"},
		{"empty first line", "\n1\n", threeMembers, "{D}/myid:1: is empty: write this server's number into it, one of 1, 2, 3"},
		{"myid of letters", "zk1\n", threeMembers, `{D}/myid:1: myid="zk1": ` + number},
		{"myid 0", "0", threeMembers, `{D}/myid:1: myid="0": ` + number},
		{"myid 256", "256", threeMembers, `{D}/myid:1: myid="256": ` + number},
		{"myid -1", "-1", threeMembers, `{D}/myid:1: myid="-1": ` + number},
		{"myid not in the list", "9", threeMembers, `{D}/myid:1: myid="9": there is no server.9 in {F}, only 1, 2, 3`},
		{"server line twice", "1", threeMembers + "server.2=127.0.0.34:2888:3888",
			`{F}:10: server.2="127.0.0.34:2888:3888": line 8 has another server.2: give each server a number of its own, and one line`},
		{"one number in two spellings", "1", threeMembers + "server.02=127.0.0.34:2888:3888",
			`{F}:10: server.02="127.0.0.34:2888:3888": is the same member as server.2 in line 8`},
		{"one address twice", "1", threeMembers + "server.4=127.0.0.33:2888:3889",
			`{F}:10: server.4="127.0.0.33:2888:3889": 127.0.0.33:2888 is an address of server.3 too (line 9)`},
		{"server.N without N", "1", "server.x=127.0.0.31:2888:3888", `{F}:7: server.x="127.0.0.31:2888:3888": the N of server.N must be a number from 1 to 255`},
		{"not a number", "1", "tickTime=2s", `{F}:7: tickTime="2s": allowed: a whole number from 1 to 107374182 (milliseconds)`},
		{"neither true nor false", "1", "quorumListenOnAllIPs=maybe", `{F}:7: quorumListenOnAllIPs="maybe": allowed: true or false`},
		{"port out of range", "1", "admin.serverPort=65536", `{F}:7: admin.serverPort="65536": allowed: a whole number from 0 to 65535`},
		{"no initLimit", "1", "initLimit=0\n" + threeMembers, `{F}:7: initLimit="0": is not set: servers of an ensemble need it, usually 10`},
		{"not a properties file", "1", `dataDir=\u12`, `{F}:7: not a line of a properties file: \u must be followed by four hexadecimal digits`},
		{"TLS port", "1", "secureClientPort=2281", `{F}:7: secureClientPort="2281": is not built yet, so coordd does not start with it; allowed: 0, or no such line`},
		{"TLS between servers", "1", "sslQuorum=true", `{F}:7: sslQuorum="true": is not built yet, so coordd does not start with it; allowed: false, or no such line`},
		{"SASL", "1", "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
			`{F}:7: authProvider.1="org.apache.zookeeper.server.auth.SASLAuthenticationProvider": is not built yet, so coordd does not start with it; ` +
				"allowed: org.apache.zookeeper.server.auth.DigestAuthenticationProvider or org.apache.zookeeper.server.auth.IPAuthenticationProvider, or no such line"},
		{"a password is not shown", "1", "ssl.keyStore.password=hunter2", `{F}:7: ssl.keyStore.password="***": is not built yet, so coordd does not start with it; remove the line if you can do without`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := install(t, 1, "127.0.0.31", tc.lines)
			myid := filepath.Join(in.dataDir, "myid")
			if err := os.Remove(myid); err != nil {
				t.Fatal(err)
			}
			switch tc.myid {
			case none:
			case directory:
				mustMkdir(t, myid)
			default:
				mustWrite(t, myid, tc.myid)
			}
			before := tree(t, filepath.Dir(in.file))
			said, exit := fails(t, "start", "--config", in.file)
			if want := "coordd: " + strings.NewReplacer("{F}", in.file, "{D}", in.dataDir).Replace(tc.want) + "\n"; said != want {
				t.Errorf("got\n%swant\n%s", said, want)
			}
			if exit != exitConfig {
				t.Errorf("exit code %d, want %d", exit, exitConfig)
			}
			if after := tree(t, filepath.Dir(in.file)); after != before {
				t.Errorf("files before\n%safter\n%s", before, after)
			}
		})
	}
}

func TestWrongInvocation(t *testing.T) {
	for _, tc := range []struct {
		args, want string
	}{
		{"start --config /nonexistent/zoo.cfg", "/nonexistent/zoo.cfg: cannot be read: no such file or directory"},
		{"start --config /", "/: cannot be read: is a directory"},
		{"start zoo.cfg", `start takes no argument "zoo.cfg": name the file with --config`},
		{"start --confg zoo.cfg", "flag provided but not defined: -confg"},
		{"strt", `no command "strt": coordd --help lists them`},
	} {
		said, exit := fails(t, strings.Fields(tc.args)...)
		wantLine(t, said, tc.want)
		if exit != exitConfig {
			t.Errorf("coordd %s: exit code %d, want %d", tc.args, exit, exitConfig)
		}
	}
}

func TestDataDirectoryOutOfReach(t *testing.T) {
	in := install(t, 1, "127.0.0.31", "datadir.autocreate=false")
	if err := os.RemoveAll(in.dataDir); err != nil {
		t.Fatal(err)
	}
	said, exit := fails(t, "start", "--config", in.file)
	wantLine(t, said, fmt.Sprintf("data directory: stat %s: no such file or directory: make the directory, or let this user write to it (dataDir, dataLogDir)", in.dataDir))
	if exit != exitDataDir {
		t.Errorf("exit code %d, want %d", exit, exitDataDir)
	}
}

func TestPortInUse(t *testing.T) {
	const taken = "bind: address already in use: another process has this port: stop it, or change "
	for _, tc := range []struct {
		port, exit int
		want       string
	}{
		{clientPort, exitUnexpected, "listen for clients: listen tcp 127.0.0.31:2181: " + taken + "clientPort and clientPortAddress"},
		{quorumPort, exitServerPort, "listen for servers (first port of server.1): listen tcp 127.0.0.31:2888: " + taken + "the line server.1"},
		{electionPort, exitServerPort, "listen for raft (second port of server.1): listen tcp 127.0.0.31:3888: " + taken + "the line server.1"},
	} {
		t.Run(strconv.Itoa(tc.port), func(t *testing.T) {
			in := install(t, 1, "127.0.0.31", threeMembers)
			mustBeFree(t, in.host, clientPort, quorumPort, electionPort)
			l, err := net.Listen("tcp", net.JoinHostPort(in.host, strconv.Itoa(tc.port)))
			if err != nil {
				t.Fatal(err)
			}
			said, exit := fails(t, "start", "--config", in.file)
			l.Close()
			wantLine(t, said, tc.want)
			if exit != tc.exit {
				t.Errorf("exit code %d, want %d", exit, tc.exit)
			}
			s := in.run(t)
			await(t, "the server starts once the port is free", func() bool { return strings.Contains(readLog(t, s), " started: ") })
		})
	}
}

func TestSecondProcessOnOneDataDir(t *testing.T) {
	first := install(t, 1, "127.0.0.31", "")
	mustBeFree(t, first.host, clientPort)
	s := first.run(t)
	await(t, "the first process serves", func() bool { return s.Mode() == "standalone" })
	second := first
	second.host, second.file = "127.0.0.32", filepath.Join(t.TempDir(), "zoo.cfg")
	second.configure(t, "")
	said, exit := fails(t, "start", "--config", second.file)
	wantLine(t, said, "data directory "+first.dataDir+" is in use by another process")
	if exit != exitUnexpected {
		t.Errorf("exit code %d, want %d", exit, exitUnexpected)
	}
	if mode := s.Mode(); mode != "standalone" {
		t.Errorf("the first process says %q after that", mode)
	}
}

// TestUnknownKeyIsNoError: ZooKeeper makes it a system property.
func TestUnknownKeyIsNoError(t *testing.T) {
	in := install(t, 1, "127.0.0.31", "some.key=1\nserver.1=127.0.0.31:2888:3888\nserver.1=127.0.0.31:2888:3888")
	mustBeFree(t, in.host, clientPort)
	s := in.run(t)
	await(t, "the server serves", func() bool { return s.Mode() == "standalone" })
	if lines := linesWith(readLog(t, s), in.file+`:7: some.key="1": Nothing knows this key; it has no effect.`); len(lines) != 1 {
		t.Errorf("lines about the key: %q", lines)
	}
	if lines := linesWith(readLog(t, s), in.file+`:8: server.1="127.0.0.31:2888:3888": Overridden by line 9: the last one counts.`); len(lines) != 1 {
		t.Errorf("lines about a line that is there twice: %q", lines)
	}
}

// startThree starts servers 1 to 3 with lists[N-1], and waits until they serve
// if serve says so.
func startThree(t *testing.T, lists [3]string, serve bool) (all []installation, servers []*zkprocess.Server) {
	t.Helper()
	for id := 1; id <= 3; id++ {
		in := install(t, id, fmt.Sprintf("127.0.0.3%d", id), lists[id-1])
		mustBeFree(t, in.host, clientPort, quorumPort, electionPort)
		all, servers = append(all, in), append(servers, in.run(t))
	}
	for _, s := range servers {
		await(t, fmt.Sprintf("server %d serves", s.ID), func() bool { return !serve || s.Mode() != "" })
	}
	return all, servers
}

// TestDoubledMyID starts a second server 2, on a machine and with a dataDir of
// its own, next to an ensemble that serves.
func TestDoubledMyID(t *testing.T) {
	_, servers := startThree(t, [3]string{threeMembers, threeMembers, threeMembers}, true)
	double := install(t, 2, "127.0.0.34", strings.Replace(threeMembers, "127.0.0.32", "127.0.0.34", 1))
	mustBeFree(t, double.host, clientPort, quorumPort, electionPort)
	d := double.run(t)
	const sentence = "another process is connected as server 2 and answers: two servers have the same myid"
	await(t, "the double learns why", func() bool { return len(linesWith(readLog(t, d), sentence)) > 0 })
	time.Sleep(5 * time.Second) // in which it tries again and again
	refusals := 0               // by those that have a connection to the first server 2
	for _, s := range []*zkprocess.Server{servers[0], servers[2]} {
		lines := linesWith(readLog(t, s), sentence)
		if len(lines) > 1 {
			t.Errorf("server %d: lines about the double: %q, want one", s.ID, lines)
		}
		refusals += len(lines)
	}
	if lines := linesWith(readLog(t, d), sentence); len(lines) > refusals {
		t.Errorf("the double: %q, want no more than a line for each of the %d servers that refused it", lines, refusals)
	}
	if mode := d.Mode(); mode != "" {
		t.Errorf("the double serves: %q", mode)
	}
	for _, s := range servers {
		await(t, fmt.Sprintf("server %d still serves", s.ID), func() bool { return s.Mode() != "" })
	}

	// On the machine of the first, it does not get as far.
	copied := install(t, 2, "127.0.0.35", threeMembers)
	said, exit := fails(t, "start", "--config", copied.file)
	wantLine(t, said, "listen for servers (first port of server.2): listen tcp 127.0.0.32:2888: bind: address already in use: another process has this port: stop it, or change the line server.2")
	if exit != exitServerPort {
		t.Errorf("exit code %d, want %d", exit, exitServerPort)
	}
}

// TestListsThatDiffer: nothing starts before the lists are the same, and then
// it does without a restart of the servers that had the right one.
func TestListsThatDiffer(t *testing.T) {
	all, servers := startThree(t, [3]string{threeMembers, threeMembers, threeMembers + "server.4=127.0.0.34:2888:3888"}, false)
	const sentence = "the server.N lines differ from those of another server: make them the same in every zoo.cfg, then restart: "
	want := []map[int]string{
		{3: "no server.4 that votes here"},
		{3: "no server.4 that votes here"},
		{1: "server.4=127.0.0.34:2888:3888:participant here", 2: "server.4=127.0.0.34:2888:3888:participant here"},
	}
	for i, s := range servers {
		await(t, fmt.Sprintf("server %d names what differs", s.ID), func() bool { return len(linesWith(readLog(t, s), sentence)) == len(want[i]) })
	}
	time.Sleep(12 * time.Second) // more than a majority waits for a server that is not there
	for i, s := range servers {
		log := readLog(t, s)
		if lines := linesWith(log, sentence); len(lines) != len(want[i]) {
			t.Errorf("server %d: %d lines, want %d: %s", s.ID, len(lines), len(want[i]), lines)
		}
		for peer, differing := range want[i] {
			if !strings.Contains(log, fmt.Sprintf("%speer=%d differing=%q", sentence, peer, differing)) {
				t.Errorf("server %d does not say that server %d has %q", s.ID, peer, differing)
			}
		}
		if strings.Contains(log, "election won") || s.Mode() != "" {
			t.Errorf("server %d: there is a leader, and it says %q", s.ID, s.Mode())
		}
	}
	servers[2].Kill()
	all[2].configure(t, threeMembers)
	if err := servers[2].Run(); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		await(t, fmt.Sprintf("server %d serves with the lists the same", s.ID), func() bool { return s.Mode() != "" })
	}
}
