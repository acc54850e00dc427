//go:build applications

package applications

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// command is a program of an application and how it is started; it can be
// started again.
type command struct {
	name string   // of its log
	dir  string   // where it runs; "" is a directory of the test's own
	env  []string // added to the test's own
	argv []string
}

// java is the argv of a Java program, whose main class may be a source file. Hadoop
// looks into classes of the JDK; both Hadoop and HBase log by log4j.
func java(classPath string, options []string, main string, args ...string) []string {
	argv := []string{"java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j.configuration=file:" + absolute("log4j.properties")}
	for _, open := range []string{"lang", "lang.reflect", "io", "net", "nio", "util", "util.concurrent", "math", "text"} {
		argv = append(argv, "--add-opens=java.base/java."+open+"=ALL-UNNAMED")
	}
	argv = append(argv, "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED")
	argv = append(argv, options...)
	argv = append(argv, "-cp", classPath, main)
	return append(argv, args...)
}

// absolute is the path of a file of this folder, for a program that runs elsewhere.
func absolute(file string) string {
	path, err := filepath.Abs(file)
	if err != nil {
		panic(err) // this process has lost its working directory
	}
	return path
}

// program is a process under way, the first of a process group of its own.
type program struct {
	name   string
	log    string // path of what it wrote to stderr, and to stdout unless that is piped
	stdin  io.WriteCloser
	stdout io.ReadCloser // of startPiped
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone, and err is set
	err    error
	ended  sync.Once // by kill
}

// start starts the program. It ends with the test, and with it all of its group.
func (c command) start(t *testing.T) *program {
	t.Helper()
	return c.launch(t, false)
}

// startPiped starts a program that the test talks with.
func (c command) startPiped(t *testing.T) *program {
	t.Helper()
	return c.launch(t, true)
}

func (c command) launch(t *testing.T, piped bool) *program {
	t.Helper()
	dir := *logs
	if dir == "" {
		dir = t.TempDir()
	}
	p := &program{name: c.name, log: filepath.Join(dir, c.name+".log"), exited: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("open log of %s: %v", c.name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(c.argv[0], c.argv[1:]...)
	p.cmd.Stderr = log
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.cmd.Dir = c.dir; c.dir == "" {
		p.cmd.Dir = t.TempDir()
	}
	var theirs *os.File // the program's end of stdout
	if piped {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			t.Fatalf("start %s: %v", c.name, err)
		}
		if p.stdout, theirs, err = os.Pipe(); err != nil {
			t.Fatalf("start %s: %v", c.name, err)
		}
		defer theirs.Close()
		p.cmd.Stdout = theirs
	} else {
		p.cmd.Stdout = log
	}
	running.Lock() // for good after killAll: nothing starts then
	if err = p.cmd.Start(); err == nil {
		running.kill[p] = p.signalAll
	}
	running.Unlock()
	if err != nil {
		t.Fatalf("start %s: %v", c.name, err)
	}
	t.Cleanup(func() {
		p.kill()
		if p.stdout != nil {
			_ = p.stdout.Close() // it was only read
		}
		if t.Failed() {
			t.Logf("%s, end of its log:\n%s", p.name, tail(p.log))
		}
	})
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p
}

// run runs the program to its end and returns what it printed. Another exit code
// than 0 fails the test.
func (c command) run(t *testing.T, timeout time.Duration) string {
	t.Helper()
	out, err := c.try(t, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// try is run for a program that may fail.
func (c command) try(t *testing.T, timeout time.Duration) (string, error) {
	t.Helper()
	p := c.launch(t, true)
	_ = p.stdin.Close() // it gets no input
	var out bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&out, p.stdout)
		read <- err
	}()
	select {
	case <-p.exited:
	case <-time.After(timeout):
		p.kill()
		return "", fmt.Errorf("%s: %s did not end within %v", c.name, strings.Join(c.argv[max(0, len(c.argv)-4):], " "), timeout)
	}
	p.kill() // what it started, which may hold the pipe
	if err := <-read; err != nil {
		return "", fmt.Errorf("read what %s printed: %w", c.name, err)
	}
	if p.err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", c.name, p.err, out.String(), tail(p.log))
	}
	return out.String(), nil
}

// signalAll ends the program and all it started as kill -9 does.
func (p *program) signalAll() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // an error means all are gone
}

// kill is signalAll, and returns when the program is gone.
func (p *program) kill() {
	p.ended.Do(p.signalAll)
	<-p.exited
	running.Lock()
	delete(running.kill, p)
	running.Unlock()
}

// alive fails the test if the program has ended.
func (p *program) alive(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
		t.Fatalf("%s has ended: %v", p.name, p.err)
	default:
	}
}

// listens waits until the program accepts connections at addr.
func (p *program) listens(t *testing.T, addr string) {
	t.Helper()
	eventually(t, patience, p.name+" accepts connections", func() error {
		p.alive(t)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// tail is the end of a log.
func tail(file string) []byte {
	log, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return log[max(0, len(log)-6000):]
}
