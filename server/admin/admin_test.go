package admin

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

// fake is a Source whose answers are its fields.
type fake struct {
	serving, readOnly bool
	fault             string
	mode              Mode
	conf              Conf
	leader            LeaderInfo
	connections       []Connection
	resets            int
}

func (f *fake) Serving() bool             { return f.serving }
func (f *fake) ReadOnly() bool            { return f.readOnly }
func (f *fake) Fault() string             { return f.fault }
func (f *fake) Mode() Mode                { return f.mode }
func (f *fake) Uptime() time.Duration     { return 1234 * time.Millisecond }
func (f *fake) Conf() Conf                { return f.conf }
func (f *fake) LeaderInfo() LeaderInfo    { return f.leader }
func (f *fake) Connections() []Connection { return f.connections }
func (f *fake) ResetConnectionStats()     { f.resets++ }
func (f *fake) Watches() WatchCounts      { return WatchCounts{Connections: 2, Paths: 3, Data: 4, All: 6} }
func (f *fake) Tree() Tree {
	return Tree{Zxid: 0x206, NodeCount: 75, DataSize: 900, Ephemerals: 2, GlobalSessions: 2}
}
func (f *fake) Ensemble() Ensemble {
	return Ensemble{QuorumSize: 3, Learners: 2, SyncedFollowers: 2, LeaderUptime: time.Second}
}
func (f *fake) WatchedPaths() map[int64][]string {
	return map[int64][]string{0x20: {"/b", "/a"}, 0x10: {"/a"}}
}
func (f *fake) Sessions() []Session {
	at := time.Unix(1795418875, 0)
	return []Session{{ID: 0x20, Timeout: 40 * time.Second, Expires: at, Ephemerals: []string{"/z", "/e"}}, {ID: 0x10, Timeout: 4 * time.Second, Expires: at}}
}

// newTest is an Admin over a server in the given mode that serves.
func newTest(t *testing.T, mode Mode) (*Admin, *fake, *metrics.Set) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "myid"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fake{serving: true, mode: mode, leader: LeaderInfo{ID: 1, Host: "127.0.0.1"}, conf: Conf{
		ClientPort: 21710, SecurePort: -1, DataDir: dir, DataLogDir: dir, TickTime: 2 * time.Second,
		MinSessionTimeout: 4 * time.Second, MaxSessionTimeout: 40 * time.Second, ListenBacklog: -1,
	}}
	if mode != Standalone {
		f.conf.Member, f.conf.ServerID, f.conf.InitLimit, f.conf.SyncLimit = true, 1, 10, 5
		f.conf.ElectionPort, f.conf.QuorumPort = 21751, 21741
		f.conf.Membership = "server.1=127.0.0.1:21741:21751:participant\nversion=0"
	}
	f.connections = []Connection{
		{Remote: "127.0.0.1:46732", Reading: true, Received: 11, Sent: 41, SessionID: 0x100000caf48003b, LastOp: "ADDW",
			Established: time.UnixMilli(1795418873493), Timeout: 40 * time.Second, LastCxid: 10, LastZxid: 0x1b8,
			LastResponse: 1089983 * time.Millisecond, MaxLatencyMs: 2, Expires: time.Unix(1795418875, 0)},
		{Remote: "127.0.0.1:46748", Received: 1, Expires: time.Unix(1795418875, 0)},
	}
	set := metrics.New()
	set.PacketsReceived.Add(69)
	set.PacketsSent.Add(75)
	set.AliveConnections.Set(4)
	set.Latency.Observe(0)
	set.Latency.Observe(7)
	return New(f, set, func(w string) bool { return w != "mntr" || f.fault != "no mntr" }, "0.1.0", "11/23/2026 10:00 UTC"), f, set
}

func word(a *Admin, w string) string {
	var b strings.Builder
	a.Word(w, &b)
	return b.String()
}

const versionLine = "Zookeeper version: 3.9.4-coordd-0.1.0, built on 11/23/2026 10:00 UTC\n"

func numbers(mode string) string {
	return "Latency min/avg/max: 0/3.5/7\nReceived: 69\nSent: 75\nConnections: 4\nOutstanding: 0\nZxid: 0x206\nMode: " + mode + "\nNode count: 75\n"
}

