package server

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
)

// What is not logged has a function in readers; what is logged is known to the
// state machine, which answers Unimplemented to what it does not know.
func TestEveryOpHasOneHandler(t *testing.T) {
	s := startStandalone(t)
	for _, op := range protocol.Ops {
		reader := readers[op.Code] != nil
		switch op.Class {
		case protocol.Read, protocol.Connection:
			if !reader {
				t.Errorf("%s is not logged, but has no function in readers", op.Name)
			}
		default:
			if reader {
				t.Errorf("%s has a function in readers, but is not read by its class", op.Name)
			}
		}
		var body protocol.Record
		if op.Request != nil {
			body = op.Request()
		}
		w := dial(t, s)
		w.send(request(1, op.Code, body))
		r, err := w.receive()
		if op.Class == protocol.Immediate {
			continue // a bad token or scheme ends the connection in its own way
		}
		if err != nil {
			t.Errorf("%s: %v", op.Name, err)
			continue
		}
		if refused := r.Err == protocol.Unimplemented; refused != (op.Class == protocol.Refused) {
			t.Errorf("%s of class %d is answered %v", op.Name, op.Class, r.Err)
		}
		w.nc.Close()
	}
	for code := range readers {
		if protocol.Lookup(code) == nil {
			t.Errorf("readers has operation %d, which protocol.Ops has not", code)
		}
	}
}

const module = "github.com/coordd/coordd"

// rule says what a package of the module may import, and why.
type rule struct {
	ours   []string // of the module, by folder; all below too
	notStd []string // of the standard library: these not
	why    string
}

const siblings = "folders under server/ meet through interfaces declared by the consumer, so that each can be read and tested alone"

var imports = map[string]rule{
	"protocol":             {nil, []string{"net", "os", "time", "sync", "math/rand", "math/rand/v2", "log"}, "protocol turns bytes into records: no socket, clock or goroutine"},
	"fsm":                  {[]string{"protocol"}, []string{"net", "os", "time", "sync", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog"}, "the state must come out the same on every server: time, chance and locks stay outside"},
	"config":               {nil, []string{"net/http", "os/exec"}, "a configuration is a value: who uses it opens and dials"},
	"server":               {[]string{"protocol", "fsm", "config", "server"}, nil, "server composes what lies below it"},
	"server/replica":       {[]string{"fsm", "protocol", "server/metrics"}, nil, siblings},
	"server/peer":          {[]string{"fsm", "protocol", "server/metrics"}, nil, siblings},
	"server/session":       {[]string{"protocol", "server/metrics"}, nil, siblings},
	"server/watch":         {[]string{"fsm", "protocol", "server/metrics"}, nil, siblings},
	"server/auth":          {[]string{"protocol"}, nil, siblings},
	"server/admin":         {[]string{"protocol", "config", "server/metrics"}, nil, siblings},
	"server/metrics":       {nil, nil, siblings},
	"internal/zkclient":    {[]string{"protocol"}, nil, "the client must work without a server in its process"},
	"internal/bench":       {[]string{"protocol", "internal/zkclient"}, nil, "it measures a ZooKeeper as well, and must not share a process with a server"},
	"internal/zkprocess":   {nil, nil, "it runs the reference, which shares nothing with us"},
	"internal/outcomes":    {nil, nil, "it reads reports, and knows nothing of who made them"},
	"internal/zkdata":      {[]string{"protocol", "fsm"}, nil, "it reads files for the state machine, and serves nobody"},
	"cmd":                  {[]string{""}, nil, ""},
	"internal/testcluster": {[]string{""}, nil, ""},
	"internal/sim":         {[]string{""}, nil, ""},
	"internal/history":     {[]string{"protocol"}, []string{"net", "os", "os/exec"}, "it judges what was recorded, and makes no requests"},
	"internal/workload":    {[]string{"protocol", "internal/zkclient", "internal/history"}, []string{"os", "os/exec"}, "it runs against any ZooKeeper, in virtual time as well"},
	"test":                 {[]string{""}, nil, ""},
}

// ruleOf returns the rule of a folder, or of the nearest folder above it.
func ruleOf(dir string) (rule, bool) {
	for ; dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
		if r, ok := imports[dir]; ok {
			return r, true
		}
		if dir == "server" || strings.HasPrefix(dir, "server/") {
			return rule{}, false // each folder there has its own
		}
	}
	return rule{}, false
}

func within(folder string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool {
		return d == "" || folder == d || strings.HasPrefix(folder, d+"/")
	})
}

func TestImportsPointDownwards(t *testing.T) {
	checked := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		dir, _ := filepath.Rel("..", filepath.Dir(path))
		dir = filepath.ToSlash(dir)
		r, ok := ruleOf(dir)
		if !ok {
			t.Errorf("%s has no rule: add it to imports, with what it may import and why", dir)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		checked++
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			ours, isOurs := strings.CutPrefix(name, module+"/")
			switch {
			case isOurs && ours != dir && !within(ours, r.ours), slices.Contains(r.notStd, name):
				t.Errorf("%s imports %s: %s", path, name, r.why)
			case strings.HasPrefix(name, "github.com/hashicorp/raft") && dir != "server/replica" && dir != "internal/sim":
				t.Errorf("%s imports %s: server/replica alone knows Raft, and internal/sim its stores", path, name)
			case dir == "protocol" || dir == "fsm" || dir == "config":
				if host, _, _ := strings.Cut(name, "/"); strings.Contains(host, ".") && !isOurs && name != "github.com/klauspost/compress/zstd" {
					t.Errorf("%s imports %s: %s keeps to the standard library, but for zstd", path, name, dir)
				}
			}
		}
		return nil
	})
	if err != nil || checked < 40 {
		t.Fatalf("%d files looked at: %v", checked, err)
	}
}

// The rules catch what they are for.
func TestImportRules(t *testing.T) {
	for _, tt := range []struct {
		dir, imports string
		ok           bool
	}{
		{"server/watch", "fsm", true},
		{"server/watch", "server/replica", false},
		{"server/watch", "server", false},
		{"server/admin", "server/metrics", true},
		{"fsm", "config", false},
		{"cmd/coordd", "server/replica", true},
		{"server", "server/peer", true},
	} {
		r, found := ruleOf(tt.dir)
		if !found || within(tt.imports, r.ours) != tt.ok {
			t.Errorf("%s may import %s: %v, want %v", tt.dir, tt.imports, !tt.ok, tt.ok)
		}
	}
	if _, found := ruleOf("server/new"); found {
		t.Error("a new folder under server has a rule already")
	}
}
