//go:build deploy

package deploy

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

const zkCli = "../../deploy/bin/zkCli.sh"

// TestZkCli runs the script at a server, with the client's jars where a
// ZooKeeper's home or CLASSPATH has them.
func TestZkCli(t *testing.T) {
	server := zkprocess.Start(t, zkprocess.Coordd(t), 1)[0]
	classpath := zkprocess.Classpath(t) // the folder of logback.xml, then jars/*
	conf, jars, _ := strings.Cut(classpath, ":")
	home := t.TempDir()
	for name, target := range map[string]string{"lib": filepath.Dir(strings.TrimSpace(jars)), "conf": conf} {
		if err := os.Symlink(target, filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(home, "bin", "zkCli.sh")
	script, err := os.ReadFile(zkCli)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Dir(copied), 0o755), os.WriteFile(copied, script, 0o755)); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for _, tt := range []struct {
		name   string
		script string
		env    []string
		args   []string
		code   int
		stdout string // a line of it
		stderr string // part of it
	}{
		{"ZOOKEEPER_HOME", zkCli, []string{"ZOOKEEPER_HOME=" + home},
			[]string{"-server", server.Addr(), "ls", "/"}, 0, "[zookeeper]", ""},
		{"CLASSPATH", zkCli, []string{"CLASSPATH=" + jars, "ZOOCFGDIR=" + conf},
			[]string{"-timeout", "5000", "-server", server.Addr(), "create", "/a", "b c"}, 0, "", "Created /a"},
		{"beside a ZooKeeper's lib", copied, []string{"CLIENT_JVMFLAGS=-XX:+UseSerialGC -XX:TieredStopAtLevel=1"},
			[]string{"--config", conf, "-server", server.Addr(), "get", "/nope"}, 1, "", "Node does not exist: /nope"},
		{"no jars", zkCli, nil, []string{"ls", "/"}, 1, "", "set ZOOKEEPER_HOME"},
		{"wrong home", zkCli, []string{"ZOOKEEPER_HOME=" + empty}, []string{"ls", "/"}, 1, "", "no zookeeper-*.jar in " + empty + "/lib"},
		{"no Java", copied, []string{"PATH=" + empty}, []string{"ls", "/"}, 1, "", "no Java"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := exec.Command("/bin/bash", append([]string{tt.script}, tt.args...)...)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + empty}, tt.env...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("%v, want exit code %d\n%s%s", err, tt.code, stdout.Bytes(), stderr.Bytes())
			}
			if !strings.Contains("\n"+stdout.String(), "\n"+tt.stdout) {
				t.Errorf("stdout %q, want the line %q", stdout.String(), tt.stdout)
			}
			if !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stderr %q, want %q in it", stderr.String(), tt.stderr)
			}
		})
	}
}