func TestWords(t *testing.T) {
	const connections = " /127.0.0.1:46732[1](queued=0,recved=11,sent=41,sid=0x100000caf48003b,lop=ADDW,est=1795418873493,to=40000,lcxid=0xa,lzxid=0x1b8,lresp=1089983,llat=0,minlat=0,avglat=0,maxlat=2)\n" +
		" /127.0.0.1:46748[0](queued=0,recved=1,sent=0)\n\n"
	const clients = "Clients:\n /127.0.0.1:46732[1](queued=0,recved=11,sent=41)\n /127.0.0.1:46748[0](queued=0,recved=1,sent=0)\n\n"
	at := javaDate(time.Unix(1795418875, 0))
	const ephemerals = "ephemeral nodes dump:\nSessions with Ephemerals (1):\n0x20:\n\t/e\n\t/z\n"
	connDump := "Connections dump:\nConnections Sets (1)/(2):\n2 expire at " + at + ":\n\tip: /127.0.0.1:46732 sessionId: 0x100000caf48003b\n\tip: /127.0.0.1:46748 sessionId: 0x0\n"
	conf := func(dir, id string) string {
		return "clientPort=21710\nsecureClientPort=-1\ndataDir=" + dir + "\ndataDirSize=5\ndataLogDir=" + dir + "\ndataLogSize=5\ntickTime=2000\nmaxClientCnxns=0\n" +
			"minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=" + id + "\n"
	}
	const member = "initLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=21751\nquorumPort=21741\npeerType=0\nmembership: \nserver.1=127.0.0.1:21741:21751:participant\nversion=0"
	for _, mode := range []Mode{Standalone, Leader, Follower, Observer} {
		a, f, _ := newTest(t, mode)
		tail, confText := "", conf(f.conf.DataDir, "0")
		sessions := "SessionTracker dump:\nSession Sets (1)/(2):\n2 expire at " + at + ":\n\t0x10\n\t0x20\n"
		if mode == Leader {
			tail = "Proposal sizes last/min/max: -1/-1/-1\n"
		}
		if mode != Standalone {
			confText = conf(f.conf.DataDir, "1") + member
		}
		if mode == Follower || mode == Observer {
			sessions = "SessionTracker dump:\nGlobal Sessions(2):\n0x10\t4000ms\n0x20\t40000ms\n"
		}
		for w, want := range map[string]string{
			"ruok": "imok", "isro": "rw", "cons": connections,
			"srvr": versionLine + numbers(string(mode)) + tail,
			"stat": versionLine + clients + numbers(string(mode)) + tail,
			"conf": confText,
			"dirs": "datadir_size: 5\nlogdir_size: 5\n",
			"dump": sessions + ephemerals + connDump,
			"wchs": "2 connections watching 3 paths\nTotal watches:4\n",
			"wchc": "0x10\n\t/a\n0x20\n\t/a\n\t/b\n\n",
			"wchp": "/a\n\t0x10\n\t0x20\n/b\n\t0x20\n\n",
			"nope": "",
		} {
			if got := word(a, w); got != want {
				t.Errorf("%s %s:\n%q\nwant\n%q", mode, w, got, want)
			}
		}
	}
}

func TestMntr(t *testing.T) {
	for mode, peer := range map[Mode]string{Standalone: "", Leader: "leading", Follower: "following", Observer: "observing"} {
		a, _, _ := newTest(t, mode)
		got := word(a, "mntr")
		head := "zk_version\t3.9.4-coordd-0.1.0, built on 11/23/2026 10:00 UTC\nzk_server_state\t" + string(mode) + "\n"
		if peer != "" {
			head += "zk_peer_state\t" + peer + " - broadcast\n"
		}
		if !strings.HasPrefix(got, head) {
			t.Errorf("%s begins %q", mode, got[:min(len(got), 200)])
		}
		for _, line := range []string{"zk_avg_latency\t3.5", "zk_max_latency\t7", "zk_packets_received\t69", "zk_num_alive_connections\t4", "zk_znode_count\t75",
			"zk_watch_count\t6", "zk_ephemerals_count\t2", "zk_approximate_data_size\t900", "zk_global_sessions\t2", "zk_uptime\t1234", "zk_connection_drop_probability\t0.0"} {
			if !strings.Contains(got, "\n"+line+"\n") {
				t.Errorf("%s lacks %q", mode, line)
			}
		}
		for line, want := range map[string]bool{"zk_quorum_size\t3": mode != Standalone, "zk_synced_followers\t2": mode == Leader, "zk_last_proposal_size\t-1": mode == Leader} {
			if strings.Contains(got, "\n"+line+"\n") != want {
				t.Errorf("%s: %q there: %v", mode, line, !want)
			}
		}
	}
}

