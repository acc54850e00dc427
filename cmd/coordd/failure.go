package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
)

// The exit codes of org.apache.zookeeper.server.ExitCode that apply here.
const (
	exitUnexpected       = 1
	exitInvalidArguments = 2
	exitDataDir          = 3
	exitServerFault      = 10
	exitServerPort       = 14
)

// startFailure gives an error of server.Start the exit code that ZooKeeper has
// for it, and says what to do.
func startFailure(err error, cfg *config.Config) error {
	var port *net.OpError
	if errors.As(err, &port) && port.Op == "listen" {
		code, lines := exitServerPort, fmt.Sprintf("the line server.%d", cfg.MyID)
		if tcp, ok := port.Addr.(*net.TCPAddr); ok && tcp.Port == cfg.ClientPort {
			code, lines = exitUnexpected, "clientPort and clientPortAddress"
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%w: another process has this port: stop it, or change %s", err, lines)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			err = fmt.Errorf("%w: this machine does not have the address: change %s", err, lines)
		default:
			err = fmt.Errorf("%w: check %s", err, lines)
		}
		return cli.Exit(err, code)
	}
	var path *fs.PathError
	if errors.As(err, &path) && ofDirectory(path.Path, cfg) {
		return cli.Exit(fmt.Errorf("%w: make the directory, or let this user write to it (dataDir, dataLogDir)", err), exitDataDir)
	}
	return cli.Exit(err, exitUnexpected)
}

// ofDirectory reports whether path is a data directory, one above it, or the
// lock in it: what stands in the way before anything is read.
func ofDirectory(path string, cfg *config.Config) bool {
	for _, dir := range []string{cfg.DataDir, cfg.DataLogDir} {
		if strings.HasPrefix(dir, path) || path == dir+"/coordd.lock" {
			return true
		}
	}
	return false
}
