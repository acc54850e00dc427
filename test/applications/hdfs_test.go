//go:build applications

package applications

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// The session timeout of the ZKFCs is Hadoop's default.
const zkfcTimeout = 10 * time.Second

// hdfs is a cluster with two NameNodes, each with its ZKFC, which elect the active
// one by the lock in ZooKeeper; a JournalNode between them, and a DataNode.
type hdfs struct {
	zoo       *zoo
	servers   *onlooker
	dir       string
	classPath string
	journal   string // host:port of the JournalNode
	nodes     [2]*nameNode
}

// nameNode is a NameNode and the ZKFC beside it.
type nameNode struct {
	id              string
	http            string // host:port of its web server
	process, zkfc   *program
	command, zkfcIs command
}

// TestHDFS kills the active NameNode, without and with its ZKFC, then the leader of
// the servers, then the active NameNode and the leader, while a client writes.
func TestHDFS(t *testing.T) {
	h := startHDFS(t, startZoo(t))
	h.shell("mkdir", "-mkdir", "/many").run(t, patience)
	h.shell("put", "-put", h.file(t, "before", "written before any failover\n"), "/before").run(t, patience)
	w := startLoad(t, h.client("write"))
	w.awaitWrites(t, 20, patience)

	h.losesNameNode(t, w, false, false)
	h.losesNameNode(t, w, false, true)
	h.await(t)
	h.zoo.withoutLeader(t, "HDFS", w, zkfcTimeout, h.state)
	h.losesNameNode(t, w, true, false)
	h.losesNameNode(t, w, true, true)

	w.end(t)
	w.check(t, h.client("read").run(t, patience))
	if got := h.shell("cat", "-cat", "/before").run(t, patience); got != "written before any failover\n" {
		t.Errorf("the file from before reads %q", got)
	}
}

// losesNameNode kills the active NameNode: the other one has to become active, and
// the writer to go on. A ZKFC that is left gives the lock back; with zkfc it is
// killed as well, and its session has to expire. killed also kills the servers'
// leader, right before.
func (h *hdfs) losesNameNode(t *testing.T, w *load, killed, zkfc bool) {
	t.Helper()
	active, standby := h.await(t)
	leader := h.zoo.leader(t)
	start := time.Now()
	if killed {
		leader.Kill()
	}
	what := "NameNode killed"
	if zkfc {
		active.zkfc.kill()
		what = fmt.Sprintf("NameNode and its ZKFC killed (session %v)", zkfcTimeout)
	}
	active.process.kill()
	eventually(t, patience, standby.id+" becomes active", func() error {
		standby.supervise(t)
		return standby.is("active")
	})
	report(t, "HDFS", what+": the other is active", killed, time.Since(start))
	w.awaitWrites(t, 5, patience)
	report(t, "HDFS", what+": longest wait of a writer", killed, w.longestWait(t, start))

	if killed {
		h.zoo.revive(t, leader)
	}
	if zkfc {
		active.zkfc = active.zkfcIs.start(t)
	}
	active.process = active.command.start(t)
}

// state says which NameNode has been what since when, and since when the lock is
// held by whom.
func (h *hdfs) state() (string, error) {
	all, err := h.servers.births("/hadoop-ha/cluster/ActiveStandbyElectorLock")
	for _, n := range h.nodes {
		var status bean
		if err == nil {
			status, err = n.ask("NameNodeStatus")
		}
		all += fmt.Sprintf("%s is %s since %d\n", n.id, status.State, status.Since)
	}
	return all, err
}

