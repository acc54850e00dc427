// Package zkprocess runs ZooKeeper servers as the processes an operator would
// run - coordd or a real ZooKeeper 3.9.4, both from a zoo.cfg on loopback - and
// ZooKeeper's own zkCli against them. It is for tests that have the Java and
// Python toolchains; see test/clients/install.sh for what it brings.
//
// A started server serves when Start returns and is gone, by its own process id,
// when the test ends. What clients see of it is left to the tests.
package zkprocess

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds the wait until every server of an ensemble serves. A JVM
// on a busy machine needs several seconds, an election some more.
const startTimeout = 60 * time.Second

// Coordd returns the path of the coordd under test, from COORDD_BIN. It fails
// the test when that is unset: a silent skip would let CI test nothing.
func Coordd(t testing.TB) string {
	t.Helper()
	binary := os.Getenv("COORDD_BIN")
	if binary == "" {
		t.Fatal("COORDD_BIN is not set: build coordd and set it to the binary's absolute path (test/clients/zookeeper.sh stands in to test the test)")
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		t.Fatalf("find COORDD_BIN: %v", err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("find COORDD_BIN: %v", err)
	}
	return binary
}

// ZooKeeper returns the path of a program that takes coordd's arguments and
// runs a real ZooKeeper 3.9.4, installing it first where needed.
func ZooKeeper(t testing.TB) string {
	t.Helper()
	install(t)
	return filepath.Join(clientsDir(), "zookeeper.sh")
}

// Server is one server process.
type Server struct {
	ID         int    // N of its server.N line; 1 when alone
	Host       string // 127.0.0.N
	ClientPort int
	Config     string // path of its zoo.cfg
	DataDir    string
	Log        string // path of what it wrote to stdout and stderr

	binary string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// Start runs `binary start --config zoo.cfg` for n servers, adds the given lines
// to each zoo.cfg, and returns once all of them serve. One server has no
// server.N lines, so it runs standalone; server N of several listens on
// 127.0.0.N. The admin HTTP server is off unless a line turns it on.
func Start(t testing.TB, binary string, n int, lines ...string) []*Server {
	t.Helper()
	servers := make([]*Server, n)
	members := ""
	for i := range servers {
		s := &Server{ID: i + 1, Host: fmt.Sprintf("127.0.0.%d", i+1), binary: binary}
		ports := FreePorts(t, s.Host, 3)
		s.ClientPort = ports[0]
		members += fmt.Sprintf("server.%d=%s:%d:%d\n", s.ID, s.Host, ports[1], ports[2])
		servers[i] = s
	}
	if n == 1 {
		members = ""
	}
	for _, s := range servers {
		s.writeConfig(t, members, lines)
	}
	RunAll(t, servers)
	return servers
}

// Configured is a server with a configuration of the test's own: the file's
// directory gets its log. host and clientPort are what the file says. RunAll or
// Run starts it.
func Configured(binary string, id int, host string, clientPort int, file string) *Server {
	return &Server{
		ID: id, Host: host, ClientPort: clientPort, Config: file,
		Log: filepath.Join(filepath.Dir(file), "log"), binary: binary,
	}
}

// RunAll starts servers, whose files are written, and returns once all serve.
// They end with the test.
func RunAll(t testing.TB, servers []*Server) {
	t.Helper()
	for _, s := range servers {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Kill()
			if t.Failed() {
				t.Logf("server %d, end of its log:\n%s", s.ID, s.logTail())
			}
		})
	}
	deadline := time.Now().Add(startTimeout)
	for _, s := range servers {
		if err := s.awaitServing(deadline); err != nil {
			t.Fatal(err)
		}
	}
}

// Follower returns one of servers that follows the leader.
func Follower(t testing.TB, servers []*Server) *Server {
	t.Helper()
	for _, s := range servers {
		if s.Mode() == "follower" {
			return s
		}
	}
	t.Fatal("no server says `Mode: follower`")
	return nil
}

func (s *Server) writeConfig(t testing.TB, members string, lines []string) {
	t.Helper()
	dir := t.TempDir()
	s.DataDir = filepath.Join(dir, "data")
	s.Config = filepath.Join(dir, "zoo.cfg")
	s.Log = filepath.Join(dir, "log")
	config := fmt.Sprintf(`tickTime=2000
initLimit=10
syncLimit=5
dataDir=%s
clientPort=%d
clientPortAddress=%s
4lw.commands.whitelist=*
%s`, s.DataDir, s.ClientPort, s.Host, members)
	added := strings.Join(lines, "\n")
	if !strings.Contains(added, "admin.enableServer") {
		config += "admin.enableServer=false\n"
	}
	config += added + "\n"
	for _, write := range []error{
		os.Mkdir(s.DataDir, 0o700),
		os.WriteFile(filepath.Join(s.DataDir, "myid"), fmt.Appendf(nil, "%d\n", s.ID), 0o600),
		os.WriteFile(s.Config, []byte(config), 0o600),
	} {
		if write != nil {
			t.Fatalf("write configuration: %v", write)
		}
	}
}

// Run starts the process. Start has done so; a test calls it after Kill to
// bring the server back with the data it had.
func (s *Server) Run() error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open server log: %w", err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary, "start", "--config", s.Config)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Dir = filepath.Dir(s.Config)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start server %d: %w", s.ID, err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait() // a killed server reports an error; the log has the reason of any other exit
		close(exited)
	}()
	return nil
}

