//go:build suites

package suites

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/outcomes"
	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	update        = flag.Bool("update", false, "record outcomes from a real ZooKeeper instead of testing coordd")
	page          = flag.String("page", "", "page whose table of suites gets a row of each")
	realZooKeeper = flag.Bool("real", false, "test the tests: run a real ZooKeeper in coordd's place")
)

const (
	// suiteTimeout bounds one run of a suite. A JVM takes seconds where coordd
	// takes a tenth, and the suites start servers a hundred times.
	suiteTimeout = 30 * time.Minute

	// maxRetries is how many failed tests are run once more, alone. The suites
	// measure by the clock, and on a busy machine some of their tests fail on a
	// real ZooKeeper too, now and then: so did kazoo's test_bad_argument (gevent)
	// and test_request_queuing_session_expired (eventlet) in the runs that made
	// testdata. A fault fails twice, and one that fails many needs no second look.
	maxRetries = 10
)

// TestMain lets the suites run side by side, for nearly all of their time they
// sleep. Java would not let them.
func TestMain(m *testing.M) {
	flag.Parse()
	if !*update && !*realZooKeeper {
		if err := flag.Set("test.parallel", "3"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestKazooOneServer(t *testing.T) {
	t.Parallel()
	judge(t, "kazoo-1", "kazoo, one server", kazoo{servers: 1, home: t.TempDir(), without: leftOut(t, "kazoo-1")})
}

func TestKazooThreeServers(t *testing.T) {
	t.Parallel()
	judge(t, "kazoo-3", "kazoo, three servers", kazoo{servers: 3, home: t.TempDir(), without: leftOut(t, "kazoo-3")})
}

func TestGoZookeeper(t *testing.T) {
	t.Parallel()
	judge(t, "gozk", "go-zookeeper", goZookeeper{home: t.TempDir()})
}

// A suite can run all of its tests, or one.
type suite interface {
	version(t *testing.T) string
	run(t *testing.T, test string) (o results, reasons map[string]string)
}

// judge runs a suite and holds it against the outcomes on ZooKeeper. title is what
// readers know it by.
func judge(t *testing.T, name, title string, s suite) {
	start := time.Now()
	got, reasons := s.run(t, "")
	took := time.Since(start).Round(time.Second)
	if len(got) == 0 {
		t.Fatal("the suite ran no test")
	}
	baseline := filepath.Join("testdata", name+".txt")
	later := leftOut(t, name)
	want := got
	if !*update {
		text, err := os.ReadFile(baseline)
		if err != nil {
			t.Fatal(err)
		}
		if want, err = outcomes.Parse(string(text)); err != nil {
			t.Fatalf("%s: %v", baseline, err)
		}
	}
	retry(t, s, want, got, reasons, later)
	t.Logf("%s %s: %d tests passed, %d failed, %d skipped in %v; on ZooKeeper %d passed; %d are for later",
		title, s.version(t), got.Count(pass), got.Count(fail), got.Count(skip), took, want.Count(pass), len(later))
	if *update {
		if err := os.WriteFile(baseline, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if *page != "" {
		row := outcomes.Row{Suite: title, Version: s.version(t), There: want, Here: got, List: "../test/suites/testdata/later.txt"}
		if err := row.Write(*page); err != nil {
			t.Error(err)
		}
	}
	for _, sentence := range verdict(want, got, later) {
		test, _, _ := strings.Cut(sentence, ": ")
		reason := reasons[test]
		t.Errorf("%s\n%s", sentence, reason[max(0, len(reason)-4000):])
	}
}

// retry runs failed tests once more, each alone, and puts their second outcome
// into got. With -update that is any test that failed.
func retry(t *testing.T, s suite, want, got results, reasons, later map[string]string) {
	var failed []string
	if *update {
		for test, outcome := range got {
			if outcome == fail {
				failed = append(failed, test)
			}
		}
	} else {
		tests, outcome := outcomes.Regressions(want, got, later)
		for i, test := range tests {
			if outcome[i] == fail {
				failed = append(failed, test)
			}
		}
		if len(failed) > maxRetries {
			return
		}
	}
	for _, test := range failed {
		t.Logf("%s failed and is run again, alone:\n%s", test, reasons[test][max(0, len(reasons[test])-1500):])
		again, why := s.run(t, test)
		for name, outcome := range again {
			got[name], reasons[name] = outcome, why[name]
		}
	}
}

// leftOut are the tests of a suite that coordd need not pass yet, with the
// reason: the lines "suite test # reason" of later.txt.
func leftOut(t *testing.T, name string) map[string]string {
	if *update || *realZooKeeper {
		return nil
	}
	text, err := os.ReadFile("testdata/later.txt")
	if err != nil {
		t.Fatal(err)
	}
	later := map[string]string{}
	for line := range strings.Lines(string(text)) {
		test, reason, ok := strings.Cut(strings.TrimSpace(line), " # ")
		family, test, spaced := strings.Cut(test, " ")
		if !ok || !spaced {
			t.Fatalf("later.txt: line %q", line)
		}
		if strings.HasPrefix(name, family) {
			later[test] = reason
		}
	}
	return later
}

// pinned is what stands between two texts in the file that says which version is
// installed.
func pinned(t *testing.T, file, before, after string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), before)
	version, _, ok := strings.Cut(rest, after)
	if !ok {
		t.Fatalf("%s has nothing between %q and %q", file, before, after)
	}
	return version
}

// server is the server under test: coordd, or a real ZooKeeper with -update or -real.
func server(t *testing.T) string {
	if *update || *realZooKeeper {
		return zkprocess.ZooKeeper(t)
	}
	return zkprocess.Coordd(t)
}

// launch is the folder of the scripts that stand in for ZooKeeper's.
func launch(t *testing.T) string {
	dir, err := filepath.Abs("launch")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// command makes a command that is killed with all of its children, the servers,
// when it takes too long, and whose children are gone once finish returns.
func command(t *testing.T, dir string, output *os.File, args ...string) (cmd *exec.Cmd, finish func()) {
	ctx, cancel := context.WithTimeout(context.Background(), suiteTimeout)
	cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = group
	temp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "SUITES_SERVER="+server(t), "TMPDIR="+temp, "CI=") // kazoo tests the version of its server's manual in CI
	return cmd, func() {
		cancel()
		_ = group() // an error means that none is left
	}
}

// kazoo is the suite of kazoo 2.11. Its harness runs `java`.
type kazoo struct {
	servers int
	home    string
	without map[string]string // tests that are not run: some wait long for what does not come
}

func (k kazoo) version(t *testing.T) string { return pinned(t, "requirements.txt", "kazoo==", "\n") }

func (k kazoo) run(t *testing.T, test string) (results, map[string]string) {
	python := k.python(t)
	where, err := exec.Command(python, "-c", "import kazoo.tests; print(kazoo.tests.__path__[0])").Output()
	if err != nil {
		t.Fatalf("find kazoo's tests: %v", err)
	}
	tests := strings.TrimSpace(string(where))
	report := filepath.Join(k.home, "report.xml")
	output, err := os.Create(filepath.Join(k.home, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd, finish := command(t, k.home, output, python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tests,
		"-o", "junit_logging=no", "--junitxml", report, "--timeout", "240", filepath.Join(tests, test))
	for name := range k.without {
		cmd.Args = append(cmd.Args, "--deselect", name)
	}
	cmd.Env = append(cmd.Env, "PATH="+launch(t)+":"+os.Getenv("PATH"), "ZOOKEEPER_VERSION=3.9.4", "ZOOKEEPER_CLASSPATH=unused",
		fmt.Sprintf("ZOOKEEPER_CLUSTER_SIZE=%d", k.servers), fmt.Sprintf("ZOOKEEPER_PORT_OFFSET=%d", portRange(t)))
	runErr := cmd.Run() // an error when a test failed, too: the report says so, and is missing otherwise
	finish()
	xml, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("run kazoo's tests: %v\n%s", runErr, tail(output.Name()))
	}
	if err := os.Remove(report); err != nil {
		t.Fatal(err)
	}
	o, reasons, err := outcomes.ReadJUnit(bytes.NewReader(xml), pytestName)
	if err != nil {
		t.Fatal(err)
	}
	return o, reasons
}

// python is an interpreter with what kazoo's tests import.
func (k kazoo) python(t *testing.T) string {
	install := exec.Command("../clients/install.sh", "suites")
	install.Stderr = os.Stderr
	classpath, err := install.Output()
	if err != nil {
		t.Fatalf("run install.sh: %v", err)
	}
	return filepath.Join(filepath.Dir(string(classpath)), "suites-venv", "bin", "python")
}

// portRange finds room for the ports of kazoo's harness, first+0 to first+24. It
// lies above those that go-zookeeper's tests use, and below those that Linux
// gives to outgoing connections.
func portRange(t *testing.T) (first int) {
	const room = 25
search:
	for range 100 {
		first = 16_100 + rand.IntN(15_000)
		for port := first; port < first+room; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue search
			}
			l.Close()
		}
		return first
	}
	t.Fatal("no free range of ports")
	return 0
}

// goZookeeper is the suite of github.com/go-zookeeper/zk. Its tests run `zkServer.sh`.
type goZookeeper struct{ home string }

const (
	goZookeeperModule = "github.com/go-zookeeper/zk@v1.0.4"
	goZookeeperSum    = "h1:DPzxraQx7OrPyXq2phlGlNSIyWEsAox0RJmjTseMV6I="
)

func (g goZookeeper) version(*testing.T) string {
	_, version, _ := strings.Cut(goZookeeperModule, "@v")
	return version
}

func (g goZookeeper) run(t *testing.T, test string) (results, map[string]string) {
	binary := filepath.Join(g.home, "zk.test")
	if _, err := os.Stat(binary); err != nil {
		g.build(t, binary)
	}
	args := []string{"-test.v=test2json", "-test.timeout", suiteTimeout.String()}
	if test != "" {
		top, _, _ := strings.Cut(test, "/") // its subtests build on each other
		args = append(args, "-test.run", "^"+top+"$")
	}
	report, err := os.Create(filepath.Join(g.home, "report"))
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	cmd, finish := command(t, g.home, report, append([]string{"go", "tool", "test2json", binary}, args...)...)
	cmd.Env = append(cmd.Env, "ZOOKEEPER_BIN_PATH="+launch(t), "ZK_VERSION=3.9.4")
	runErr := cmd.Run() // an error when a test failed, too
	finish()
	if _, err := report.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	o, reasons, err := readTest2JSON(report)
	if err != nil {
		t.Fatalf("run go-zookeeper's tests: %v, %v\n%s", runErr, err, tail(report.Name()))
	}
	return o, reasons
}

// build compiles go-zookeeper's tests as the module proxy has them.
func (g goZookeeper) build(t *testing.T, binary string) {
	download := exec.Command("go", "mod", "download", "-json", goZookeeperModule)
	download.Dir = g.home // outside of our module
	out, err := download.Output()
	var module struct{ Dir, Sum string }
	if err != nil || json.Unmarshal(out, &module) != nil || module.Sum != goZookeeperSum {
		t.Fatalf("download %s: %v\n%s", goZookeeperModule, err, out)
	}
	source := module.Dir
	if *update || *realZooKeeper {
		source = g.adapt(t, module.Dir)
	}
	compile := exec.Command("go", "test", "-c", "-o", binary, ".")
	compile.Dir = source
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compile go-zookeeper's tests: %v\n%s", err, out)
	}
}

// adapt copies the module for a run on a real ZooKeeper. The tests wait for an
// answer to srvr that says "built on 08/19/2025", as ZooKeeper did up to 3.5, and
// coordd does. ZooKeeper 3.9.4 says 2025-08-19, and for that alone no test of
// theirs gets as far as to connect: the copy puts the answer in the form it reads.
func (g goZookeeper) adapt(t *testing.T, dir string) (adapted string) {
	adapted = filepath.Join(g.home, "zk")
	if err := os.CopyFS(adapted, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "flw.go")
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const before = "matches := re.FindAllStringSubmatch(string(response), -1)"
	parts := strings.Split(string(source), before)
	if len(parts) < 2 {
		t.Fatalf("%s has no line %q", file, before)
	}
	text := parts[0] + "response = regexp.MustCompile(`built on (\\d{4})-(\\d\\d)-(\\d\\d)`).ReplaceAll(response, []byte(`built on $2/$3/$1`))\n" +
		before + strings.Join(parts[1:], before)
	if err := os.Remove(filepath.Join(adapted, "flw.go")); err != nil { // the module cache's files are read-only
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(adapted, "flw.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return adapted
}

// tail is the end of a file.
func tail(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-4000):]
}
