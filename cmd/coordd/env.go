package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// envFlag lets a container be told by environment variables what it is. An
// image without a shell cannot do that in a script.
func envFlag() cli.Flag {
	return &cli.BoolFlag{Name: "env", Usage: "instead of --config, zoo.cfg in ZOO_CONF_DIR; start first writes it from the ZOO_ variables of ZooKeeper's Docker image, and myid, where they are missing"}
}

// getenv looks up an environment variable; "" is the same as not set.
type getenv func(name string) string

// or is the value of a variable, or what the image of ZooKeeper 3.9 has for it.
func (env getenv) or(name, otherwise string) string {
	if value := env(name); value != "" {
		return value
	}
	return otherwise
}

// configFile is where --env expects or writes the configuration.
func (env getenv) configFile() string {
	return filepath.Join(env.or("ZOO_CONF_DIR", "/conf"), "zoo.cfg")
}

// zooCfg is the text that docker-entrypoint.sh of the image zookeeper:3.9
// writes for the same variables.
func (env getenv) zooCfg() string {
	var b strings.Builder
	for _, line := range []struct{ key, variable, otherwise string }{
		{"dataDir", "ZOO_DATA_DIR", "/data"},
		{"dataLogDir", "ZOO_DATA_LOG_DIR", "/datalog"},
		{"tickTime", "ZOO_TICK_TIME", "2000"},
		{"initLimit", "ZOO_INIT_LIMIT", "5"},
		{"syncLimit", "ZOO_SYNC_LIMIT", "2"},
		{"autopurge.snapRetainCount", "ZOO_AUTOPURGE_SNAPRETAINCOUNT", "3"},
		{"autopurge.purgeInterval", "ZOO_AUTOPURGE_PURGEINTERVAL", "0"},
		{"maxClientCnxns", "ZOO_MAX_CLIENT_CNXNS", "60"},
		{"standaloneEnabled", "ZOO_STANDALONE_ENABLED", "true"},
		{"admin.enableServer", "ZOO_ADMINSERVER_ENABLED", "true"},
	} {
		fmt.Fprintf(&b, "%s=%s\n", line.key, env.or(line.variable, line.otherwise))
	}
	for _, member := range strings.Fields(env.or("ZOO_SERVERS", "server.1=localhost:2888:3888;2181")) {
		fmt.Fprintln(&b, member)
	}
	if words := env("ZOO_4LW_COMMANDS_WHITELIST"); words != "" {
		fmt.Fprintf(&b, "4lw.commands.whitelist=%s\n", words)
	}
	for _, line := range strings.Fields(env("ZOO_CFG_EXTRA")) {
		fmt.Fprintln(&b, line)
	}
	return b.String()
}

// jvmSetting returns the first flag for a JVM that would change what a
// ZooKeeper does, "" without one. Others, such as -Xmx, have nothing to act on.
func (env getenv) jvmSetting() string {
	for _, flag := range strings.Fields(env("JVMFLAGS") + " " + env("SERVER_JVMFLAGS")) {
		for _, prefix := range []string{"-Dzookeeper.", "-Djute.", "-Djava.security."} {
			if strings.HasPrefix(flag, prefix) {
				return flag
			}
		}
	}
	return ""
}

// prepare writes zoo.cfg and myid where they are missing. As in ZooKeeper's
// image, a zoo.cfg that is there counts alone, and so does a myid.
func (env getenv) prepare() error {
	if flag := env.jvmSetting(); flag != "" {
		return cli.Exit(fmt.Errorf("JVMFLAGS, SERVER_JVMFLAGS: there is no JVM to set %s in: put the key into ZOO_CFG_EXTRA or zoo.cfg", flag), exitInvalidArguments)
	}
	if err := writeMissing(env.configFile(), env.zooCfg()); err != nil {
		return cli.Exit(fmt.Errorf("%w: mount a zoo.cfg, or let user %d write to the directory (ZOO_CONF_DIR)", err, os.Getuid()), exitInvalidArguments)
	}
	myid := filepath.Join(env.or("ZOO_DATA_DIR", "/data"), "myid")
	if err := writeMissing(myid, env.or("ZOO_MY_ID", "1")+"\n"); err != nil {
		return cli.Exit(fmt.Errorf("%w: let user %d write to the directory (ZOO_DATA_DIR)", err, os.Getuid()), exitDataDir)
	}
	return nil
}

// writeMissing writes a file unless there is one. A start that is cut short
// leaves none.
func writeMissing(path, text string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
