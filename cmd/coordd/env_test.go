package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
)

func environment(of map[string]string) getenv {
	return func(name string) string { return of[name] }
}

// TestZooCfgOfEnvironment has the lines that docker-entrypoint.sh of the image
// zookeeper:3.9 writes, in its order.
func TestZooCfgOfEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing set", nil, `dataDir=/data
dataLogDir=/datalog
tickTime=2000
initLimit=5
syncLimit=2
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
maxClientCnxns=60
standaloneEnabled=true
admin.enableServer=true
server.1=localhost:2888:3888;2181
`},
		{"all set", map[string]string{
			"ZOO_MY_ID":                     "2",
			"ZOO_CONF_DIR":                  "/c",
			"ZOO_DATA_DIR":                  "/d",
			"ZOO_DATA_LOG_DIR":              "/l",
			"ZOO_LOG_DIR":                   "/logs",
			"ZOO_TICK_TIME":                 "1000",
			"ZOO_INIT_LIMIT":                "10",
			"ZOO_SYNC_LIMIT":                "4",
			"ZOO_AUTOPURGE_SNAPRETAINCOUNT": "5",
			"ZOO_AUTOPURGE_PURGEINTERVAL":   "24",
			"ZOO_MAX_CLIENT_CNXNS":          "0",
			"ZOO_STANDALONE_ENABLED":        "false",
			"ZOO_ADMINSERVER_ENABLED":       "false",
			"ZOO_SERVERS":                   " server.1=a:2888:3888;2181\n  server.2=b:2888:3888:observer;2181 ",
			"ZOO_4LW_COMMANDS_WHITELIST":    "mntr, ruok",
			"ZOO_CFG_EXTRA":                 "snapCount=500 metricsProvider.httpPort=7000",
		}, `dataDir=/d
dataLogDir=/l
tickTime=1000
initLimit=10
syncLimit=4
autopurge.snapRetainCount=5
autopurge.purgeInterval=24
maxClientCnxns=0
standaloneEnabled=false
admin.enableServer=false
server.1=a:2888:3888;2181
server.2=b:2888:3888:observer;2181
4lw.commands.whitelist=mntr, ruok
snapCount=500
metricsProvider.httpPort=7000
`},
	} {
		got := environment(tt.env).zooCfg()
		if got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		myid := func(string) ([]byte, error) { return []byte("2\n"), nil }
		if tt.env == nil {
			myid = func(string) ([]byte, error) { return nil, os.ErrNotExist }
		}
		if _, err := config.Parse("zoo.cfg", strings.NewReader(got), myid); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestPrepareWritesWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name         string
		cfg, myid    string // there before
		set          map[string]string
		wantCfg      string // part of zoo.cfg after
		wantMyid     string
		wantExitCode int
	}{
		{name: "empty directories", wantCfg: "server.1=localhost", wantMyid: "1\n"},
		{name: "a number", set: map[string]string{"ZOO_MY_ID": "7"}, wantCfg: "tickTime=2000", wantMyid: "7\n"},
		{name: "zoo.cfg is there", cfg: "tickTime=1\n", set: map[string]string{"ZOO_TICK_TIME": "3"}, wantCfg: "tickTime=1\n", wantMyid: "1\n"},
		{name: "myid is there", myid: "3\n", set: map[string]string{"ZOO_MY_ID": "7"}, wantCfg: "tickTime=2000", wantMyid: "3\n"},
		{name: "flags that only a JVM needs", set: map[string]string{"JVMFLAGS": "-Xmx1g", "SERVER_JVMFLAGS": "-XX:+UseG1GC"}, wantCfg: "tickTime", wantMyid: "1\n"},
		{name: "flags that set ZooKeeper's properties", set: map[string]string{"SERVER_JVMFLAGS": "-Xmx1g -Dzookeeper.enforce.auth.enabled=true"}, wantExitCode: exitInvalidArguments},
		{name: "flags that set jute.maxbuffer", set: map[string]string{"JVMFLAGS": "-Djute.maxbuffer=1"}, wantExitCode: exitInvalidArguments},
		{name: "flags for SASL", set: map[string]string{"JVMFLAGS": "-Djava.security.auth.login.config=/jaas"}, wantExitCode: exitInvalidArguments},
		{name: "no configuration directory", set: map[string]string{"ZOO_CONF_DIR": "/nowhere"}, wantExitCode: exitInvalidArguments},
		{name: "no data directory", set: map[string]string{"ZOO_DATA_DIR": "/nowhere"}, wantExitCode: exitDataDir},
	} {
		conf, data := t.TempDir(), t.TempDir()
		env := map[string]string{"ZOO_CONF_DIR": conf, "ZOO_DATA_DIR": data}
		for name, value := range tt.set {
			env[name] = value
		}
		write(t, filepath.Join(conf, "zoo.cfg"), tt.cfg)
		write(t, filepath.Join(data, "myid"), tt.myid)

		err := environment(env).prepare()
		var exit cli.ExitCoder
		switch {
		case tt.wantExitCode != 0:
			if !errors.As(err, &exit) || exit.ExitCode() != tt.wantExitCode {
				t.Errorf("%s: %v, want exit code %d", tt.name, err, tt.wantExitCode)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		}
		cfg, _ := os.ReadFile(filepath.Join(conf, "zoo.cfg"))
		myid, _ := os.ReadFile(filepath.Join(data, "myid"))
		if !strings.Contains(string(cfg), tt.wantCfg) || string(myid) != tt.wantMyid {
			t.Errorf("%s: zoo.cfg %q, myid %q", tt.name, cfg, myid)
		}
		if tt.cfg != "" && string(cfg) != tt.cfg {
			t.Errorf("%s: zoo.cfg was changed: %q", tt.name, cfg)
		}
	}
}

// write writes a file unless text is empty.
func write(t *testing.T, path, text string) {
	t.Helper()
	if text == "" {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEnvAndConfigExclude(t *testing.T) {
	var exit cli.ExitCoder
	err := run(t.Context(), []string{"coordd", "start", "--env", "--config", "zoo.cfg"})
	if !errors.As(err, &exit) || exit.ExitCode() != exitInvalidArguments || !strings.Contains(err.Error(), "exclude") {
		t.Errorf("%v", err)
	}
}
