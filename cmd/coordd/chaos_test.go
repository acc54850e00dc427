package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// chaosAt runs the command and gives what it printed.
func chaosAt(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	app := &cli.App{Writer: &out, Commands: []*cli.Command{chaosCommand()}, ExitErrHandler: func(*cli.Context, error) {}}
	err := app.Run(append([]string{"coordd", "chaos"}, args...))
	return out.String(), err
}

func startAlone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	port := zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
	runFile(t, dir, fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPort=%d\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n", dir, port))
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// mustBeEmpty checks that nothing was left behind.
func mustBeEmpty(t *testing.T, addr string) {
	t.Helper()
	c, err := zkclient.Dial(t.Context(), addr, zkclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if names, _, err := c.Children("/", false); err != nil || len(names) != 1 || names[0] != "zookeeper" {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

func TestChaosChecks(t *testing.T) {
	addr := startAlone(t)
	out, err := chaosAt(t, "--servers", addr, "--duration", "2s", "--root", "/a/b/load", "--timeout", "2s")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !regexp.MustCompile(`(?m)^fault +rounds +ok, failed, unknown `).MatchString(out) || !regexp.MustCompile(`(?m)^none +1 +\d{3,}, 0, 0 `).MatchString(out) || !strings.Contains(out, ", 0 violations\n") {
		t.Errorf("printed\n%s", out)
	}
	mustBeEmpty(t, addr)
}

// Faults are done, taken back, and measured one by one.
func TestChaosFaults(t *testing.T) {
	addr := startAlone(t)
	trace := filepath.Join(t.TempDir(), "trace")
	out, err := chaosAt(t, "--servers", addr, "--duration", "3s", "--every", "1s", "--lasts", "300ms", "--timeout", "2s",
		"--fault", "one=echo broken {host} {server}, >>"+trace, "--heal", "one=echo healed {leader} >>"+trace,
		"--fault", "two=echo broken {leader} {server}, >>"+trace, "--heal", "two=echo healed {host} >>"+trace)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, _ := os.ReadFile(trace)
	if want := strings.Repeat("broken 127.0.0.1 "+addr+",\nhealed 127.0.0.1\n", 3); string(text) != want {
		t.Errorf("did %q, want %q", text, want)
	}
	rounds := 0
	for _, match := range regexp.MustCompile(`(?m)^(one|two) +(\d) +\d+, `).FindAllStringSubmatch(out, -1) {
		rounds += int(match[2][0] - '0')
	}
	if rounds != 3 {
		t.Errorf("%d rounds of 3 are told of:\n%s", rounds, out)
	}
	mustBeEmpty(t, addr)
}

// A command that fails ends the run, behind the heal.
func TestChaosFaultThatFails(t *testing.T) {
	addr := startAlone(t)
	trace := filepath.Join(t.TempDir(), "trace")
	_, err := chaosAt(t, "--servers", addr, "--duration", "2s", "--every", "1s", "--timeout", "2s", "--fault", "one=echo no such host; exit 3", "--heal", "one=echo healed >"+trace)
	if err == nil || !strings.Contains(err.Error(), "exit status 3\nno such host") {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile(trace); string(text) != "healed\n" {
		t.Errorf("not healed: %q", text)
	}
	mustBeEmpty(t, addr)
}

// Somebody who writes to the load's znodes is found out.
func TestChaosFindsViolations(t *testing.T) {
	addr := startAlone(t)
	done := make(chan error)
	go func() {
		c, err := zkclient.Dial(t.Context(), addr, zkclient.Options{})
		for deadline := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err := c.Set("/coordd-chaos/registers/0-1", []byte("by another hand"), protocol.AnyVersion); err == nil {
				break
			}
		}
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	out, err := chaosAt(t, "--servers", addr, "--duration", "2s", "--timeout", "2s")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var exit cli.ExitCoder
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "violations") {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(out, "linearizability: /coordd-chaos/registers/0-1: no order of its") {
		t.Errorf("printed\n%s", out)
	}
	mustBeEmpty(t, addr)
}

func TestChaosRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		`takes no argument "now"`:                        {"now"},
		"a:1 is there twice":                             {"--servers", "a:1,b:1,a:1"},
		`"a" is not HOST:PORT`:                           {"--servers", "a"},
		`--root: "/"`:                                    {"--root", "/"},
		`--root: "x"`:                                    {"--root", "x"},
		"--duration must be above 0":                     {"--duration", "0s"},
		"--clients must not be below 0":                  {"--clients", "-1"},
		`--fault: "kill" is not NAME=COMMAND`:            {"--fault", "kill"},
		`--fault: "kill= " is not NAME=COMMAND`:          {"--fault", "kill= "},
		"--fault: kill: there is no {hots}, only {host}": {"--fault", "kill=ssh {hots} reboot"},
		"--fault: kill is there twice":                   {"--fault", "kill=a", "--fault", "kill=b"},
		"--heal: there is no fault kill":                 {"--heal", "kill=b"},
		"--heal: kill is there twice":                    {"--fault", "kill=a", "--heal", "kill=b", "--heal", "kill=c"},
		"there is no --fault":                            {"--every", "1s"},
		"--lasts 30s must be below --every 30s":          {"--fault", "kill=a", "--lasts", "30s"},
		"--duration 20s is shorter than --every 30s":     {"--fault", "kill=a", "--duration", "20s"},
	} {
		out, err := chaosAt(t, args...)
		var exit cli.ExitCoder
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &exit) || exit.ExitCode() != exitInvalidArguments || out != "" {
			t.Errorf("%q: %v, want %s\n%s", args, err, want, out)
		}
	}
}

func TestChaosWithoutAServer(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", zkprocess.FreePorts(t, "127.0.0.1", 1)[0])
	_, err := chaosAt(t, "--servers", addr, "--timeout", "300ms", "--duration", "1s")
	if err == nil || !strings.Contains(err.Error(), "connect to "+addr) {
		t.Errorf("%v", err)
	}
}
