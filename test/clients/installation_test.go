//go:build clients

package clients

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// The ports of every ZooKeeper manual.
const (
	clientPort   = 2181
	quorumPort   = 2888
	electionPort = 3888
	adminPort    = 8080
)

// sampleConfig is conf/zoo_sample.cfg of a ZooKeeper with the lines of its
// manual for three servers added. %s: dataDir, host, host.
const sampleConfig = `# The number of milliseconds of each tick
tickTime=2000
# The number of ticks that the initial
# synchronization phase can take
initLimit=10
# The number of ticks that can pass between
# sending a request and getting an acknowledgement
syncLimit=5
# the directory where the snapshot is stored.
# do not use /tmp for storage, /tmp here is just
# example sakes.
dataDir=%s
# the port at which the clients will connect
clientPort=2181
clientPortAddress=%s
# the maximum number of client connections.
# increase this if you need to handle more clients
#maxClientCnxns=60
#
# The number of snapshots to retain in dataDir
autopurge.snapRetainCount=3
# Purge task interval in hours
# Set to "0" to disable auto purge feature
autopurge.purgeInterval=1

## Metrics Providers
#
# https://prometheus.io Metrics Exporter
#metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider

admin.serverAddress=%s
server.1=127.0.0.21:2888:3888
server.2=127.0.0.22:2888:3888
server.3=127.0.0.23:2888:3888
`

// mustBeFree fails the test when a port that the configuration names is taken.
func mustBeFree(t *testing.T, host string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("this test needs ZooKeeper's own ports, and %s is taken: stop what listens there, be it on that address or on all: %v", addr, err)
		}
		l.Close()
	}
}

func listens(host string, port int) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// TestInstallationWorksUnchanged starts the three zoo.cfg and myid files of a
// ZooKeeper as they are.
func TestInstallationWorksUnchanged(t *testing.T) {
	binary := program(t)
	var servers []*zkprocess.Server
	for id := 1; id <= 3; id++ {
		host := fmt.Sprintf("127.0.0.2%d", id)
		mustBeFree(t, host, clientPort, quorumPort, electionPort, adminPort)
		dir := t.TempDir()
		dataDir, file := filepath.Join(dir, "data"), filepath.Join(dir, "zoo.cfg")
		mustMkdir(t, dataDir)
		mustWrite(t, filepath.Join(dataDir, "myid"), fmt.Sprintf("%d\n", id))
		mustWrite(t, file, fmt.Sprintf(sampleConfig, dataDir, host, host))
		servers = append(servers, zkprocess.Configured(binary, id, host, clientPort, file))
	}
	zkprocess.RunAll(t, servers)

	for _, s := range servers {
		for _, port := range []int{clientPort, electionPort, adminPort} {
			if !listens(s.Host, port) {
				t.Errorf("%s: nothing listens on %d", s.Host, port)
			}
		}
		stdout, stderr, exit := zkprocess.ZkCliOnce(t, s.Addr(), "ls", "/")
		if exit != 0 || !strings.Contains(stdout, "\n[zookeeper]\n") {
			t.Errorf("zkCli -server %s ls /: exit code %d, stdout %q, stderr %q", s.Addr(), exit, stdout, stderr)
		}
	}
	// On a busy machine the leader may change between two questions.
	var err error
	await(t, "all that is said of the roles agrees", func() bool {
		err = checkRoles(servers)
		return err == nil
	}, &err)

	// What zkCli's config shows are the lines of the files.
	config := `server.1=127.0.0.21:2888:3888:participant
server.2=127.0.0.22:2888:3888:participant
server.3=127.0.0.23:2888:3888:participant
version=0
`
	stdout, stderr, exit := zkprocess.ZkCliOnce(t, servers[0].Addr(), "config")
	if exit != 0 || !strings.HasSuffix(stdout, "\n"+config) {
		t.Errorf("zkCli config: exit code %d, stdout %q, want %q at its end, stderr %q", exit, stdout, config, stderr)
	}
}

// checkRoles wants one leader and two followers, in srvr and on the AdminServer
// alike, and the leader's port for followers open.
func checkRoles(servers []*zkprocess.Server) error {
	var modes []string
	for _, s := range servers {
		mode := s.Mode()
		modes = append(modes, mode)
		if err := checkAdmin(s.Host, s.ID, mode); err != nil {
			return fmt.Errorf("AdminServer of server %d, %s: %w", s.ID, mode, err)
		}
		if mode == "leader" && !listens(s.Host, quorumPort) { // in ZooKeeper it is the leader's alone
			return fmt.Errorf("%s: the leader does not listen on %d", s.Host, quorumPort)
		}
	}
	slices.Sort(modes)
	if want := []string{"follower", "follower", "leader"}; !slices.Equal(modes, want) {
		return fmt.Errorf("srvr says %v, want %v", modes, want)
	}
	return nil
}

// checkAdmin asks the AdminServer of server id, which srvr says is in mode.
func checkAdmin(host string, id int, mode string) error {
	for _, c := range []struct {
		path, command string
		fields        map[string]any
	}{
		{"ruok", "ruok", nil},
		{"srvr", "server_stats", map[string]any{"read_only": false}},
		{"leader", "leader", map[string]any{"is_leader": mode == "leader"}},
		{"configuration", "configuration", map[string]any{
			"client_port": float64(clientPort), "tick_time": 2000.0, "max_client_cnxns": 60.0, "server_id": float64(id),
		}},
	} {
		answer, err := askAdmin(fmt.Sprintf("http://%s:%d/commands/%s", host, adminPort, c.path))
		if err != nil {
			return err
		}
		if answer["command"] != c.command || answer["error"] != nil {
			return fmt.Errorf("%s: %v, want the command %s and no error", c.path, answer, c.command)
		}
		for key, want := range c.fields {
			if answer[key] != want {
				return fmt.Errorf("%s: %s is %v, want %v", c.path, key, answer[key], want)
			}
		}
		if stats, _ := answer["server_stats"].(map[string]any); c.path == "srvr" && stats["server_state"] != mode {
			return fmt.Errorf("%s: server_state is %v, want %s", c.path, stats["server_state"], mode)
		}
	}
	return nil
}

func askAdmin(url string) (answer map[string]any, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s, %v", url, res.Status, err)
	}
	return answer, nil
}

func mustMkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
