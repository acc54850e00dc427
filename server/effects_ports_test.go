package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/admin"
)

// reachable reports whether something listens at host and port.
func reachable(t *testing.T, host string, port int) bool {
	t.Helper()
	nc, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		return false
	}
	nc.Close()
	return true
}

// fetch returns status and body of a page.
func fetch(t *testing.T, host string, port int, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + net.JoinHostPort(host, strconv.Itoa(port)) + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func freePort(t *testing.T) int { return zkprocess.FreePorts(t, "0.0.0.0", 1)[0] }

func effectOfClientPort(t *testing.T) {
	port := freePort(t)
	alone(t, fmt.Sprintf("clientPort=%d", port))
	if !reachable(t, "127.0.0.1", port) || reachable(t, "127.0.0.2", port) {
		t.Error("not on 127.0.0.1 alone")
	}
	s := alone(t, "clientPortAddress=0.0.0.0")
	if !reachable(t, "127.0.0.2", s.cfg.ClientPort) {
		t.Error("not on all interfaces")
	}
}

func effectOfKeepAlive(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := alone(t, fmt.Sprintf("clientTcpKeepAlive=%v", on))
		raw, err := s.owner(dial(t, s).id).nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var option int
		if cerr := raw.Control(func(fd uintptr) {
			option, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		}); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if (option != 0) != on {
			t.Errorf("keep-alive %v: the option is %d", on, option)
		}
	}
}

func effectOfSessionTimeouts(t *testing.T) {
	for _, tc := range []struct {
		lines           []string
		least, greatest int32
	}{
		{[]string{"tickTime=150", "maxSessionTimeout=-1"}, 300, 3000},
		{[]string{"minSessionTimeout=700", "maxSessionTimeout=-1"}, 700, 2000},
		{[]string{"maxSessionTimeout=900"}, 200, 900},
	} {
		s := alone(t, tc.lines...)
		for asked, want := range map[int32]int32{1: tc.least, 1 << 30: tc.greatest, 800: 800} {
			w := dialRaw(t, s)
			if !w.connect(protocol.ConnectRequest{TimeoutMs: asked}) || w.timeoutMs != want {
				t.Errorf("%v: got %d ms for %d, want %d", tc.lines, w.timeoutMs, asked, want)
			}
		}
	}
}

// word sends a four-letter word and returns the answer.
func (s *Server) word(t *testing.T, word string) string {
	t.Helper()
	w := dialRaw(t, s)
	w.send([]byte(word))
	answer, err := io.ReadAll(w.in)
	if err != nil && !closedByServer(err) {
		t.Fatal(err)
	}
	return string(answer)
}

func effectOfWhitelist(t *testing.T) {
	const refused = " is not executed because it is not in the whitelist."
	for _, tc := range []struct {
		line    string
		allowed string // of ruok, srvr and conf
	}{
		{"#", "srvr"},
		{"4lw.commands.whitelist=ruok, conf", "ruok srvr conf"},
		{"4lw.commands.whitelist=*", "ruok srvr conf"},
		{"4lw.commands.whitelist=nosuch", "srvr"},
	} {
		s := alone(t, tc.line)
		for _, word := range []string{"ruok", "srvr", "conf"} {
			answer := s.word(t, word)
			if want := strings.Contains(tc.allowed, word); want == strings.HasSuffix(strings.TrimSpace(answer), refused) || answer == "" {
				t.Errorf("%s: %s is answered %q", tc.line, word, answer)
			}
		}
	}
}

func effectOfMetricsPort(t *testing.T) {
	const class, zk = "metricsProvider.className=", "org.apache.zookeeper.metrics."
	port := freePort(t)
	where := []string{"metricsProvider.httpHost=127.0.0.1", fmt.Sprintf("metricsProvider.httpPort=%d", port)}
	for _, none := range []string{"#", class + zk + "impl.DefaultMetricsProvider", class + zk + "impl.NullMetricsProvider"} {
		alone(t, append(where, none)...)
		if reachable(t, "127.0.0.1", port) {
			t.Errorf("%s: the port is open", none)
		}
	}
	alone(t, append(where, class+zk+"prometheus.PrometheusMetricsProvider")...)
	if status, body := fetch(t, "127.0.0.1", port, "/metrics"); status != 200 || !strings.Contains(body, "# TYPE packets_received") {
		t.Errorf("%d, %.100s", status, body)
	}
	if reachable(t, "127.0.0.2", port) {
		t.Error("not on 127.0.0.1 alone")
	}
}

func effectOfAdminPort(t *testing.T) {
	port := freePort(t)
	lines := []string{"admin.enableServer=true", fmt.Sprintf("admin.serverPort=%d", port)}
	s := alone(t, append(lines, "admin.serverAddress=127.0.0.3", "admin.commandURL=/a/b")...)
	for path, want := range map[string]int{"/a/b/ruok": 200, "/commands/ruok": 404} {
		if status, body := fetch(t, "127.0.0.3", port, path); status != want {
			t.Errorf("%s: %d, %s", path, status, body)
		}
	}
	if reachable(t, "127.0.0.1", port) {
		t.Error("not on 127.0.0.3 alone")
	}
	s.Shutdown()
	s = alone(t, lines...)
	if status, _ := fetch(t, "127.0.0.1", port, "/commands/ruok"); status != 200 {
		t.Errorf("on all interfaces: %d", status)
	}
	s.Shutdown()
	alone(t, append(lines, "admin.enableServer=false")...)
	if reachable(t, "127.0.0.1", port) {
		t.Error("the AdminServer is there")
	}
}

