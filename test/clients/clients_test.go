//go:build clients

package clients

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	update        = flag.Bool("update", false, "record expected outputs from a real ZooKeeper instead of testing coordd")
	realZooKeeper = flag.Bool("real", false, "test the tests: run a real ZooKeeper in coordd's place")
)

func againstZooKeeper() bool {
	return *update || *realZooKeeper || filepath.Base(os.Getenv("COORDD_BIN")) == "zookeeper.sh"
}

// program is the server under test: coordd, or a real ZooKeeper with -update or -real.
func program(t *testing.T) string {
	if againstZooKeeper() {
		return zkprocess.ZooKeeper(t)
	}
	return zkprocess.Coordd(t)
}

// onEachShape runs check against a single server and, in another subtest,
// against a follower of three. With -update it runs it once, on a real ZooKeeper.
func onEachShape(t *testing.T, check func(t *testing.T, addr string)) {
	binary := program(t)
	if *update {
		check(t, zkprocess.Start(t, binary, 1)[0].Addr())
		return
	}
	t.Run("alone", func(t *testing.T) {
		check(t, zkprocess.Start(t, binary, 1)[0].Addr())
	})
	t.Run("follower", func(t *testing.T) {
		check(t, zkprocess.Follower(t, zkprocess.Start(t, binary, 3)).Addr())
	})
}

// compare fails with the first line that differs, or records got with -update.
func compare(t *testing.T, got, file string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(end)"
		}
		if line(gotLines) != line(wantLines) {
			t.Fatalf("%s:%d: got\n\t%s\nZooKeeper says\n\t%s\noutput around it:\n%s", path, i+1, line(gotLines), line(wantLines),
				strings.Join(gotLines[max(0, i-8):min(len(gotLines), i+8)], "\n"))
		}
	}
}

func TestZkCliScript(t *testing.T) {
	script, err := os.ReadFile("testdata/zkcli.script")
	if err != nil {
		t.Fatal(err)
	}
	onEachShape(t, func(t *testing.T, addr string) {
		compare(t, zkprocess.ZkCliScript(t, addr, string(script)), "zkcli.expected")
	})
}

// TestZkCliExitCodes runs single commands as shell scripts do, which look at
// nothing but the exit code and stderr.
func TestZkCliExitCodes(t *testing.T) {
	addr := zkprocess.Start(t, program(t), 1)[0].Addr()
	for _, c := range []struct {
		args   string
		exit   int
		stdout string // a line of it
		stderr string // part of it
	}{
		{"ls /", 0, "[zookeeper]", ""},
		{"create /x data", 0, "", "Created /x\n"}, // on stderr, as zkCli does
		{"create /x data", 1, "", "Node already exists: /x\n"},
		{"get /x", 0, "data", ""},
		{"get /nope", 1, "", "Node does not exist: /nope\n"},
		{"set -v 9 /x data", 1, "", "version No is not valid : /x\n"},
		{"delete /x", 0, "", ""},
		{"nonsense", 127, "", "Command not found nonsense\n"},
	} {
		stdout, stderr, exit := zkprocess.ZkCliOnce(t, addr, strings.Fields(c.args)...)
		if exit != c.exit {
			t.Errorf("zkCli %s: exit code %d, want %d; stderr: %s", c.args, exit, c.exit, stderr)
		}
		if c.stdout != "" && !strings.Contains(stdout, "\n"+c.stdout+"\n") {
			t.Errorf("zkCli %s: stdout %q, want the line %q", c.args, stdout, c.stdout)
		}
		if !strings.Contains(stderr, c.stderr) {
			t.Errorf("zkCli %s: stderr %q, want %q in it", c.args, stderr, c.stderr)
		}
	}
}

func TestKazooSmoke(t *testing.T) {
	onEachShape(t, func(t *testing.T, addr string) {
		compare(t, run(t, exec.Command(zkprocess.Python(t), "python/smoke.py", addr)), "kazoo.expected")
	})
}

// run returns what cmd printed on stdout and fails the test unless it exits 0.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", filepath.Base(cmd.Path), err, out, stderr.String())
	}
	return string(out)
}
