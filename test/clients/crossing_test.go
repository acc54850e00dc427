//go:build clients

package clients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// A crossing program runs all operations of one client and checks the answers:
//
//	operations HOSTS                   once, against HOSTS
//	crossing SURVIVORS VICTIM-FIRST    round by round, while a server is killed
//
// The hosts of both lists are all three of an ensemble, and the client takes the
// first that answers. In a crossing there are two sorts of sessions. Those at
// SURVIVORS run the rounds: a lost connection or an answer that is an error
// fails a check. The one at VICTIM-FIRST, the orphan, has ephemerals, an identity and
// watches of each kind, and sets a counter without a pause. It must lose one
// answer at most, find its session at another server, and get each watch event
// once: those of changes made while it looked for a server, and those of
// changes after that.
//
// The program prints "round N" after each round. When it reads a line from
// stdin, the address of the victim that is back, it runs one more round, checks
// the orphan, prints the zxids of a create in its first and in its last round
// ("zxids A B", hexadecimal), and exits with 0 if all was well.
type crossing struct {
	program []string
	more    []string // arguments behind the hosts
}

func (c crossing) command(ctx context.Context, args ...string) *exec.Cmd {
	args = slices.Concat(c.program[1:], args, c.more)
	return exec.CommandContext(ctx, c.program[0], args...)
}

// serverLines are what the programs need beyond the usual configuration.
var serverLines = []string{"extendedTypesEnabled=true", "enforceQuota=true"}

func (c crossing) test(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		addr := zkprocess.Start(t, program(t), 1, serverLines...)[0].Addr()
		run(t, c.command(t.Context(), "operations", addr))
	})
	t.Run("leader killed", func(t *testing.T) { crossKill(t, c) })
}

// crossKill kills the leader in the middle of programs, which run side by side.
// A real ZooKeeper would close every connection at that, so there a follower is
// killed: what the orphan sees is the same.
func crossKill(t *testing.T, programs ...crossing) {
	for range 3 {
		if killed(t, programs) {
			return
		}
		t.Log("the victim lost its role before it was killed: once more")
	}
	t.Fatal("no role lasted for a round")
}

// killed reports false when the victim's role was another's at the end of the
// first round, as may happen on a busy machine.
func killed(t *testing.T, programs []crossing) bool {
	servers := zkprocess.Start(t, program(t), 3, serverLines...)
	role := "leader"
	if againstZooKeeper() {
		role = "follower"
	}
	var victim *zkprocess.Server
	var survivors []*zkprocess.Server
	for _, s := range servers {
		if victim == nil && s.Mode() == role {
			victim = s
		} else {
			survivors = append(survivors, s)
		}
	}
	if victim == nil {
		t.Fatal("nobody to kill")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	list := func(order ...*zkprocess.Server) string {
		return fmt.Sprintf("%s,%s,%s", order[0].Addr(), order[1].Addr(), order[2].Addr())
	}
	var running []started
	for _, c := range programs {
		running = append(running, start(t, c.command(ctx, "crossing", list(survivors[0], survivors[1], victim), list(victim, survivors[0], survivors[1]))))
	}
	for _, p := range running {
		awaitLine(t, p.said, "round 1")
	}
	time.Sleep(rand.N(400 * time.Millisecond)) // anywhere in a round
	if victim.Mode() != role {
		return false
	}
	victim.Kill()
	await(t, "the others have a leader", func() bool {
		return survivors[0].Mode() == "leader" || survivors[1].Mode() == "leader"
	})
	if err := victim.Run(); err != nil {
		t.Fatal(err)
	}
	await(t, "the killed server is back", func() bool { return victim.Mode() != "" })
	for _, p := range running {
		if _, err := fmt.Fprintln(p.stdin, victim.Addr()); err != nil {
			t.Errorf("tell the program to end: %v", err) // what it says will tell why
		}
	}
	for _, p := range running {
		p.mustHaveCrossed(t)
	}
	return true
}

// mustHaveCrossed reads the rest of what a program says, and wants it to be all well.
func (p started) mustHaveCrossed(t *testing.T) {
	t.Helper()
	var before, after int64
	for line := range p.said {
		if !strings.HasPrefix(line, "round ") {
			t.Log(line)
		}
		_, _ = fmt.Sscanf(line, "zxids %x %x", &before, &after) // zero without such a line
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", strings.Join(p.cmd.Args, " "), err)
	}
	if before == 0 || after == 0 {
		t.Fatal("no line with zxids")
	}
	if crossed := before>>32 < after>>32; crossed == againstZooKeeper() {
		t.Fatalf("first write at zxid %#x, last at %#x: the program crossed a change of leader: %v", before, after, crossed)
	}
}

// started is a program that runs. The lines that it prints come from said, which
// is closed at their end.
type started struct {
	cmd   *exec.Cmd
	said  <-chan string
	stdin io.Writer
}

// start runs cmd in the background, until the test ends.
func start(t *testing.T, cmd *exec.Cmd) started {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000) // more than a program says
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means it is gone
		for range lines {      // until the pipe is at its end
		}
		_ = cmd.Wait() // it was killed, or has been waited for
	})
	return started{cmd, lines, stdin}
}

func awaitLine(t *testing.T, said <-chan string, want string) {
	t.Helper()
	for line := range said {
		if line == want {
			return
		}
		t.Log(line)
	}
	t.Fatalf("the program ended before it said %q", want)
}

// TestJava compares what all operations of the Java client answer, before,
// while and after the leader dies, with what a ZooKeeper answered.
func TestJava(t *testing.T) {
	classes := t.TempDir()
	sources, err := filepath.Glob("java/src/*.java")
	if err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("javac", append([]string{"-nowarn", "-proc:none", "-cp", zkprocess.Classpath(t), "-d", classes}, sources...)...))
	java := []string{"java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes + ":" + zkprocess.Classpath(t), "Crossing"}
	t.Run("alone", func(t *testing.T) {
		addr := zkprocess.Start(t, program(t), 1, serverLines...)[0].Addr()
		compare(t, run(t, crossing{program: java}.command(t.Context(), "operations", addr)), "java.expected")
	})
	t.Run("leader killed", func(t *testing.T) { crossKill(t, crossing{program: java, more: []string{"testdata/java.expected"}}) })
}

func TestC(t *testing.T) {
	program := filepath.Join(t.TempDir(), "crossing")
	sources, err := filepath.Glob("c/*.c")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-DTHREADED", "-o", program}, sources...)
	run(t, exec.Command("gcc", append(args, "-lzookeeper_mt")...))
	crossing{program: []string{program}}.test(t)
}

func TestNode(t *testing.T) {
	t.Setenv("NODE_PATH", zkprocess.NodeModules(t))
	crossing{program: []string{"node", "node/crossing.js"}}.test(t)
}