func effectOfAdminIdleTimeout(t *testing.T) {
	for idle, closed := range map[int]bool{100: true, 60_000: false} {
		port := freePort(t)
		alone(t, "admin.enableServer=true", fmt.Sprintf("admin.serverPort=%d", port), fmt.Sprintf("admin.idleTimeout=%d", idle))
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		in := bufio.NewReader(nc)
		fmt.Fprintf(nc, "GET /commands/ruok HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		wait := patience
		if !closed {
			wait = 400 * time.Millisecond
		}
		nc.SetReadDeadline(time.Now().Add(wait))
		if _, err := in.ReadByte(); closedByServer(err) != closed {
			t.Errorf("idle timeout of %d ms: %v", idle, err)
		}
	}
}

func effectOfAdminSnapshot(t *testing.T) {
	for _, tc := range []struct {
		line   string
		status [2]int // of two in a row
	}{
		{"admin.rateLimiterIntervalInMS=0", [2]int{200, 200}},
		{"admin.rateLimiterIntervalInMS=2000000000", [2]int{200, 429}},
		{"admin.snapshot.enabled=false", [2]int{503, 503}},
	} {
		port := freePort(t)
		alone(t, "admin.enableServer=true", fmt.Sprintf("admin.serverPort=%d", port), tc.line)
		for _, want := range tc.status {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/commands/snapshot", port), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "digest root:root")
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %d, want %d", tc.line, resp.StatusCode, want)
			}
		}
	}
}

// lonely is an ensemble of one, which opens the ports between servers.
func lonely(t *testing.T, lines ...string) (*Server, *ensemble) {
	t.Helper()
	e := newEnsemble(t, 1, lines...)
	return e.start(0), e
}

func effectOfStandaloneEnabled(t *testing.T) {
	s, e := lonely(t, "standaloneEnabled=false")
	e.leads()
	if s.Mode() != admin.Leader || !reachable(t, "127.0.0.1", e.ports[0][1]) || !reachable(t, "127.0.0.1", e.ports[0][2]) {
		t.Errorf("false: mode %v, or the ports for others are not open", s.Mode())
	}
	e.stop(0)
	e.lose(0, ".")
	e.lines = "standaloneEnabled=true"
	if s := e.start(0); s.Mode() != admin.Standalone || reachable(t, "127.0.0.1", e.ports[0][1]) || reachable(t, "127.0.0.1", e.ports[0][2]) {
		t.Errorf("true: mode %v, or the ports for others are open", s.Mode())
	}
}

func effectOfListeningOnAll(t *testing.T) {
	_, e := lonely(t, "standaloneEnabled=false", "quorumListenOnAllIPs=true")
	for _, port := range e.ports[0][1:] {
		if !reachable(t, "127.0.0.9", port) {
			t.Error("true: not on all interfaces")
		}
	}
	e.stop(0)
	e.lines = "standaloneEnabled=false"
	e.start(0)
	for _, port := range e.ports[0][1:] {
		if !reachable(t, "127.0.0.1", port) || reachable(t, "127.0.0.9", port) {
			t.Error("false: not on the address of server.1 alone")
		}
	}
}

func effectOfVersion(t *testing.T) {
	s, e := lonely(t, "standaloneEnabled=false", "version=1f")
	e.leads()
	var got protocol.GetDataResponse
	decode(t, dial(t, s).call(protocol.OpGetData, read("/zookeeper/config"), protocol.OK).body, &got)
	if !strings.HasSuffix(string(got.Data), "\nversion=1f") {
		t.Errorf("the members are %q", got.Data)
	}
}

func effectOfLeaderServes(t *testing.T) {
	s, e := lonely(t, "standaloneEnabled=false", "leaderServes=no")
	e.leads()
	dialRaw(t, s).send(framed((&protocol.ConnectRequest{}).AppendTo(nil)))
	if dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) {
		t.Error("no: a leader takes a client")
	}
	e.stop(0)
	e.lines = "standaloneEnabled=false"
	s = e.start(0)
	e.leads()
	dial(t, s)
}

func effectOfDynamicFile(t *testing.T) {
	for name, version := range map[string]string{"members": "1f", "members.2a": "2a"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		text := fmt.Sprintf("server.7=127.0.0.1:%d:%d;127.0.0.1:%d\nversion=1f\n", freePort(t), freePort(t), freePort(t))
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "myid"), []byte("7"), 0o600)); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Parse("zoo.cfg", strings.NewReader(fmt.Sprintf("dataDir=%s\ndynamicConfigFile=%s\nstandaloneEnabled=false\n"+
			"initLimit=10\nsyncLimit=50\nadmin.enableServer=false\n", dir, file)), os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		s := run(t, cfg, hclog.NewNullLogger())
		eventually(t, "the server takes clients", s.Serving)
		if s.id != 7 || s.Mode() != admin.Leader {
			t.Errorf("server %d, mode %v", s.id, s.Mode())
		}
		var got protocol.GetDataResponse
		decode(t, dial(t, s).call(protocol.OpGetData, read("/zookeeper/config"), protocol.OK).body, &got)
		if want := strings.SplitN(text, "\n", 2)[0]; !strings.Contains(string(got.Data), strings.Replace(want, ";", ":participant;", 1)) || !strings.HasSuffix(string(got.Data), "version="+version) {
			t.Errorf("%s: the members are %q", name, got.Data)
		}
	}
}
