//go:build deploy

package deploy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

const unitFile = "../../deploy/systemd/coordd.service"

// TestUnit has systemd-analyze judge the unit; every remark of it counts.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	const installed = "ExecStart=/usr/local/bin/coordd "
	if !strings.Contains(string(text), installed) {
		t.Fatalf("no line %s", installed)
	}
	// It wants the program to exist.
	unit := filepath.Join(t.TempDir(), "coordd.service")
	here := strings.Replace(string(text), installed, "ExecStart="+zkprocess.Coordd(t)+" ", 1)
	if err := os.WriteFile(unit, []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// In tenths; 1.4 with systemd 252. An unconfined service has 9.6.
	out, err = exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestPanicIsNoWrongConfiguration: systemd must not take a crash, which Go ends
// with 2, for the exit code after which it does not start coordd again.
func TestPanicIsNoWrongConfiguration(t *testing.T) {
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	var environment []string
	for line := range strings.Lines(string(text)) {
		if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment="); ok {
			environment = append(environment, setting)
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(config, []byte("dataDir="+dir+"/data\nclientPort=2381\nadmin.enableServer=false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(zkprocess.Coordd(t), "start", "--config", config)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Dir = dir // of a core file
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "started") {
	}
	// Go's runtime ends by it as it does after a panic.
	if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); !killed(err, syscall.SIGABRT) {
		t.Errorf("a crash ends with %v, want SIGABRT", err)
	}
}
