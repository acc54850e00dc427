//go:build deploy

package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// workVar is set inside the namespaces: a folder that is removed when they are
// gone.
const workVar = "COORDD_DEPLOY_WORK"

func TestMain(m *testing.M) {
	if os.Getenv(workVar) == "" {
		code, err := runIsolated()
		if err != nil {
			fmt.Fprintln(os.Stderr, "test/deploy:", err)
			code = 1
		}
		os.Exit(code)
	}
	if err := settleIn(); err != nil {
		fmt.Fprintln(os.Stderr, "test/deploy: set namespaces up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runIsolated runs this test program in namespaces of its own and returns its
// exit code. The kernel ends every process in there with it.
func runIsolated() (int, error) {
	// Pdeathsig is about the thread that starts the process.
	runtime.LockOSThread()
	work, err := os.MkdirTemp("", "coordd-deploy-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(program, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A caller's engine is not this one.
	cmd.Env = append(os.Environ(), workVar+"="+work, "DOCKER_HOST=unix://"+work+"/sock", "DOCKER_CONTEXT=", "DOCKER_CONFIG="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("start in namespaces of its own, which takes root: %w", err)
	}
	return 0, nil
}

// settleIn makes /proc and the loopback interface those of the namespaces.
func settleIn() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
