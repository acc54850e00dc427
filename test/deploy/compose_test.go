//go:build deploy

package deploy

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// serving is how long a server may take until it serves, on a busy machine.
const serving = 20 * time.Second

// compose runs a command of the plugin, or of the older program where that is
// missing, on deploy/docker/compose.yaml.
func compose(t *testing.T, args ...string) string {
	t.Helper()
	program := []string{"docker-compose"}
	if exec.Command("docker", "compose", "version").Run() == nil {
		program = []string{"docker", "compose"}
	}
	program = append(program, "--file", "../../deploy/docker/compose.yaml", "--project-name", "deploy")
	return run(t, program[0], append(program[1:], args...)...)
}

// addrs are where the compose file has the clients connect.
var addrs = []string{"127.0.0.1:2181", "127.0.0.1:2182", "127.0.0.1:2183"}

func TestCompose(t *testing.T) {
	needEngine(t)
	t.Setenv("COORDD_IMAGE", image)
	compose(t, "up", "--detach")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(compose(t, "logs", "--no-color"))
		}
		compose(t, "down", "--volumes")
		for _, left := range []string{
			docker(t, "ps", "--all", "--quiet"), docker(t, "volume", "ls", "--quiet", "--filter", "label=com.docker.compose.project=deploy"),
			docker(t, "network", "ls", "--quiet", "--filter", "label=com.docker.compose.project=deploy"),
		} {
			if left != "" {
				t.Errorf("left behind: %s", left)
			}
		}
	})

	for i, addr := range addrs {
		path := fmt.Sprintf("/by-%d", i+1)
		if _, err := dial(t, addr).Create(path, []byte(addr), protocol.Persistent, protocol.WorldAnyone); err != nil {
			t.Fatalf("create %s at %s: %v", path, addr, err)
		}
	}
	for _, addr := range addrs {
		wantData(t, addr, "/by-1", addrs[0])
		wantData(t, addr, "/by-3", addrs[2])
	}
	ids := make([]string, len(addrs))
	leader := -1
	for i := range addrs {
		ids[i] = docker(t, "ps", "--quiet", "--filter", fmt.Sprintf("label=com.docker.compose.service=coordd%d", i+1))
		within(t, serving, "healthy", func() error {
			health, err := try("docker", "inspect", "--format", "{{.State.Health.Status}}", ids[i])
			if err == nil && health != "healthy" {
				err = errors.New(health)
			}
			return err
		})
		switch mode := mode(ids[i]); mode {
		case "leader":
			leader = i
		case "follower":
		default:
			t.Errorf("coordd%d is a %q", i+1, mode)
		}
	}
	if leader < 0 {
		t.Fatal("no server leads")
	}

	// The leader's container dies: a session at a follower goes on, without an
	// error and with its connection.
	c := dial(t, addrs[(leader+1)%len(addrs)])
	docker(t, "kill", ids[leader])
	if _, err := c.Set("/by-1", []byte("without the leader"), protocol.AnyVersion); err != nil {
		t.Fatalf("set after the leader's end: %v", err)
	}
	docker(t, "start", ids[leader])
	within(t, serving, "back", func() error {
		if m := mode(ids[leader]); m != "follower" {
			return fmt.Errorf("mode %q", m)
		}
		return nil
	})
	wantData(t, addrs[leader], "/by-1", "without the leader")

	// All stop, one after the other and the last one alone, before the engine
	// loses patience and kills them, which is exit code 137.
	docker(t, append([]string{"stop"}, ids...)...)
	if codes := docker(t, append([]string{"inspect", "--format", "{{.State.ExitCode}}"}, ids...)...); codes != "0\n0\n0" {
		t.Errorf("exit codes %q", codes)
	}
	docker(t, append([]string{"start"}, ids...)...)
	for _, addr := range addrs {
		wantData(t, addr, "/by-1", "without the leader")
	}
}

// mode is what the status command says in a container, "" while it does not
// serve.
func mode(id string) string {
	status, err := try("docker", "exec", id, "/coordd", "status", "--env")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(status, "Mode: ")
	mode, _, _ := strings.Cut(rest, "\n")
	return mode
}
