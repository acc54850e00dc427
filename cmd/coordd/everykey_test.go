package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server"
)

// everyKey is a zoo.cfg with a line for every key.
const everyKey = "../../config/testdata/every-key.cfg"

// startable is every-key.cfg without the lines that check-config says stop the
// start, with replaced instead of the values it has; "" takes a line out.
func startable(t *testing.T, replaced map[string]string) string {
	t.Helper()
	_, faults := config.LoadAll(everyKey)
	if len(faults) == 0 {
		t.Fatal("nothing stops the start")
	}
	raw, err := os.ReadFile(everyKey)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	for _, e := range faults {
		if e.Line == 0 {
			t.Fatal(e)
		}
		lines[e.Line-1] = ""
	}
	for i, line := range lines {
		key, _, _ := strings.Cut(line, "=")
		if value, ok := replaced[key]; ok {
			lines[i] = ""
			if value != "" {
				lines[i] = key + "=" + value
			}
		}
	}
	return strings.Join(lines, "\n")
}

// runFile starts a server from a file with that text in dir.
func runFile(t *testing.T, dir, text string) *server.Server {
	t.Helper()
	path := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(cfg, hclog.NewNullLogger(), server.Build{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// mustAnswer waits until one of the servers takes a client, and writes and
// reads there.
func mustAnswer(t *testing.T, addrs ...string) {
	t.Helper()
	var client *zkclient.Client
	for deadline := time.Now().Add(20 * time.Second); client == nil; {
		for _, addr := range addrs {
			c, err := zkclient.Dial(t.Context(), addr, zkclient.Options{Timeout: 10 * time.Second})
			if err == nil {
				client = c
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	defer client.Close()
	if _, err := client.Create("/a", []byte("x"), protocol.Persistent, protocol.WorldAnyone); err != nil {
		t.Fatal(err)
	}
	if data, _, err := client.Get("/a", false); err != nil || string(data) != "x" {
		t.Fatalf("%q, %v", data, err)
	}
}

func TestEveryKeyStarts(t *testing.T) {
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		port := zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
		runFile(t, dir, startable(t, map[string]string{
			"dataDir": dir, "dataLogDir": dir, "clientPort": fmt.Sprint(port), "standaloneEnabled": "", "dynamicConfigFile": "",
		}))
		mustAnswer(t, fmt.Sprintf("127.0.0.1:%d", port))
	})
	t.Run("members", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		members := ""
		for n := 1; n <= 3; n++ {
			p := zkprocess.FreePorts(t, "0.0.0.0", 2)
			members += fmt.Sprintf("server.%d=127.0.0.%d:%d:%d\n", n, n, p[0], p[1])
		}
		dynamic := filepath.Join(dir, "members")
		if err := os.WriteFile(dynamic, []byte(members), 0o600); err != nil {
			t.Fatal(err)
		}
		var addrs []string
		for n := 1; n <= 3; n++ {
			own := filepath.Join(dir, fmt.Sprint(n))
			if err := os.Mkdir(own, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(own, "myid"), fmt.Appendln(nil, n), 0o600); err != nil {
				t.Fatal(err)
			}
			port := zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
			runFile(t, own, startable(t, map[string]string{
				"dataDir": own, "dataLogDir": own, "clientPort": fmt.Sprint(port), "dynamicConfigFile": dynamic,
			}))
			addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
		}
		mustAnswer(t, addrs...)
	})
}

// check-config explains the whole file, then says that it does not start.
func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	ok, one := filepath.Join(dir, "ok.cfg"), filepath.Join(dir, "one.cfg")
	for path, text := range map[string]string{ok: "dataDir=/x\nclientPort=2181\n", one: "dataDir=/x\nclientPort=x\ntickTime=2000\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args         []string
		code         int
		says, errors string
	}{
		{nil, 0, "Standalone server 1; clients on 0.0.0.0:2181", ""},
		{[]string{"--config", ok}, 0, "Standalone server 1", ""},
		{[]string{"--config", one}, exitInvalidArguments, "tickTime=2000", `one.cfg:2: clientPort="x": allowed`},
		{[]string{"--config", everyKey}, exitInvalidArguments, "audit.enable=true", "lines of " + everyKey + " stop the start"},
		{[]string{"--config", ok + ".not"}, exitInvalidArguments, "", "cannot be read"},
		{[]string{ok}, exitInvalidArguments, "", "takes no argument"},
	} {
		var out strings.Builder
		app := &cli.App{Writer: &out, Commands: []*cli.Command{checkConfigCommand()}, ExitErrHandler: func(*cli.Context, error) {}}
		err := app.Run(append([]string{"coordd", "check-config"}, tc.args...))
		var exit cli.ExitCoder
		code, message := 0, ""
		if errors.As(err, &exit) {
			code, message = exit.ExitCode(), exit.Error()
		} else if err != nil {
			t.Errorf("%v: %v", tc.args, err)
		}
		if code != tc.code || !strings.Contains(out.String(), tc.says) || !strings.Contains(message, tc.errors) {
			t.Errorf("%v: exit code %d, %q\n%s", tc.args, code, message, &out)
		}
	}
}

func TestLogKeys(t *testing.T) {
	for _, tc := range []struct{ lines, want string }{
		{"", `[WARN]  coordd: slow: took=1s` + "\n" + `[INFO]  coordd: up` + "\n"},
		{"coordd.log.level=warn", `[WARN]  coordd: slow: took=1s` + "\n"},
		{"coordd.log.level=debug", `[WARN]  coordd: slow: took=1s` + "\n" + `[INFO]  coordd: up` + "\n" + `[DEBUG] coordd: detail` + "\n"},
		{"coordd.log.format=json\ncoordd.log.level=error", ""},
		{"coordd.log.format=json\ncoordd.log.level=warn", `{"@level":"warn","@message":"slow","@module":"coordd","@timestamp":"","took":1000000000}` + "\n"},
	} {
		cfg, err := config.Parse("zoo.cfg", strings.NewReader("dataDir=/x\nclientPort=2181\n"+tc.lines), nil)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		log := newLogger(cfg, &out)
		log.Warn("slow", "took", time.Second)
		log.Info("up")
		log.Debug("detail")
		got := timestamp.ReplaceAllString(out.String(), "")
		if got != tc.want {
			t.Errorf("%q:\n%s\nwant\n%s", tc.lines, got, tc.want)
		}
	}
}

// timestamp is when a line of the log was written.
var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[-+]\d\d:?\d\d) ?`)
