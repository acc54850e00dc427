//go:build deploy

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
)

// image is the tag of the image under test.
const image = "coordd:test"

// engine starts dockerd and builds the image, once. The engine ends with the
// namespaces.
var engine = sync.OnceValue(func() error {
	work := os.Getenv(workVar)
	log, err := os.Create(filepath.Join(work, "dockerd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--data-root", work+"/data", "--exec-root", work+"/exec",
		"--host", "unix://"+work+"/sock", "--pidfile", work+"/pid")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	deadline := time.Now().Add(30 * time.Second)
	for exec.Command("docker", "version").Run() != nil {
		select {
		case err := <-exited:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("dockerd ended: %w\n%s", err, text)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("dockerd does not answer after 30 s\n%s", text)
		}
	}
	out, err := exec.Command("../../deploy/docker/build.sh", os.Getenv("COORDD_BIN"), image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the image: %w\n%s", err, out)
	}
	return nil
})

func needEngine(t *testing.T) {
	t.Helper()
	zkprocess.Coordd(t)
	if err := engine(); err != nil {
		t.Fatal(err)
	}
}

// run runs a program that must succeed, and returns its stdout without blanks
// around it.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "docker", args...)
}

// container runs the image under a name, detached, and removes it with the
// test. Should the test fail, the log of its server is in the test's.
func container(t *testing.T, name string, args ...string) {
	t.Helper()
	docker(t, append([]string{"run", "--detach", "--name", name}, args...)...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			t.Logf("log of %s:\n%s", name, out)
		}
		docker(t, "rm", "--force", name)
	})
}

// within tries again until it works, at most for limit.
func within(t *testing.T, limit time.Duration, what string, attempt func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := attempt()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// dial opens a session, as soon as the server at addr serves, that ends with the
// test.
func dial(t *testing.T, addr string) *zkclient.Client {
	t.Helper()
	var c *zkclient.Client
	within(t, 20*time.Second, "session at "+addr, func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err = zkclient.Dial(ctx, addr, zkclient.Options{Timeout: 10 * time.Second})
		return err
	})
	t.Cleanup(c.HangUp)
	return c
}

// wantData fails the test unless a node at addr has this data after a sync.
func wantData(t *testing.T, addr, path, want string) {
	t.Helper()
	c := dial(t, addr)
	if err := c.Sync(path); err != nil {
		t.Fatalf("sync at %s: %v", addr, err)
	}
	data, _, err := c.Get(path, false)
	if err != nil || string(data) != want {
		t.Fatalf("%s at %s: %q, %v; want %q", path, addr, data, err, want)
	}
}

// killed reports whether err is of a process that ended by this signal.
func killed(err error, signal syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}
