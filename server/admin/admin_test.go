package admin

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

// fake is a Source whose answers are its fields.
type fake struct {
	serving, readOnly bool
	withdrawn         bool
	fault             string
	noSnapshot        error // what TakeSnapshot fails with
	mode              Mode
	conf              Conf
	leader            LeaderInfo
	connections       []Connection
	observers         []ObserverStream
	resets            int
}

func (f *fake) Serving() bool             { return f.serving }
func (f *fake) ReadOnly() bool            { return f.readOnly }
func (f *fake) Fault() string             { return f.fault }
func (f *fake) Withdrawn() bool           { return f.withdrawn }
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

func (f *fake) Quotas(int) map[string]Quota {
	return map[string]Quota{"app": {CountLimit: 10, BytesLimit: -1, Count: 3, Bytes: 40}}
}
func (f *fake) Observers() []ObserverStream { return f.observers }
func (f *fake) ResetObserverStats()         { f.resets++ }
func (f *fake) Digests() []Digest {
	return []Digest{{Zxid: 0x180, Digest: 5}, {Zxid: 0x200, Digest: 1 << 63}}
}
func (f *fake) LastSnapshot() (int64, time.Time) {
	if f.noSnapshot != nil {
		return 0, time.Time{}
	}
	return 0x1ff, time.Unix(1795418875, 0)
}
func (f *fake) TakeSnapshot() (*Snapshot, error) {
	if f.noSnapshot != nil {
		return nil, f.noSnapshot
	}
	return &Snapshot{ReadCloser: io.NopCloser(strings.NewReader("the state")), Zxid: 0x206, Size: 9}, nil
}

// Authorize takes digest with any claim, of which "root" may do everything, and
// ip.
func (f *fake) Authorize(remote netip.Addr, scheme string, claim []byte) (authentic, allowed bool) {
	if scheme == "ip" {
		return true, remote == netip.MustParseAddr("192.0.2.1")
	}
	return scheme == "digest" && claim != nil, string(claim) == "root"
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
		SnapshotEnabled: true, Text: "tickTime=2000\n", Properties: map[string]string{"zookeeper.snapCount": "7"},
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
	return New(f, set, func(w string) bool {
		return (w != "mntr" || f.fault != "no mntr") && (w != telnetCloseName || f.fault != "no telnet")
	}, "0.1.0", "11/23/2026 10:00 UTC"), f, set
}

