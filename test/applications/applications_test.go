//go:build applications

package applications

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	realServers = flag.Bool("real", false, "run the applications on a real ZooKeeper ensemble, to test the tests and to compare times")
	logs        = flag.String("logs", "", "directory to keep the logs of the applications' programs in")
)

func TestMain(m *testing.M) {
	flag.Parse()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	// go test ends a run at its -timeout without any clean-up.
	tooLong := make(<-chan time.Time)
	if d := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); d > 0 {
		tooLong = time.After(d - 5*time.Second)
	}
	go func() {
		select {
		case <-interrupted:
		case <-tooLong:
			fmt.Println("the run takes too long: ending its processes")
		}
		killAll()
		os.Exit(1)
	}()
	code := m.Run()
	printTimes()
	os.Exit(code)
}

// running has a function for every process under way that ends it and all it
// started.
var running = struct {
	sync.Mutex
	kill map[any]func()
}{kill: map[any]func(){}}

// killAll leaves the lock held: nothing is to start any more.
func killAll() {
	running.Lock()
	for _, kill := range running.kill {
		kill()
	}
}

// zoo is the three servers that an application runs on, with tickTime 2000.
type zoo struct {
	servers []*zkprocess.Server
}

func startZoo(t *testing.T) *zoo {
	t.Helper()
	binary := ""
	if *realServers {
		binary = zkprocess.ZooKeeper(t)
	} else {
		binary = zkprocess.Coordd(t)
	}
	z := &zoo{servers: zkprocess.Start(t, binary, 3)}
	running.Lock()
	defer running.Unlock()
	for _, s := range z.servers {
		running.kill[s] = s.Kill
	}
	return z
}

// connect is the connect string, host:port,host:port,host:port.
func (z *zoo) connect() string {
	var addrs []string
	for _, s := range z.servers {
		addrs = append(addrs, s.Addr())
	}
	return strings.Join(addrs, ",")
}

// leader is the server that leads.
func (z *zoo) leader(t *testing.T) *zkprocess.Server {
	t.Helper()
	var leader *zkprocess.Server
	eventually(t, patience, "a leader of the three servers", func() error {
		for _, s := range z.servers {
			if s.Mode() == "leader" {
				leader = s
				return nil
			}
		}
		return errors.New("no server says `Mode: leader`")
	})
	return leader
}

// revive starts a killed server again and returns once it serves.
func (z *zoo) revive(t *testing.T, s *zkprocess.Server) {
	t.Helper()
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, fmt.Sprintf("server %d serves again", s.ID), func() error {
		if s.Mode() == "" {
			return errors.New("it does not answer srvr")
		}
		return nil
	})
}

// eventually waits until check reports no error, and fails the test if that takes
// longer than timeout.
func eventually(t *testing.T, timeout time.Duration, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s: %v", timeout, what, err)
		}
	}
}

// install brings an application onto this machine, and returns its directory in
// the cache.
func install(t *testing.T, application string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("./install.sh", application)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("install %s: %v\n%s", application, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// classPath is that of an application from Maven Central, behind the given
// directories.
func classPath(t *testing.T, application string, before ...string) string {
	t.Helper()
	return strings.Join(append(before, filepath.Join(install(t, application), "jars", "*")), ":")
}

// measured is a row of the table that ends the run.
type measured struct {
	application, event string
	peace, killed      time.Duration // 0: not measured
}

var times struct {
	sync.Mutex
	rows []*measured
}

// report adds a time to the table. killed says that the servers' leader was
// killed as well.
func report(t *testing.T, application, event string, killed bool, took time.Duration) {
	t.Helper()
	took = took.Round(time.Millisecond)
	with := "in peace"
	if killed {
		with = "servers' leader killed"
	}
	t.Logf("%s, %s, %s: %v", application, event, with, took)
	times.Lock()
	defer times.Unlock()
	var row *measured
	for _, r := range times.rows {
		if r.application == application && r.event == event {
			row = r
		}
	}
	if row == nil {
		row = &measured{application: application, event: event}
		times.rows = append(times.rows, row)
	}
	if killed {
		row.killed = took
	} else {
		row.peace = took
	}
}

func printTimes() {
	times.Lock()
	defer times.Unlock()
	if len(times.rows) == 0 {
		return
	}
	servers := "coordd"
	if *realServers {
		servers = "ZooKeeper 3.9.4"
	}
	cell := func(d time.Duration) string {
		if d == 0 {
			return "-"
		}
		return d.String()
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nOn three servers, %s:\n", servers)
	fmt.Fprintln(w, "application\tevent\tin peace\tservers' leader killed")
	for _, r := range times.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.application, r.event, cell(r.peace), cell(r.killed))
	}
	w.Flush()
}
