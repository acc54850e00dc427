//go:build deploy

package deploy

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
)

func TestImageHasTheBinaryAlone(t *testing.T) {
	needEngine(t)
	id := docker(t, "create", image)
	defer docker(t, "rm", id)
	cmd := exec.Command("docker", "export", id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	// What the engine puts into every container.
	engines := []string{".dockerenv", "dev", "etc", "proc", "sys"}
	var programs, folders []string
	for files := tar.NewReader(out); ; {
		h, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		top, _, _ := strings.Cut(h.Name, "/")
		switch {
		case slices.Contains(engines, top):
		case h.Typeflag == tar.TypeDir:
			folders = append(folders, fmt.Sprintf("%s %d:%d", strings.TrimSuffix(h.Name, "/"), h.Uid, h.Gid))
		default:
			programs = append(programs, fmt.Sprintf("%s %o", h.Name, h.Mode&0o777))
		}
	}
	slices.Sort(folders)
	if got := strings.Join(programs, ", "); got != "coordd 755" {
		t.Errorf("files: %s, want the binary alone", got)
	}
	if got := strings.Join(folders, ", "); got != "conf 1000:1000, data 1000:1000, datalog 1000:1000" {
		t.Errorf("folders: %s", got)
	}
	ports := docker(t, "image", "inspect", "--format", "{{range $port, $_ := .Config.ExposedPorts}}{{$port}} {{end}}", image)
	if ports != "2181/tcp 2888/tcp 3888/tcp 7000/tcp 8080/tcp" {
		t.Errorf("ports: %s", ports)
	}
}

// TestImageAlone is `docker run` as people do it with ZooKeeper's image.
func TestImageAlone(t *testing.T) {
	needEngine(t)
	const addr = "127.0.0.1:2181"
	options := []string{"--publish", "2181:2181", "--volume", "data:/data", "--volume", "datalog:/datalog"}
	container(t, "alone", append(options, image)...)
	if _, err := dial(t, addr).Create("/kept", []byte("one"), protocol.Persistent, protocol.WorldAnyone); err != nil {
		t.Fatal(err)
	}

	pid := docker(t, "inspect", "--format", "{{.State.Pid}}", "alone")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil || !strings.Contains(string(status), "\nUid:\t1000\t1000\t1000\t1000\n") {
		t.Errorf("the server is not user 1000: %v\n%s", err, status)
	}

	// What the engine runs as the image's HEALTHCHECK.
	check := strings.Fields(docker(t, "image", "inspect", "--format", "{{join .Config.Healthcheck.Test \" \"}}", image))
	if check[0] != "CMD" {
		t.Fatalf("HEALTHCHECK %q", check)
	}
	if answer := docker(t, append([]string{"exec", "alone"}, check[1:]...)...); !strings.Contains(answer, "Mode: standalone") {
		t.Errorf("HEALTHCHECK answers %q", answer)
	}

	docker(t, "restart", "alone")
	wantData(t, addr, "/kept", "one")

	// Another container takes the volumes over, as with a new image.
	docker(t, "rm", "--force", "alone")
	docker(t, append(append([]string{"run", "--detach", "--name", "alone"}, options...), image)...)
	wantData(t, addr, "/kept", "one")
	docker(t, "stop", "alone")
	if code := docker(t, "inspect", "--format", "{{.State.ExitCode}}", "alone"); code != "0" {
		t.Errorf("after docker stop: exit code %s", code)
	}
}

func TestImageTakesSettings(t *testing.T) {
	needEngine(t)
	dir := t.TempDir()
	mounted := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(mounted, []byte("dataDir=/data\nclientPort=2281\ntickTime=1500\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	writable := filepath.Join(dir, "data")
	// Other users than the test's write to it.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(writable, 0), os.Chmod(writable, 0o777)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string // lines of check-config
	}{
		{"variables", []string{
			"--env", "ZOO_TICK_TIME=1000", "--env", "ZOO_4LW_COMMANDS_WHITELIST=*",
			"--env", "ZOO_CFG_EXTRA=extendedTypesEnabled=true snapCount=500", image,
		}, []string{"tickTime=1000", "4lw.commands.whitelist=*", "extendedTypesEnabled=true", "snapCount=500"}},
		{"mounted", []string{
			"--env", "ZOO_TICK_TIME=1000", "--volume", mounted + ":/conf/zoo.cfg:ro", image,
		}, []string{"clientPort=2281", "tickTime=1500"}},
		{"locked down", []string{
			"--read-only", "--tmpfs", "/conf:uid=1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image,
		}, []string{"tickTime=2000"}},
		{"another user", []string{
			"--user", "4711", "--volume", mounted + ":/conf/zoo.cfg:ro",
			"--volume", writable + ":/data", "--volume", writable + ":/datalog", image,
		}, []string{"tickTime=1500"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			container(t, "settings", tt.args...)
			within(t, serving, "status", func() error {
				_, err := try("docker", "exec", "settings", "/coordd", "status", "--env")
				return err
			})
			explained := docker(t, "exec", "settings", "/coordd", "check-config", "--env")
			for _, line := range tt.want {
				if !strings.Contains(explained, " "+line+"\n") {
					t.Errorf("no line %s in\n%s", line, explained)
				}
			}
		})
	}
}

// TestImageRefuses starts containers that must not run, and say why.
func TestImageRefuses(t *testing.T) {
	needEngine(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"security", []string{"--env", "ZOO_CFG_EXTRA=secureClientPort=2281", image}, 2, "secureClientPort"},
		{"JVM flags", []string{"--env", "JVMFLAGS=-Dzookeeper.skipACL=yes", image}, 2, "put the key into ZOO_CFG_EXTRA"},
		{"not its directory", []string{"--tmpfs", "/data:mode=755", image}, 3, "ZOO_DATA_DIR"},
	} {
		cmd := exec.Command("docker", append([]string{"run", "--rm"}, tt.args...)...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.code || !strings.Contains(string(out), tt.says) {
			t.Errorf("%s: %v, want exit code %d and %q in\n%s", tt.name, err, tt.code, tt.says, out)
		}
	}
}