func word(a *Admin, w string) string {
	var b strings.Builder
	a.Word(w, nil, &b)
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
			"hash": "180: 5\n200: -9223372036854775808\n",
			"gtmk": "306",
			"stmk": "",
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
	const telnet = telnetCloseName + " is not executed because it is not in the whitelist.\n"
	f.fault = "no telnet"
	if got := word(a, telnetClose); got != telnet {
		t.Errorf("%q, want %q", got, telnet)
	}
	f.fault = ""
	if got := word(a, telnetClose); got != "" {
		t.Errorf("telnet close: %q", got)
	}
	for w, want := range map[string]bool{"ruok": true, "mntr": true, "srst": true, "nope": false, "\x00\x00\x00\x2d": false, "stmk": true, "hash": true, "\xff\xf4\xff\xfd": true, "lead": false, "\x00\x00\x00\x00": false} {
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
		case "hash":
			want = notServing
		case "stmk":
			want = ""
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
	if got := word(a, "conf"); !strings.HasSuffix(got, "\nquorumPort=21741\npeerType=0\n") {
		t.Errorf("conf: %q", got)
	}
	for name, want := range map[string]string{
		"lead":        "{\n  \"error\" : \"server is not initialized\",\n  \"command\" : \"leader\"\n}",
		"voting_view": "{\n  \"current_config\" : { },\n  \"command\" : \"voting_view\",\n  \"error\" : null\n}",
		"zabstate":    "{\n  \"voting\" : false,\n  \"zabstate\" : \"\",\n  \"command\" : \"zabstate\",\n  \"error\" : null\n}",
	} {
		if _, got := get(a, "/commands/"+name); got != want {
			t.Errorf("%s: %s", name, got)
		}
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
		"lead": "{\n  \"error\" : \"server is not initialized\",\n  \"command\" : \"leader\"\n}",
		"hash": "{\n  \"digests\" : [ {\n    \"zxid\" : 384,\n    \"digest_version\" : 2,\n    \"digest\" : 5\n  }, {\n    \"zxid\" : 512,\n    \"digest_version\" : 2,\n    \"digest\" : -9223372036854775808\n  } ],\n  \"command\" : \"hash\",\n  \"error\" : null\n}",
		"icfg": "{\n  \"initial_configuration\" : \"tickTime=2000\\n\",\n  \"command\" : \"initial_configuration\",\n  \"error\" : null\n}",
		"lsnp": "{\n  \"zxid\" : \"1ff\",\n  \"timestamp\" : 1795418875,\n  \"command\" : \"last_snapshot\",\n  \"error\" : null\n}",
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
					wantCode, wantName, want := 200, c.names[0], any(nil)
					switch {
					case !serving && !c.alwaysHTTP:
						wantName, want = name, notServing
					case !serving && c.names[0] == "monitor":
						want = notServing
					case c.run != nil:
						wantCode, wantName, want = 401, name, "Auth info is missing for the command"
					case mode == Standalone && c.names[0] == "leader":
						want = "server is not initialized"
					case c.names[0] == "set_trace_mask":
						want = "setTraceMask requires long traceMask argument"
					}
					var m map[string]any
					if err := json.Unmarshal([]byte(body), &m); err != nil || code != wantCode || m["command"] != wantName {
						t.Errorf("%s %s: %d %v %s", mode, name, code, err, body)
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
	f.conf.CommandURL = "/zk"
	if code, body := get(a, "/zk/ruok"); code != 200 || !strings.Contains(body, "ruok") {
		t.Errorf("/zk/ruok: %d %s", code, body)
	}
}

// do is an HTTP request's answer.
func do(a *Admin, method, path, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	a.Handler().ServeHTTP(rec, r)
	return rec
}

func TestMethods(t *testing.T) {
	a, f, _ := newTest(t, Standalone)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"HEAD", "/commands/ruok", 200}, {"POST", "/commands/nope", 200}, {"POST", "/commands", 200}, {"POST", "/commands/crst", 405},
		{"PUT", "/commands/crst", 405}, {"DELETE", "/commands/crst", 405}, {"TRACE", "/commands/crst", 403}, {"FOO", "/commands/crst", 501},
		{"OPTIONS", "/commands/crst", 200}, {"POST", "/commands/restore", 401}, {"PUT", "/ready", 405}, {"HEAD", "/ready", 200},
	} {
		if got := do(a, c.method, c.path, "").Code; got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got, c.want)
		}
	}
	if f.resets != 0 {
		t.Errorf("%d resets", f.resets)
	}
	if got := do(a, "OPTIONS", "/commands/ruok", "").Header().Get("Allow"); got != "GET, HEAD, POST, TRACE, OPTIONS" {
		t.Errorf("allowed: %s", got)
	}
}

func TestGuardedCommands(t *testing.T) {
	const sent = "the state"
	answer := func(name, reason string) string {
		o := object{{"command", name}, {"error", reason}}
		if reason == "" {
			o[1].value = nil
		}
		var b bytes.Buffer
		o.write(&b, 0)
		return b.String()
	}
	for _, c := range []struct {
		method, path, authorization string
		prepare                     func(f *fake)
		status                      int
		body                        string
	}{
		{"GET", "snap", "", nil, 401, answer("snap", "Auth info is missing for the command")},
		{"GET", "snap", "digest", nil, 401, answer("snap", "Not authenticated")},
		{"GET", "snap", "world anyone", nil, 401, answer("snap", "Not authenticated")},
		{"GET", "snap", "digest root more", nil, 401, answer("snap", "Not authenticated")},
		{"GET", "snap", "digest  root", nil, 401, answer("snap", "Not authenticated")},
		{"GET", "snap", "digest ann", nil, 403, answer("snap", "Not authorized")},
		{"GET", "snapshot", "digest root", nil, 200, sent},
		{"GET", "snapshot", "digest root ", nil, 200, sent},
		{"GET", "snapshot", "ip", nil, 200, sent},
		{"GET", "snap?streaming=true", "digest root", nil, 200, sent},
		{"GET", "snap?streaming=false", "digest root", nil, 200, answer("snapshot", "")},
		{"GET", "snap?streaming=x", "digest root", nil, 200, answer("snapshot", "")},
		{"GET", "snap", "digest root", func(f *fake) { f.conf.SnapshotEnabled = false }, 503, answer("snapshot", "")},
		{"GET", "snap", "digest root", func(f *fake) { f.noSnapshot = errors.New("disk full") }, 500, answer("snapshot", "")},
		{"GET", "snap", "digest root", func(f *fake) { f.serving = false }, 200, answer("snap", notServing)},
		{"POST", "snap", "digest root", nil, 405, answer("snap", "POST is not the method of this command")},
		{"POST", "rest", "digest root", nil, 503, answer("restore", "")},
		{"POST", "rest", "digest ann", nil, 403, answer("rest", "Not authorized")},
		{"GET", "rest", "digest root", nil, 405, answer("rest", "GET is not the method of this command")},
	} {
		a, f, _ := newTest(t, Standalone)
		if c.prepare != nil {
			c.prepare(f)
		}
		rec := do(a, c.method, "/commands/"+c.path, c.authorization)
		if rec.Code != c.status || rec.Body.String() != c.body {
			t.Errorf("%s %s %q: %d %s, want %d %s", c.method, c.path, c.authorization, rec.Code, rec.Body, c.status, c.body)
		}
		var told []string
		for name, values := range rec.Header() {
			if name == "last_zxid" || name == "snapshot_size" { // as they are, for scripts
				told = append(told, values...)
			}
		}
		slices.Sort(told)
		if slices.Equal(told, []string{"0x206", "9"}) != (c.status == 200 && f.serving) {
			t.Errorf("%s %s %q: headers %q", c.method, c.path, c.authorization, told)
		}
	}
}

