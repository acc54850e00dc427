//go:build suites

package suites

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// TestZkServerScript is about deploy/bin/zkServer.sh: what it prints, its exit
// codes and its pid file are those of ZooKeeper's script.
func TestZkServerScript(t *testing.T) {
	binary := zkprocess.Coordd(t)
	script, err := filepath.Abs("../../deploy/bin/zkServer.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	port := zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
	pidFile := filepath.Join(dir, "data", "zookeeper_server.pid")
	config := fmt.Sprintf("tickTime=2000\n dataDir = %s \nclientPort=%d\nadmin.enableServer=false\n", filepath.Dir(pidFile), port)
	if err := os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (stdout string, exitCode int) {
		var out, errs bytes.Buffer
		cmd := exec.Command(script, args...)
		cmd.Env = append(os.Environ(), "COORDD_BIN="+binary, "ZOOCFGDIR=/nowhere", "ZOO_LOG_DIR="+filepath.Join(dir, "logs"),
			"JVMFLAGS=-Xmx1g", "SERVER_JVMFLAGS=-Dx=y")
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the exit code tells
		for line := range strings.Lines(errs.String()) {
			if !strings.HasPrefix(line, "Using config: ") && !strings.HasPrefix(line, "cannot read") {
				t.Errorf("%v: noise on stderr: %s", args, line)
			}
		}
		return out.String(), cmd.ProcessState.ExitCode()
	}
	t.Cleanup(func() { run("--config", dir, "stop") })

	found := fmt.Sprintf("Client port found: %d. Client address: localhost. Client SSL: false.\n", port)
	for _, step := range []struct {
		command, stdout string
		exitCode        int
		running         bool
	}{
		{"status", found + "Error contacting service. It is probably not running.\n", 1, false},
		{"stop", "Stopping zookeeper ... no zookeeper to stop (could not find file " + pidFile + ")\n", 0, false},
		{"start", "Starting zookeeper ... STARTED\n", 0, true},
		{"status", found + "Mode: standalone\n", 0, true},
		{"start", "Starting zookeeper ... already running as process PID.\n", 1, true},
		{"restart", "Stopping zookeeper ... STOPPED\nStarting zookeeper ... STARTED\n", 0, true},
		{"status", found + "Mode: standalone\n", 0, true},
		{"stop", "Stopping zookeeper ... STOPPED\n", 0, false},
		{"print-cmd", binary + " start --config " + dir + "/zoo.cfg\n", 0, false},
	} {
		pid, _ := os.ReadFile(pidFile) // none while it does not run
		want := strings.ReplaceAll(step.stdout, "PID", strings.TrimSpace(string(pid)))
		stdout, exitCode := run("--config", dir, step.command)
		// As ZooKeeper's, start does not wait until the server serves.
		for deadline := time.Now().Add(time.Minute); step.command == "status" && exitCode != step.exitCode && time.Now().Before(deadline); {
			stdout, exitCode = run("--config", dir, step.command)
		}
		if stdout != want || exitCode != step.exitCode {
			t.Fatalf("%s: %q, exit code %d; want %q, %d", step.command, stdout, exitCode, want, step.exitCode)
		}
		if _, err := os.Stat(pidFile); (err == nil) != step.running {
			t.Fatalf("after %s: pid file: %v", step.command, err)
		}
	}
	if stdout, exitCode := run("--config", dir, "version"); !strings.HasPrefix(stdout, "coordd ") || exitCode != 0 {
		t.Errorf("version: %q, exit code %d", stdout, exitCode)
	}
	if stdout, exitCode := run("begin"); !strings.HasPrefix(stdout, "Usage: ") || exitCode != 1 {
		t.Errorf("begin: %q, exit code %d", stdout, exitCode)
	}
	if _, exitCode := run("start", filepath.Join(dir, "missing.cfg")); exitCode != 1 {
		t.Errorf("a configuration that is missing: exit code %d", exitCode)
	}
}
