//go:build applications

package applications

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// patroniTTL is Patroni's ttl, its session timeout. Its default is 30 s.
const patroniTTL = 20 * time.Second

// python is Debian's, which has Debian's packages.
const python = "/usr/bin/python3"

// patroni is two nodes, each a Patroni and the PostgreSQL that it runs, and what
// is needed to use them.
type patroni struct {
	servers  *onlooker
	commands map[string]command // by name
	nodes    map[string]*program
	ports    string // of PostgreSQL
}

// TestPatroni kills the primary, both Patroni and PostgreSQL, then the leader of
// the servers, then all of these at once, while a client inserts rows.
func TestPatroni(t *testing.T) {
	zoo := startZoo(t)
	p := startPatroni(t, zoo)
	client, err := filepath.Abs("patroni/client.py")
	if err != nil {
		t.Fatal(err)
	}
	w := startLoad(t, command{name: "inserts", argv: []string{python, client, "write", p.ports}})
	w.awaitWrites(t, 50, patience)

	p.failover(t, w, nil)
	zoo.withoutLeader(t, "Patroni", w, patroniTTL, p.state)
	leader := zoo.leader(t)
	p.failover(t, w, leader)
	zoo.revive(t, leader)

	w.end(t)
	w.check(t, command{name: "select", argv: []string{python, client, "read", p.ports}}.run(t, patience))
}

func startPatroni(t *testing.T, zoo *zoo) *patroni {
	t.Helper()
	install(t, "patroni")
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(programs) == 0 {
		t.Fatalf("find PostgreSQL's programs: %v in %q", err, programs)
	}
	template, err := os.ReadFile("patroni/node.yml")
	if err != nil {
		t.Fatalf("read a node's configuration: %v", err)
	}
	p := &patroni{servers: zoo.onlooker(t), commands: map[string]command{}, nodes: map[string]*program{}}
	ports := zkprocess.FreePorts(t, "127.0.0.1", 4)
	p.ports = fmt.Sprintf("%d,%d", ports[0], ports[1])
	for i := range 2 {
		name := fmt.Sprintf("node%d", i+1)
		dir := postgresDir(t)
		config := filepath.Join(dir, "node.yml")
		text := strings.NewReplacer(
			"NAME", name, "DIR", dir, "BIN", programs[len(programs)-1],
			"SERVERS", "'"+strings.ReplaceAll(zoo.connect(), ",", "', '")+"'",
			"TTL", strconv.Itoa(int(patroniTTL.Seconds())),
			"PORT", strconv.Itoa(ports[i]), "REST", strconv.Itoa(ports[i+2]),
		).Replace(string(template))
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatalf("configure a node: %v", err)
		}
		argv := []string{python, "/usr/bin/patroni", config}
		if os.Getuid() == 0 { // as which PostgreSQL refuses to run
			argv = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"}, argv...)
		}
		p.commands[name] = command{name: name, dir: dir, env: []string{"HOME=" + dir, "LC_ALL=C.UTF-8"}, argv: argv}
		p.nodes[name] = p.commands[name].start(t)
	}
	p.awaitStandby(t)
	return p
}

// postgresDir is a directory that PostgreSQL may use. All processes that run in
// it end with the test: each of PostgreSQL's is a process group of its own.
func postgresDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "patroni")
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	running.Lock()
	running.kill[dir] = func() { killIn(dir) }
	running.Unlock()
	t.Cleanup(func() {
		killIn(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove a node's directory: %v", err)
		}
	})
	if os.Getuid() != 0 {
		return dir
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("find who is to run PostgreSQL: %v", err)
	}
	uid, err := strconv.Atoi(postgres.Uid)
	if err != nil {
		t.Fatalf("find who is to run PostgreSQL: %v", err)
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		t.Fatalf("hand a directory over: %v", err)
	}
	return dir
}

// killIn ends the processes whose working directory is dir or below it, as kill -9
// does, and those that they start meanwhile.
func killIn(dir string) {
	for found := true; found; time.Sleep(10 * time.Millisecond) {
		found = false
		links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well formed
		for _, link := range links {
			cwd, err := os.Readlink(link)
			if err != nil || cwd != dir && !strings.HasPrefix(cwd, dir+"/") {
				continue // it is gone, or none of ours
			}
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err == nil {
				found = syscall.Kill(pid, syscall.SIGKILL) == nil || found
			}
		}
	}
}

// roles is what Patroni keeps about the cluster: who leads, and who has all that
// was acknowledged.
func (p *patroni) roles() (leader, standby string, err error) {
	data, _, err := p.servers.get("/service/numbers/leader")
	if err != nil {
		return "", "", err
	}
	leader = string(data)
	if data, _, err = p.servers.get("/service/numbers/sync"); err != nil {
		return "", "", err
	}
	var sync struct {
		Leader  string `json:"leader"`
		Standby string `json:"sync_standby"`
	}
	if err := json.Unmarshal(data, &sync); err != nil {
		return "", "", fmt.Errorf("parse /service/numbers/sync: %w", err)
	}
	if sync.Leader != leader {
		return leader, "", nil
	}
	return leader, sync.Standby, nil
}

// awaitStandby waits until one node leads and the other can take over.
func (p *patroni) awaitStandby(t *testing.T) {
	t.Helper()
	eventually(t, patience, "a primary and a synchronous standby", func() error {
		leader, standby, err := p.roles()
		if err == nil && standby == "" {
			err = fmt.Errorf("%s leads, and has none", leader)
		}
		return err
	})
}

// state is who leads since when, and on which timeline: PostgreSQL begins a new
// one at each promotion.
func (p *patroni) state() (string, error) {
	leader, standby, err := p.roles()
	if err != nil {
		return "", err
	}
	state := fmt.Sprintf("%s leads, %s stands by\n", leader, standby)
	for name := range p.commands {
		data, _, err := p.servers.get("/service/numbers/members/" + name)
		if err != nil {
			return "", err
		}
		var member struct {
			Timeline int `json:"timeline"`
		}
		if err := json.Unmarshal(data, &member); err != nil {
			return "", fmt.Errorf("parse what %s says: %w", name, err)
		}
		if name == leader {
			state += fmt.Sprintf("timeline %d\n", member.Timeline)
		}
	}
	births, err := p.servers.births("/service/numbers/leader", "/service/numbers/members/node1", "/service/numbers/members/node2")
	return state + births, err
}

// failover kills the primary, and just before it server unless nil. The standby is
// to be promoted, and the old primary to become its standby.
func (p *patroni) failover(t *testing.T, w *load, server *zkprocess.Server) {
	t.Helper()
	old, _, err := p.roles()
	if err != nil {
		t.Fatal(err)
	}
	ttl := fmt.Sprintf(" (ttl %v)", patroniTTL)
	start := time.Now()
	if server != nil {
		server.Kill()
	}
	killIn(p.commands[old].dir)
	p.nodes[old].kill()
	eventually(t, patience, "another leader", func() error {
		now, _, err := p.roles()
		if err == nil && now == old {
			err = fmt.Errorf("it is still %s", old)
		}
		return err
	})
	report(t, "Patroni", "primary killed: another leads"+ttl, server != nil, time.Since(start))
	w.awaitWrites(t, 50, patience)
	report(t, "Patroni", "primary killed: longest wait of a writer"+ttl, server != nil, w.longestWait(t, start))
	p.nodes[old] = p.commands[old].start(t)
	p.awaitStandby(t)
}