// Kill ends the process as kill -9 does and returns when it is gone.
func (s *Server) Kill() {
	if s.exited == nil {
		return // never started
	}
	_ = s.cmd.Process.Kill() // an error means it is gone
	<-s.exited
}

// Suspend stops the process as SIGSTOP does, until the returned function is
// called.
func (s *Server) Suspend() (resume func() error, err error) {
	process := s.cmd.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("suspend server %d: %w", s.ID, err)
	}
	return s.Continue, nil
}

// Continue has a process go on that was suspended.
func (s *Server) Continue() error {
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume server %d: %w", s.ID, err)
	}
	return nil
}

// Terminate asks the process to end, as SIGTERM does, and returns when it has.
func (s *Server) Terminate() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end server %d: %w", s.ID, err)
	}
	<-s.exited
	return nil
}

// Exited reports whether the process, which was started, is gone.
func (s *Server) Exited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// Pid is the process id of a server that was started.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Addr is where clients connect, host:port.
func (s *Server) Addr() string {
	return fmt.Sprintf("%s:%d", s.Host, s.ClientPort)
}

// FourLetterWord sends a command such as "srvr" and returns the whole answer.
func (s *Server) FourLetterWord(word string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), 2*time.Second)
	if err != nil {
		return "", fmt.Errorf("send %s: %w", word, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", fmt.Errorf("send %s: %w", word, err)
	}
	if _, err := conn.Write([]byte(word)); err != nil {
		return "", fmt.Errorf("send %s: %w", word, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("read answer to %s: %w", word, err)
	}
	return string(answer), nil
}

// Mode is what srvr says after "Mode: ", such as "standalone" or "follower";
// empty while the server does not serve.
func (s *Server) Mode() string {
	answer, err := s.FourLetterWord("srvr")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(answer, "Mode: ")
	mode, _, _ := strings.Cut(rest, "\n")
	return mode
}

func (s *Server) awaitServing(deadline time.Time) error {
	for s.Mode() == "" {
		select {
		case <-s.exited:
			return fmt.Errorf("server %d exited before it served", s.ID)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server %d did not serve within %v", s.ID, startTimeout)
		}
	}
	return nil
}

func (s *Server) logTail() []byte {
	log, err := os.ReadFile(s.Log)
	if err != nil {
		return []byte(err.Error())
	}
	return log[max(0, len(log)-8000):]
}

// given are the ports that FreePorts has given out in this process.
var given sync.Map

// FreePorts returns ports that were free on host a moment ago. This process
// gets each but once. They lie below those that Linux gives to outgoing
// connections, which could take one in between.
func FreePorts(t testing.TB, host string, n int) []int {
	t.Helper()
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := 10_000 + rand.IntN(22_000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		switch {
		case err == nil:
			l.Close()
			ports = append(ports, port)
		case tries > 1000:
			t.Fatalf("find a free port: %v", err)
		}
	}
	return ports
}

// installed is the cache directory that install.sh filled, found once.
var installed = sync.OnceValues(func() (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(clientsDir(), "install.sh"))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run install.sh: %w\n%s", err, stderr.Bytes())
	}
	path := strings.TrimSpace(string(out))
	if path == "" {
		return "", errors.New("run install.sh: it printed no classpath file")
	}
	return filepath.Dir(path), nil
})

func install(t testing.TB) string {
	t.Helper()
	cache, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// Classpath is what `java -cp` needs for ZooKeeper's classes, with log settings
// that keep stdout clean.
func Classpath(t testing.TB) string {
	t.Helper()
	classpath, err := os.ReadFile(filepath.Join(install(t), "classpath"))
	if err != nil {
		t.Fatalf("read classpath: %v", err)
	}
	return filepath.Join(clientsDir(), "java") + ":" + string(classpath)
}

// ClassesOf is the same for the Java client of another release, one that
// test/clients/java/versions/pom.xml names: its own classes, and the libraries of
// 3.9.4.
func ClassesOf(t testing.TB, version string) string {
	t.Helper()
	cache := install(t)
	own, err := filepath.Glob(filepath.Join(cache, "versions", "zookeeper*-"+version+".jar"))
	if err != nil || len(own) == 0 {
		t.Fatalf("find the Java client %s, which install.sh brings: %v", version, err)
	}
	libraries, err := filepath.Glob(filepath.Join(cache, "jars", "*.jar"))
	if err != nil {
		t.Fatalf("find the libraries of the Java client: %v", err)
	}
	classpath := append([]string{filepath.Join(clientsDir(), "java")}, own...)
	for _, jar := range libraries {
		if !strings.HasPrefix(filepath.Base(jar), "zookeeper-") {
			classpath = append(classpath, jar)
		}
	}
	return strings.Join(classpath, ":")
}

// Python is the path of a Python interpreter that has kazoo.
func Python(t testing.TB) string {
	t.Helper()
	return filepath.Join(install(t), "venv", "bin", "python")
}

// NodeModules is the directory with the Node client, a value for NODE_PATH. It
// fails the test where install.sh found no npm.
func NodeModules(t testing.TB) string {
	t.Helper()
	modules := filepath.Join(install(t), "node", "node_modules")
	if _, err := os.Stat(modules); err != nil {
		t.Fatalf("find the Node client, which install.sh brings where there is npm: %v", err)
	}
	return modules
}

// clientsDir is test/clients of this source tree.
func clientsDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "test", "clients")
}