func TestSnapshotsAreRateLimited(t *testing.T) {
	a, f, set := newTest(t, Standalone)
	f.conf.SnapshotInterval = time.Hour
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		if got := do(a, "GET", "/commands/snap", "digest root").Code; got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if n := set.SnapshotsLimited.Load(); n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

func TestTraceMask(t *testing.T) {
	a, _, _ := newTest(t, Standalone)
	set := func(mask int64) string {
		var b strings.Builder
		a.Word("stmk", append(binary.BigEndian.AppendUint64(nil, uint64(mask)), '\n'), &b)
		return b.String()
	}
	if got, want := set(-7)+word(a, "gtmk"), "-7-7"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for query, want := range map[string]string{
		"":                  `"error" : "setTraceMask requires long traceMask argument"`,
		"?traceMask=":       `"error" : "setTraceMask requires long traceMask argument, got "`,
		"?traceMask=1x":     `"error" : "setTraceMask requires long traceMask argument, got 1x"`,
		"?traceMask=%2b12":  `"tracemask" : 12`,
		"?traceMask=9&x=10": `"tracemask" : 9`,
	} {
		if _, got := get(a, "/commands/stmk"+query); !strings.HasPrefix(got, "{\n  "+want+",\n  \"command\" : \"set_trace_mask\"") {
			t.Errorf("%s: %s", query, got)
		}
	}
}

func TestSystemProperties(t *testing.T) {
	a, _, _ := newTest(t, Standalone)
	_, got := get(a, "/commands/sysp")
	for _, line := range []string{`"zookeeper.snapCount" : "7"`, `"os.arch" : `, `"user.dir" : `, `"line.separator" : "\n"`} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in %s", line, got)
		}
	}
	for _, absent := range []string{"java.home", "os.memory", "host.name"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s in %s", absent, got)
		}
	}
}

func TestNoSnapshotAndNoFile(t *testing.T) {
	a, f, _ := newTest(t, Leader)
	f.noSnapshot = errors.New("there is none")
	if _, got := get(a, "/commands/lsnp"); !strings.HasPrefix(got, "{\n  \"zxid\" : \"ffffffffffffffff\",\n  \"timestamp\" : -1,") {
		t.Errorf("last_snapshot: %s", got)
	}
	if _, got := get(a, "/commands/icfg"); !strings.HasPrefix(got, "{\n  \"initial_configuration\" : null,") {
		t.Errorf("initial_configuration of a member: %s", got)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		serving, readOnly, withdrawn bool
		fault                        string
		health, ready                int
	}{
		{true, false, false, "", 200, 200},
		{true, true, false, "", 200, 503},
		{true, false, true, "", 200, 503},
		{false, false, false, "", 503, 503},
		{true, false, false, "disk full", 503, 503},
	} {
		a, f, _ := newTest(t, Follower)
		f.serving, f.readOnly, f.withdrawn, f.fault = c.serving, c.readOnly, c.withdrawn, c.fault
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
