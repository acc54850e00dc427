package zkprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// isolatedVar is set inside the namespaces of Isolate: a folder that is removed
// when they are gone.
const isolatedVar = "COORDD_TEST_WORK"

// Isolate is a TestMain that runs the tests in network, mount and process
// namespaces of their own: networks, mounts and processes that they leave behind
// are gone with them, however they end. It takes root. env adds to the
// environment in there, where the folder work is, too: it has what the tests put
// into temporary folders, and is removed with the rest.
func Isolate(m *testing.M, env func(work string) []string) {
	if os.Getenv(isolatedVar) == "" {
		code, err := runIsolated(env)
		if err != nil {
			fmt.Fprintln(os.Stderr, "run the tests in namespaces:", err)
			code = 1
		}
		os.Exit(code)
	}
	if err := settleIn(); err != nil {
		fmt.Fprintln(os.Stderr, "set the namespaces up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runIsolated runs this test program in namespaces of its own and returns its
// exit code. The kernel ends every process in there with it.
func runIsolated(env func(work string) []string) (int, error) {
	// Pdeathsig is about the thread that starts the process.
	runtime.LockOSThread()
	work, err := os.MkdirTemp("", "coordd-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	cmd := exec.CommandContext(ctx, program, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(append(os.Environ(), isolatedVar+"="+work, "TMPDIR="+work), env(work)...)
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
	return InterfaceUp("lo")
}

// InterfaceUp brings a network interface of this thread's namespace up.
func InterfaceUp(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(socket)
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	device.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, device); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