func TestOpenFilesAreCounted(t *testing.T) {
	if _, err := os.Stat("/proc/self/limits"); err == nil && (openFiles() < 3 || maxFiles() < openFiles()) {
		t.Errorf("open %d of %d", openFiles(), maxFiles())
	}
}

func TestWhitelist(t *testing.T) {
	a, f, _ := newTest(t, Standalone)
	f.fault = "no mntr"
	for _, serving := range []bool{true, false} {
		f.serving = serving
		if got, want := word(a, "mntr"), "mntr is not executed because it is not in the whitelist.\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for w, want := range map[string]bool{"ruok": true, "mntr": true, "srst": true, "nope": false, "\x00\x00\x00\x2d": false, "lead": false, "\x00\x00\x00\x00": false} {
		if got := a.IsWord([4]byte([]byte(w))); got != want {
			t.Errorf("IsWord %q: %v", w, got)
		}
	}
}

func TestNotServing(t *testing.T) {
	a, f, _ := newTest(t, Follower)
	f.serving = false
	for _, c := range commands {
		want := notServing + "\n"
		switch c.word {
		case "":
			continue
		case "ruok":
			want = "imok"
		case "isro":
			want = "null"
		case "gtmk":
			want = "306"
		case "envi":
			if got := word(a, "envi"); !strings.HasPrefix(got, "Environment:\nzookeeper.version=3.9.4-coordd-") || !strings.Contains(got, "\nos.memory.total=") {
				t.Errorf("envi: %q", got)
			}
			continue
		}
		if got := word(a, c.word); got != want {
			t.Errorf("%s: %q, want %q", c.word, got, want)
		}
	}
	if f.resets != 0 {
		t.Error("crst ran")
	}
}

