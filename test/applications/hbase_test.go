//go:build applications

package applications

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// HBase asks for 90 s and would be given 40: a dead server would be noticed so late
// that the tests took minutes.
const hbaseTimeout = 10 * time.Second

// hbase is a cluster with two masters and two region servers. One of each pair
// works, and the other takes over when it is killed: a region server that was
// started last has no regions yet.
type hbase struct {
	zoo              *zoo
	servers          *onlooker
	dir              string
	classPath        string
	masters, regions [2]*hbaseServer // the one that works first
	rows, namespaces *load           // clients of the region servers and of the master
}

// hbaseServer is a master or a region server.
type hbaseServer struct {
	*program
	command command
}

// TestHBase kills the master and the region server that work, then the leader of the
// servers, then each of those two together with the leader, while clients write.
func TestHBase(t *testing.T) {
	h := startHBase(t, startZoo(t))
	h.losesMaster(t, false)
	h.losesRegionServer(t, false)
	h.await(t)
	h.zoo.withoutLeader(t, "HBase", h.rows, hbaseTimeout, h.state)
	h.losesMaster(t, true)
	h.losesRegionServer(t, true)

	h.rows.end(t)
	h.namespaces.end(t)
	h.rows.check(t, h.client("read", "rows").run(t, patience))
	h.namespaces.check(t, h.client("read", "namespaces").run(t, patience))
}

func (h *hbase) losesMaster(t *testing.T, killed bool) {
	t.Helper()
	h.await(t)
	before, err := h.servers.births("/hbase/master")
	if err != nil {
		t.Fatal(err)
	}
	h.loses(t, &h.masters, killed, h.namespaces, "master killed", "the backup is master", func() error {
		now, err := h.servers.births("/hbase/master")
		if err == nil && now == before {
			err = fmt.Errorf("it is still %s", now)
		}
		return err
	})
}

func (h *hbase) losesRegionServer(t *testing.T, killed bool) {
	t.Helper()
	h.await(t)
	h.loses(t, &h.regions, killed, h.rows, "region server killed", "its session has expired", func() error {
		_, servers, err := h.servers.get("/hbase/rs")
		if err == nil && servers.NumChildren != 1 {
			err = fmt.Errorf("%d region servers", servers.NumChildren)
		}
		return err
	})
}

// loses kills the first server of a pair, and its client has to go on with the
// second. killed also kills the servers' leader, right before.
func (h *hbase) loses(t *testing.T, pair *[2]*hbaseServer, killed bool, client *load, what, sign string, noticed func() error) {
	t.Helper()
	leader := h.zoo.leader(t)
	start := time.Now()
	if killed {
		leader.Kill()
	}
	pair[0].kill()
	what += fmt.Sprintf(" (session %v): ", hbaseTimeout)
	eventually(t, patience, sign, noticed)
	report(t, "HBase", what+sign, killed, time.Since(start))
	client.awaitWrites(t, 5, patience)
	report(t, "HBase", what+"longest wait of a client", killed, client.longestWait(t, start))
	if killed {
		h.zoo.revive(t, leader)
	}
	pair[0], pair[1] = pair[1], pair[0]
	pair[1].program = pair[1].command.start(t)
}

// state says which masters and region servers there are since when.
func (h *hbase) state() (string, error) {
	nodes := []string{"/hbase/master"}
	for _, parent := range []string{"/hbase/backup-masters", "/hbase/rs"} {
		children, err := h.servers.children(parent)
		if err != nil {
			return "", err
		}
		slices.Sort(children)
		for _, child := range children {
			nodes = append(nodes, parent+"/"+child)
		}
	}
	return h.servers.births(nodes...)
}

// await waits until every server has its znode, so that either of a pair can take
// over.
func (h *hbase) await(t *testing.T) {
	t.Helper()
	eventually(t, patience, "two masters and two region servers", func() error {
		for _, s := range append(h.masters[:], h.regions[:]...) {
			s.alive(t)
		}
		state, err := h.state()
		if err == nil && strings.Count(state, "\n") != 4 {
			err = fmt.Errorf("there are %s", state)
		}
		return err
	})
}

func startHBase(t *testing.T, z *zoo) *hbase {
	t.Helper()
	h := &hbase{zoo: z, servers: z.onlooker(t), dir: t.TempDir()}
	h.classPath = classPath(t, "hbase", h.dir)
	const host = "127.0.0.1"
	writeSite(t, filepath.Join(h.dir, "hbase-site.xml"), map[string]string{
		"hbase.cluster.distributed":                     "true",
		"hbase.rootdir":                                 "file://" + filepath.Join(h.dir, "root"),
		"fs.file.impl":                                  "org.apache.hadoop.fs.RawLocalFileSystem", // hflush reaches the file
		"hbase.unsafe.stream.capability.enforce":        "false",
		"hbase.tmp.dir":                                 filepath.Join(h.dir, "tmp"),
		"hbase.zookeeper.quorum":                        z.connect(),
		"zookeeper.session.timeout":                     fmt.Sprint(hbaseTimeout.Milliseconds()),
		"hbase.master.hostname":                         host,
		"hbase.master.ipc.address":                      host,
		"hbase.master.info.port":                        "-1",
		"hbase.unsafe.regionserver.hostname":            host,
		"hbase.regionserver.ipc.address":                host,
		"hbase.regionserver.info.port":                  "-1",
		"hbase.master.wait.on.regionservers.mintostart": "1",
	})
	ports := zkprocess.FreePorts(t, host, 4)
	for i := range 2 {
		h.masters[i] = h.server("master", "org.apache.hadoop.hbase.master.HMaster", i+1, ports[i])
		h.regions[i] = h.server("regionserver", "org.apache.hadoop.hbase.regionserver.HRegionServer", i+1, ports[2+i])
	}
	h.masters[0].program = h.masters[0].command.start(t)
	h.regions[0].program = h.regions[0].command.start(t)
	h.client("create").run(t, patience)
	h.rows = startLoad(t, h.client("write", "rows"))
	h.namespaces = startLoad(t, h.client("write", "namespaces"))
	h.rows.awaitWrites(t, 20, patience)
	h.namespaces.awaitWrites(t, 5, patience)
	h.masters[1].program = h.masters[1].command.start(t)
	h.regions[1].program = h.regions[1].command.start(t)
	return h
}

// server is the Nth of its kind, which has the given port.
func (h *hbase) server(kind, main string, n, port int) *hbaseServer {
	return &hbaseServer{command: command{
		name: fmt.Sprintf("%s-%d", kind, n),
		argv: java(h.classPath, nil, main, fmt.Sprintf("-Dhbase.%s.port=%d", kind, port), "start"),
	}}
}

func (h *hbase) client(what ...string) command {
	return command{name: "client-" + strings.Join(what, "-"), argv: java(h.classPath, nil, absolute("hbase/Client.java"), what...)}
}
