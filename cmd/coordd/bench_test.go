package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
)

func TestParseLoads(t *testing.T) {
	for text, want := range map[string]string{
		"set": "set", "get,set,create,mixed": "get|set|create|get=90,set=10", "set,get=9,set=1,create": "set|get=9,set=1|create",
		"get=1,multi=2": "get=1,multi=2", "got": `error "got" is none of`, "get=x": `error "get=x" has no weight`, "": `error "" is none`,
	} {
		loads, err := parseLoads(text)
		var parts []string
		for _, mix := range loads {
			parts = append(parts, mix.String())
		}
		got := strings.Join(parts, "|")
		if err != nil {
			got = "error " + err.Error()
		}
		if got != want && (err == nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// benchAt runs a bench command and gives what it printed.
func benchAt(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	app := &cli.App{Writer: &out, Commands: []*cli.Command{benchCommand()}, ExitErrHandler: func(*cli.Context, error) {}}
	err := app.Run(append([]string{"coordd", "bench"}, args...))
	return out.String(), err
}

// Every command runs against a server, and leaves nothing behind that it does
// not mean to leave.
func TestBenchCommands(t *testing.T) {
	dir := t.TempDir()
	port := zkprocess.FreePorts(t, "127.0.0.1", 1)[0]
	runFile(t, dir, fmt.Sprintf("dataDir=%s\nclientPort=%d\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n", dir, port))
	at := fmt.Sprintf("127.0.0.1:%d", port)
	pid := fmt.Sprintf("%d", os.Getpid())
	everyOp := strings.Join(bench.KindNames(), ",") + ",get=3,delete=1"
	out, err := benchAt(t, "--servers", at, "--ops", everyOp, "--requests", "200", "--sessions", "3", "--outstanding", "9", "--keys", "20", "--pid", pid, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var report benchReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if want := len(bench.KindNames()) + 1; len(report.Results) != want {
		t.Errorf("%d results, want %d", len(report.Results), want)
	}
	for _, r := range report.Results {
		if r.Requests != 200 || r.Errors != 0 || r.FirstError != "" || r.P50Us <= 0 || r.FsyncsPer1000 == nil || r.ServerPeak == nil {
			t.Errorf("%+v", r)
		}
		if writes := strings.Contains(r.Mix, "set"); writes && *r.FsyncsPer1000 <= 0 {
			t.Errorf("%s: no fsync", r.Mix)
		}
	}
	for want, args := range map[string][]string{
		"op  ":                           {"--rate", "500", "--duration", "200ms", "--ops", "get", "--keys-by", "zipf"},
		"10 sessions, times until":       {"watches", "--sessions", "10", "--changes", "3"},
		"50 sessions, until all were":    {"connect", "--sessions", "50"},
		"20 sessions, idle":              {"idle", "--sessions", "20", "--duration", "50ms", "--pid", pid},
		"2500 znodes in /coordd-bench/t": {"preload", "--count", "2500"},
	} {
		flags := []string{"--servers", at}
		if !strings.HasPrefix(args[0], "-") {
			flags = append([]string{args[0]}, flags...)
			args = args[1:]
		}
		if out, err := benchAt(t, append(flags, args...)...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if _, err := benchAt(t, "--servers", at, "--at", "leader"); err == nil || !strings.Contains(err.Error(), "is a leader") {
		t.Errorf("--at leader at a standalone server: %v", err)
	}
	c, err := zkclient.Dial(t.Context(), at, zkclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if names, _, err := c.Children(bench.Root, false); err != nil || len(names) != 1 || names[0] != "tree" {
		t.Errorf("left behind: %q, %v", names, err)
	}
	if names, _, err := c.Children(bench.Root+"/tree/d00002", false); err != nil || len(names) != 500 {
		t.Errorf("last directory of the tree: %d, %v", len(names), err)
	}
	if _, err := benchAt(t, "preload", "--servers", at, "--count", "2500", "--remove"); err != nil {
		t.Error(err)
	}
	if names, _, err := c.Children(bench.Root, false); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"--ops", "got"}, `--ops: "got" is none of`},
		{[]string{"--sessions", "9", "--outstanding", "8"}, "--sessions must be"},
		{[]string{"--servers", "a:1,a:1"}, "a:1 is there twice"},
		{[]string{"--keys-by", "luck"}, "is none of uniform, zipf, one"},
		{[]string{"--pid", "999999999"}, "--pid: look process"},
		{[]string{"--at", "home"}, "is none of all, leader, followers"},
		{[]string{"--compare", "a=h:1", "--compare", "b=h:2", "--per-server"}, "--per-server and --compare exclude"},
		{[]string{"--rate", "-1"}, "--rate must not"},
		{[]string{"idle"}, "idle needs --pid"},
		{[]string{"preload", "--count", "0"}, "--count must be"},
		{[]string{"watches", "--changes", "0"}, "--changes must be"},
	} {
		_, err := benchAt(t, tc.args...)
		var exit cli.ExitCoder
		if !errors.As(err, &exit) || exit.ExitCode() != exitInvalidArguments || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v: %v", tc.args, err)
		}
	}
}

func TestBenchTable(t *testing.T) {
	syncs, cpu, memory := 12.5, 0.25, int64(3<<20)
	r := &benchReport{Servers: []string{"h:1"}, Sessions: 2, Outstanding: 8, Rate: 50, Size: 100, Keys: 10, KeysBy: bench.One, Results: []*benchResult{{
		Result: &bench.Result{Mix: "get=9,set=1", Line: bench.Line{Requests: 10, OpsPerSecond: 5, P50Us: 15, P999Us: 1_500_000}, Unsent: 7, FirstError: "h:1: gone", StallUs: 2000,
			Kinds: []bench.KindLine{{Op: "get"}}, PerServer: []*bench.ServerLine{{Server: "h:1"}}},
		Cost: bench.Cost{FsyncsPer1000: &syncs, ServerCPUPer1000: &cpu, ServerRSS: &memory, ServerPeak: &memory},
	}}}
	var out bytes.Buffer
	if err := r.writeTable(&out, true); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"2 sessions, 8 outstanding, 50 due a second, 100 bytes, 10 keys one, h:1\n", "1.50s", "12.5", "· get", "all sessions 2.00ms", "0.2500 CPU s/1000 ops, 3.0 MiB", "7 requests were due", "gone"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in\n%s", part, out.String())
		}
	}
}