func TestReadOnly(t *testing.T) {
	a, f, _ := newTest(t, Leader)
	f.readOnly = true
	if got, want := word(a, "srvr"), versionLine+"READ-ONLY mode; serving only read-only clients\n"+numbers("read-only"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := word(a, "isro"); got != "ro" {
		t.Errorf("isro: %q", got)
	}
}

func TestResets(t *testing.T) {
	a, f, set := newTest(t, Standalone)
	if got := word(a, "srst"); got != "Server stats reset.\n" || set.PacketsReceived.Load() != 0 || set.Latency.Max() != 0 {
		t.Errorf("srst: %q, received %d", got, set.PacketsReceived.Load())
	}
	if got := word(a, "crst"); got != "Connection stats reset.\n" || f.resets != 1 {
		t.Errorf("crst: %q, %d resets", got, f.resets)
	}
}

// get is an HTTP request's status and body.
func get(a *Admin, path string) (int, string) {
	rec := httptest.NewRecorder()
	a.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Code, rec.Body.String()
}

func TestJSONText(t *testing.T) {
	a, f, _ := newTest(t, Standalone)
	f.connections = f.connections[1:]
	for name, want := range map[string]string{
		"isro": "{\n  \"read_only\" : false,\n  \"command\" : \"is_read_only\",\n  \"error\" : null\n}",
		"ruok": "{\n  \"command\" : \"ruok\",\n  \"error\" : null\n}",
		"lead": "{\n  \"command\" : \"leader\",\n  \"error\" : \"server is not initialized\"\n}",
		"<a>":  "{\n  \"command\" : \"<a>\",\n  \"error\" : \"Unknown command: <a>\"\n}",
		"wchp": "{\n  \"path_to_session_ids\" : {\n    \"/a\" : [ 16, 32 ],\n    \"/b\" : [ 32 ]\n  },\n  \"command\" : \"watches_by_path\",\n  \"error\" : null\n}",
	} {
		if code, got := get(a, "/commands/"+name); code != 200 || got != want {
			t.Errorf("%s: %d\n%s\nwant\n%s", name, code, got, want)
		}
	}
	if _, got := get(a, "/commands/stat"); !strings.Contains(got, "\"connections\" : [ {\n    \"remote_socket_address\" : \"127.0.0.1:46748\",\n") ||
		!strings.Contains(got, "\n    \"packets_sent\" : 0\n  } ],\n  \"secure_connections\" : [ ],\n") || !strings.Contains(got, "\"avg_latency\" : 3.5,") {
		t.Errorf("stats:\n%s", got)
	}
}

func TestEveryCommandIsJSON(t *testing.T) {
	for _, mode := range []Mode{Standalone, Leader, Follower} {
		a, f, _ := newTest(t, mode)
		for _, serving := range []bool{true, false} {
			f.serving = serving
			for _, c := range commands {
				for _, name := range c.names {
					code, body := get(a, "/commands/"+name)
					var m map[string]any
					if err := json.Unmarshal([]byte(body), &m); err != nil || code != 200 || m["command"] != c.names[0] {
						t.Errorf("%s %s: %d %v %s", mode, name, code, err, body)
					}
					want := any(nil)
					if !serving && !c.alwaysHTTP {
						want = notServing
					} else if mode == Standalone && c.names[0] == "leader" {
						want = "server is not initialized"
					}
					if got, there := m["error"]; got != want || !there {
						t.Errorf("%s %s: error %v, want %v", mode, name, got, want)
					}
				}
			}
		}
	}
}

func TestJSONFields(t *testing.T) {
	a, _, _ := newTest(t, Leader)
	for name, want := range map[string]map[string]any{
		"configuration": {"client_port": 21710.0, "tick_time": 2000.0, "max_client_cnxns": 0.0, "min_session_timeout": 4000.0, "max_session_timeout": 40000.0, "server_id": 1.0, "client_port_listen_backlog": -1.0},
		"leader":        {"is_leader": true, "leader_id": 1.0, "leader_ip": "127.0.0.1"},
		"monitor":       {"server_state": "leader", "peer_state": "leading - broadcast", "avg_latency": 3.5, "znode_count": 75.0, "synced_followers": 2.0},
		"server_stats":  {"read_only": false, "node_count": 75.0},
		"watch_summary": {"num_connections": 2.0, "num_paths": 3.0, "num_total_watches": 4.0},
		"dirs":          {"datadir_size": 5.0, "logdir_size": 5.0},
	} {
		_, body := get(a, "/commands/"+name)
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if m[k] != v {
				t.Errorf("%s.%s: %v, want %v", name, k, m[k], v)
			}
		}
	}
}

func TestLinksAndPaths(t *testing.T) {
	a, f, _ := newTest(t, Standalone)
	for _, path := range []string{"/commands", "/commands/"} {
		if code, body := get(a, path); code != 200 || !strings.Contains(body, "<a href=\"/commands/server_stats\">server_stats</a>\n<br/>\n") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/", "/commandsx", "/healthy"} {
		if code, _ := get(a, path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
	rec := httptest.NewRecorder()
	a.Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/commands/crst", nil))
	if rec.Code != 405 || f.resets != 0 {
		t.Errorf("POST: %d, %d resets", rec.Code, f.resets)
	}
	f.conf.CommandURL = "/zk"
	if code, body := get(a, "/zk/ruok"); code != 200 || !strings.Contains(body, "ruok") {
		t.Errorf("/zk/ruok: %d %s", code, body)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		serving, readOnly bool
		fault             string
		health, ready     int
	}{
		{true, false, "", 200, 200},
		{true, true, "", 200, 503},
		{false, false, "", 503, 503},
		{true, false, "disk full", 503, 503},
	} {
		a, f, _ := newTest(t, Follower)
		f.serving, f.readOnly, f.fault = c.serving, c.readOnly, c.fault
		for path, want := range map[string]int{"/health": c.health, "/ready": c.ready} {
			code, body := get(a, path)
			var m map[string]any
			if err := json.Unmarshal([]byte(body), &m); err != nil || code != want || (m["error"] == nil) != (want == 200) {
				t.Errorf("%+v %s: %d %v %s", c, path, code, err, body)
			}
			if c.fault != "" && m["error"] != c.fault {
				t.Errorf("%s: error %v", path, m["error"])
			}
		}
	}
}