func startHDFS(t *testing.T, z *zoo) *hdfs {
	t.Helper()
	h := &hdfs{zoo: z, servers: z.onlooker(t), dir: t.TempDir()}
	h.classPath = classPath(t, "hdfs", h.dir)
	h.configure(t)
	for _, pages := range []string{"hdfs", "journal", "datanode"} { // not in Hadoop's jars; without, no web server
		if err := os.MkdirAll(filepath.Join(h.dir, "webapps", pages), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	main := "org.apache.hadoop.hdfs."
	h.program("journalnode", main+"qjournal.server.JournalNode").start(t).listens(t, h.journal)

	for i, n := range h.nodes {
		id := "-Ddfs.ha.namenode.id=" + n.id
		n.command = h.program("namenode-"+n.id, main+"server.namenode.NameNode", id)
		n.zkfcIs = h.program("zkfc-"+n.id, main+"tools.DFSZKFailoverController", id)
		prepare := []string{"-format", "-nonInteractive"}
		if i == 1 {
			prepare = []string{"-bootstrapStandby", "-nonInteractive"}
		}
		h.program("prepare-"+n.id, main+"server.namenode.NameNode", append([]string{id}, prepare...)...).run(t, patience)
		n.process = n.command.start(t)
		if i == 0 {
			h.program("formatzk", main+"tools.DFSZKFailoverController", id, "-formatZK", "-nonInteractive").run(t, patience)
		}
		n.zkfc = n.zkfcIs.start(t)
		state := [2]string{"active", "standby"}[i]
		eventually(t, patience, n.id+" is "+state, func() error {
			n.process.alive(t)
			return n.is(state)
		})
	}
	h.program("datanode", main+"server.datanode.DataNode").start(t)
	h.await(t)
	return h
}

// configure writes core-site.xml and hdfs-site.xml. What is set is addresses,
// directories and what HA with automatic failover needs; times are Hadoop's
// defaults, but that a NameNode leaves safe mode at once when it has its blocks.
func (h *hdfs) configure(t *testing.T) {
	t.Helper()
	const host = "127.0.0.1"
	ports := zkprocess.FreePorts(t, host, 8)
	addr := func(i int) string { return fmt.Sprintf("%s:%d", host, ports[i]) }
	h.journal = addr(0)
	writeSite(t, filepath.Join(h.dir, "core-site.xml"), map[string]string{
		"fs.defaultFS":        "hdfs://cluster",
		"ha.zookeeper.quorum": h.zoo.connect(),
		"hadoop.tmp.dir":      filepath.Join(h.dir, "tmp"),
	})
	site := map[string]string{
		"dfs.nameservices":                                     "cluster",
		"dfs.ha.namenodes.cluster":                             "nn1,nn2",
		"dfs.client.failover.proxy.provider.cluster":           "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
		"dfs.ha.automatic-failover.enabled":                    "true",
		"dfs.ha.fencing.methods":                               "shell(/bin/true)",
		"dfs.namenode.shared.edits.dir":                        "qjournal://" + h.journal + "/cluster",
		"dfs.journalnode.rpc-address":                          h.journal,
		"dfs.journalnode.http-address":                         addr(1),
		"dfs.journalnode.edits.dir":                            filepath.Join(h.dir, "journal"),
		"dfs.datanode.address":                                 host + ":0",
		"dfs.datanode.http.address":                            host + ":0",
		"dfs.datanode.ipc.address":                             host + ":0",
		"dfs.datanode.data.dir":                                filepath.Join(h.dir, "data"),
		"dfs.replication":                                      "1",
		"dfs.namenode.safemode.extension":                      "0",
		"dfs.namenode.datanode.registration.ip-hostname-check": "false",
	}
	for i := range h.nodes {
		n := &nameNode{id: fmt.Sprintf("nn%d", i+1), http: addr(2 + 3*i)}
		h.nodes[i] = n
		of := ".cluster." + n.id
		site["dfs.namenode.http-address"+of] = n.http
		site["dfs.namenode.rpc-address"+of] = addr(3 + 3*i)
		site["dfs.ha.zkfc.port"+of] = fmt.Sprint(ports[4+3*i])
		site["dfs.namenode.name.dir"+of] = filepath.Join(h.dir, n.id)
	}
	writeSite(t, filepath.Join(h.dir, "hdfs-site.xml"), site)
}

// writeSite writes a configuration file of Hadoop.
func writeSite(t *testing.T, file string, properties map[string]string) {
	t.Helper()
	var xml strings.Builder
	xml.WriteString("<configuration>\n")
	for name, value := range properties {
		fmt.Fprintf(&xml, "<property><name>%s</name><value>%s</value></property>\n", name, value)
	}
	xml.WriteString("</configuration>\n")
	if err := os.WriteFile(file, []byte(xml.String()), 0o600); err != nil {
		t.Fatalf("write configuration: %v", err)
	}
}

func (h *hdfs) program(name, main string, args ...string) command {
	return command{name: name, argv: java(h.classPath, nil, main, args...)}
}

// shell is an `hdfs dfs` command.
func (h *hdfs) shell(name string, args ...string) command {
	return h.program("shell-"+name, "org.apache.hadoop.fs.FsShell", args...)
}

// client is the user of HDFS that writes or reads many files.
func (h *hdfs) client(what string) command {
	return h.program("client-"+what, absolute("hdfs/Client.java"), what, "/many")
}

// file writes a local file.
func (h *hdfs) file(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// await waits until one NameNode is active, the other on standby, and both
// have left safe mode and know the DataNode, and returns them.
func (h *hdfs) await(t *testing.T) (active, standby *nameNode) {
	t.Helper()
	eventually(t, patience, "an active NameNode and one on standby", func() error {
		active, standby = h.nodes[0], h.nodes[1]
		if active.is("active") != nil {
			active, standby = standby, active
		}
		for n, state := range map[*nameNode]string{active: "active", standby: "standby"} {
			n.process.alive(t)
			n.supervise(t)
			if err := n.is(state); err != nil {
				return err
			}
			system, err := n.ask("FSNamesystemState")
			if err != nil {
				return err
			}
			if system.FSState != "Operational" || system.NumLiveDataNodes != 1 {
				return fmt.Errorf("%s: %s, %d DataNodes", n.id, system.FSState, system.NumLiveDataNodes)
			}
		}
		return nil
	})
	return active, standby
}

// supervise fails the test if the ZKFC has ended. On a real ZooKeeper it starts it
// again, as a service manager would: there every client loses its connection with the
// servers' leader, and a ZKFC that fails to connect three times gives up.
func (n *nameNode) supervise(t *testing.T) {
	t.Helper()
	if !*realServers {
		n.zkfc.alive(t)
		return
	}
	select {
	case <-n.zkfc.exited:
		t.Logf("the ZKFC of %s has given up: %v", n.id, n.zkfc.err)
		n.zkfc = n.zkfcIs.start(t)
	default:
	}
}

// bean is what this test wants of a NameNode's JMX beans.
type bean struct {
	State            string
	Since            int64 `json:"LastHATransitionTime"`
	FSState          string
	NumLiveDataNodes int
}

// ask gets a bean of the NameNode.
func (n *nameNode) ask(name string) (bean, error) {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + n.http + "/jmx?qry=Hadoop:service=NameNode,name=" + name)
	if err != nil {
		return bean{}, fmt.Errorf("ask %s: %w", n.id, err)
	}
	defer resp.Body.Close()
	var answer struct{ Beans []bean }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return bean{}, fmt.Errorf("ask %s: %w", n.id, err)
	}
	if len(answer.Beans) != 1 {
		return bean{}, fmt.Errorf("ask %s: %d beans %s", n.id, len(answer.Beans), name)
	}
	return answer.Beans[0], nil
}

// is reports an error unless the NameNode's state is the given one.
func (n *nameNode) is(state string) error {
	status, err := n.ask("NameNodeStatus")
	if err == nil && status.State != state {
		err = fmt.Errorf("%s is %q", n.id, status.State)
	}
	return err
}
