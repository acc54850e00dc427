//go:build operations

package operations

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// words are what is sent to the client port, in this order.
var words = []string{
	"ruok", "ruok\n", "ruok\r\n", "srvr", "srvr\n", "stat", "cons", "conf", "dump", "wchs", "wchc", "wchp", "envi", "dirs", "isro", "mntr", "hash",
	"gtmk", "stmk", "stmk\n", "stmk\x00\x00\x00\x00\x00\x00\x01\x00", "gtmk", "stmk\xff\xff\xff\xff\xff\xff\xff\xfe\n", "gtmk",
	"stmk\x00\x00\x00\x00\x00\x00\x01\x32", "srst", "crst",
	"nope", "RUOK", "lead", "reqs", "kill", "\xff\xf4\xff\xfd", "\xff\xff\xff\xff", "ruokruok", "srvrstat",
}

// ask sends bytes, in one packet each, and returns all that comes back until the
// server hangs up.
func ask(addr string, packets ...string) (string, error) {
	nc, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	for i, packet := range packets {
		if i > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		if packet == endOfInput {
			_ = nc.(*net.TCPConn).CloseWrite() // an error means that the server has hung up
		} else if _, err := io.WriteString(nc, packet); err != nil {
			return "", err
		}
	}
	answer, err := io.ReadAll(nc)
	if errors.Is(err, syscall.ECONNRESET) { // bytes that nobody read make of the end a reset
		err = nil
	}
	return string(answer), err
}

// endOfInput stands for what `echo ruok | nc -N` does behind the word.
const endOfInput = ""

// pieces are words that do not come in one packet.
var pieces = [][]string{{"ru", "ok"}, {"s", "r", "v", "r\n"}, {"ruok", endOfInput}, {"isro\n", endOfInput}, {"ru", endOfInput}, {endOfInput}}

func compareWords(t *testing.T, role string, theirs, ours *node, used map[*difference]bool) {
	for _, w := range words {
		where := fmt.Sprintf("%s: %q", role, w)
		var lines [2][]string
		for i, n := range []*node{theirs, ours} {
			answer, err := ask(n.Addr(), w)
			if err != nil {
				t.Errorf("%s at %s: %v", where, n.Addr(), err)
			}
			lines[i] = wordLines(w, n, answer)
		}
		if strings.HasPrefix(w, "mntr") && len(lines[0]) > 1 {
			lines[0], lines[1] = compareMonitors(t, where, lines[0], lines[1])
		}
		compare(t, where, withoutMode(role, lines[0]), withoutMode(role, lines[1]), used)
	}
	for _, p := range pieces {
		where := fmt.Sprintf("%s: %q", role, p)
		a, errA := ask(theirs.Addr(), p...)
		b, errB := ask(ours.Addr(), p...)
		if errA != nil || errB != nil {
			t.Errorf("%s: %v, %v", where, errA, errB)
		}
		word := strings.Join(p, "")
		compare(t, where, withoutMode(role, wordLines(word, theirs, a)), withoutMode(role, wordLines(word, ours, b)), used)
	}
}

// withoutMode drops who leads where that is not known.
func withoutMode(role string, lines []string) []string {
	if role != bare {
		return lines
	}
	return slices.DeleteFunc(lines, regexp.MustCompile(`^(Mode: (leader|follower)|Proposal sizes .*)$`).MatchString)
}

// shape is a rule by which what varies is made equal.
type shape struct {
	pattern *regexp.Regexp
	with    string
}

func rule(pattern, with string) shape { return shape{regexp.MustCompile(`(?m)` + pattern), with} }

// shapes are applied to all answers, then those of the word.
var (
	shapes = []shape{
		rule(`3\.9\.4-\S+, built on (\d{4}-\d\d-\d\d|\d\d/\d\d/\d{4}) \d\d:\d\d \S+$`, "<version>"),
		rule(`/127\.0\.0\.\d+:\d+`, "<client>"),
		rule(`:\d{5}\b`, ":<port>"),
		rule(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z][a-z] \d\d \d\d:\d\d:\d\d \S+ 20\d\d`, "<date>"),
	}
	wordShapes = map[string][]shape{
		"srvr": numbers,
		"stat": append([]shape{rule(`recved=\d+,sent=\d+`, "recved=<n>,sent=<n>")}, numbers...),
		"cons": connectionShapes,
		"conf": {rule(`^(\w*Port)=\d{5}$`, "$1=<port>"), rule(`^(data\w*Size)=\d+$`, "$1=<n>"), rule(`^(data\w*Dir)=/\S+$`, "$1=<path>"), rule(`^serverId=[123]$`, "serverId=<id>"), rule(`127\.0\.0\.[456]`, "<host>")},
		"dirs": {rule(`\d+$`, "<n>")},
		"hash": {rule(`^[0-9a-f]+: -?\d+$`, "<zxid>: <digest>")},
	}
	numbers = []shape{
		rule(`^(Latency min/avg/max): \d+/\d+\.\d+/\d+$`, "$1: <n>/<f>/<n>"),
		rule(`^(Received|Sent): \d+$`, "$1: <n>"),
		rule(`^Zxid: 0x[0-9a-f]+$`, "Zxid: <zxid>"),
		rule(`^(Proposal sizes last/min/max): \d+/\d+/\d+$`, "$1: <n>/<n>/<n>"),
	}
	connectionShapes = []shape{
		rule(`est=\d{13}`, "est=<ms>"), rule(`lresp=\d+`, "lresp=<n>"), rule(`lzxid=0x[0-9a-f]+`, "lzxid=<zxid>"),
		rule(`(llat|minlat|avglat|maxlat)=\d+`, "$1=<n>"),
	}
)

// wordLines is an answer as it is compared: a line each, the last one without
// its newline marked, and what has no order sorted.
func wordLines(word string, n *node, answer string) []string {
	for id, name := range n.sessions {
		answer = strings.ReplaceAll(answer, fmt.Sprintf("0x%x", uint64(id)), "<session of "+name+">")
	}
	key := word[:min(4, len(word))]
	for _, s := range append(slices.Clone(shapes), wordShapes[key]...) {
		answer = s.pattern.ReplaceAllString(answer, s.with)
	}
	whole := strings.HasSuffix(answer, "\n")
	lines := strings.Split(strings.TrimSuffix(answer, "\n"), "\n")
	switch key {
	case "cons", "stat":
		first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, " ") })
		if end := slices.Index(lines, ""); first >= 0 && end > first {
			slices.Sort(lines[first:end])
		}
	case "dump":
		lines = dumpLines(lines)
	case "hash":
		lines = slices.Compact(lines)
	case "wchc", "wchp":
		lines = sortBlocks(lines)
	case "envi":
		for i, l := range lines {
			if name, value, ok := strings.Cut(l, "="); ok {
				lines[i] = name + "=" + environmentForm(name, value)
			}
		}
	}
	if !whole {
		lines[len(lines)-1] += " (and no newline)"
	}
	return lines
}

// environmentForm is a value of the environment as it is compared: those that
// two processes on one machine share as they are.
func environmentForm(name, value string) string {
	switch name {
	case "user.name", "user.home", "os.name", "os.arch", "os.version", "java.io.tmpdir", "zookeeper.version":
		return value
	case "os.memory.free", "os.memory.max", "os.memory.total":
		return rule(`^\d+MB$`, "<n>MB").apply(value)
	}
	if value == "" {
		return ""
	}
	return "<text>"
}

// dumpLines drops the grouping by time, whose form it checks, and sorts what is
// left of each part.
func dumpLines(lines []string) []string {
	group := regexp.MustCompile(`^\d+ expire at <date>:$`)
	sets := regexp.MustCompile(`^(.* Sets) \(\d+\)/(\(\d+\)):$`)
	var out []string
	start := 0
	for _, l := range lines {
		if group.MatchString(l) {
			continue
		}
		l = sets.ReplaceAllString(l, "$1 (<n>)/$2:")
		if !strings.HasPrefix(l, "\t") && !strings.HasPrefix(l, "<session") {
			slices.Sort(out[start:])
			start = len(out) + 1
		}
		if strings.HasPrefix(l, "<session") && strings.HasSuffix(l, ":") { // its paths follow
			out = append(out, l)
			continue
		}
		out = append(out, l)
	}
	slices.Sort(out[min(start, len(out)):])
	return out
}

// sortBlocks sorts lines that begin a block, with the indented lines below each
// of them, which it sorts too.
func sortBlocks(lines []string) []string {
	var blocks [][]string
	for _, l := range lines {
		if strings.HasPrefix(l, "\t") && len(blocks) > 0 {
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], l)
		} else {
			blocks = append(blocks, []string{l})
		}
	}
	for _, b := range blocks {
		slices.Sort(b[1:])
	}
	slices.SortStableFunc(blocks, func(a, b []string) int { return -strings.Compare(a[0], b[0]) }) // the empty line last
	return slices.Concat(blocks...)
}

// gauges are what monitoring asks of mntr, by role; a leader and a follower have
// the members' too.
var gauges = map[string][]string{
	"": {
		"version", "server_state", "avg_latency", "min_latency", "max_latency", "packets_received", "packets_sent", "num_alive_connections", "outstanding_requests",
		"znode_count", "watch_count", "ephemerals_count", "approximate_data_size", "open_file_descriptor_count", "max_file_descriptor_count", "global_sessions",
		"local_sessions", "uptime", "connection_drop_probability", "last_client_response_size", "min_client_response_size", "max_client_response_size",
		"auth_failed_count", "non_mtls_remote_conn_count", "non_mtls_local_conn_count", "outstanding_tls_handshake",
	},
	"member": {"peer_state", "quorum_size"},
	leader: {
		"learners", "synced_followers", "synced_non_voting_followers", "synced_observers", "pending_syncs", "leader_uptime",
		"last_proposal_size", "min_proposal_size", "max_proposal_size",
	},
}

func gaugesOf(role string) []string {
	names := slices.Clone(gauges[""])
	if role == leader || role == follower || role == observer {
		names = append(names, gauges["member"]...)
	}
	return append(names, gauges[role]...)
}

// compareMonitors keeps of both answers the gauges that monitoring asks for, with
// the form of their values, and what stands in front of all others.
func compareMonitors(t *testing.T, where string, theirs, ours []string) ([]string, []string) {
	role, _, _ := strings.Cut(where, ":")
	names := gaugesOf(role)
	exact := []string{"version", "server_state", "peer_state", "znode_count", "num_alive_connections", "quorum_size", "ephemerals_count", "approximate_data_size",
		"global_sessions", "local_sessions", "watch_count", "learners", "synced_followers", "synced_observers", "synced_non_voting_followers", "pending_syncs"}
	pick := func(lines []string) (head, picked []string) {
		for i, l := range lines {
			name, value, ok := strings.Cut(strings.TrimPrefix(l, "zk_"), "\t")
			if !ok || !strings.HasPrefix(l, "zk_") {
				t.Errorf("%s: not a line of mntr: %q", where, l)
			}
			if i < 3 {
				head = append(head, l)
			}
			if !slices.Contains(names, name) {
				continue
			}
			if !slices.Contains(exact, name) {
				value = valueForm(value)
			}
			picked = append(picked, name+" = "+value)
		}
		if role != leader && role != follower && role != observer {
			head = head[:2]
		}
		slices.Sort(picked)
		return head, picked
	}
	theirHead, theirs := pick(theirs)
	ourHead, ours := pick(ours)
	if len(theirs) != len(names) {
		t.Errorf("%s: ZooKeeper has %d of the gauges that this test takes for its: %q", where, len(theirs), theirs)
	}
	return append(theirHead, theirs...), append(ourHead, ours...)
}

func valueForm(value string) string {
	for _, f := range []shape{rule(`^-?\d+$`, "<n>"), rule(`^-?\d+\.\d+(E-?\d+)?$`, "<f>")} {
		value = f.pattern.ReplaceAllString(value, f.with)
	}
	return value
}

// compareConnections looks at one session in cons after each of some operations.
func compareConnections(t *testing.T, theirs, ours *node) {
	steps := []struct {
		name string
		do   func(c *zkclient.Client) error
	}{
		{"connect", func(*zkclient.Client) error { return nil }},
		{"create", func(c *zkclient.Client) error { return create(c, "/steps", protocol.Ephemeral) }},
		{"get", func(c *zkclient.Client) error { _, _, err := c.Get("/steps", true); return err }},
		{"event", func(c *zkclient.Client) error { _, err := c.Set("/steps", nil, -1); return err }},
		{"failure", func(c *zkclient.Client) error { return expect(c.Delete("/none", -1), protocol.NoNode) }},
		{"ping", (*zkclient.Client).Ping},
		{"children", func(c *zkclient.Client) error { _, _, err := c.Children("/", false); return err }},
		{"exists", func(c *zkclient.Client) error { _, err := c.Exists("/none", true); return expect(err, protocol.NoNode) }},
		{"sync", func(c *zkclient.Client) error { return c.Sync("/") }},
		{"multi", func(c *zkclient.Client) error { _, err := c.Multi(); return err }},
		{"addWatch", func(c *zkclient.Client) error { return c.AddWatch("/x", protocol.WatchPersistent) }},
		{"whoAmI", func(c *zkclient.Client) error { _, _, err := c.Go(protocol.OpWhoAmI, nil).Wait(); return err }},
		{"unknown op, refused", func(c *zkclient.Client) error { _, _, err := c.Go(protocol.OpGetACL, nil).Wait(); return err }},
	}
	var seen [2][]string
	for i, n := range []*node{theirs, ours} {
		c := n.dial(t, "steps")
		for _, s := range steps {
			if err := s.do(c); err != nil {
				t.Fatalf("%s at %s: %v", s.name, n.Addr(), err)
			}
			seen[i] = append(seen[i], s.name+":"+sessionLine(t, n, c))
		}
		if _, err := ask(n.Addr(), "crst"); err != nil {
			t.Fatal(err)
		}
		seen[i] = append(seen[i], "crst:"+sessionLine(t, n, c))
		must(t, c.Close())
	}
	compare(t, "cons", seen[0], seen[1], map[*difference]bool{})
}

func expect(got error, want protocol.ErrCode) error {
	if got != want {
		return fmt.Errorf("%v, not %v", got, want)
	}
	return nil
}

// sessionLine is the line of cons about the session of c, once it says that
// nothing is under way: both send a reply before they are done with its books.
func sessionLine(t *testing.T, n *node, c *zkclient.Client) string {
	t.Helper()
	line := ""
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		answer, err := ask(n.Addr(), "cons")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range wordLines("cons", n, answer) {
			if strings.Contains(l, "session of "+n.sessions[c.SessionID()]) {
				line = l
			}
		}
		if strings.HasPrefix(line, " <client>[1](queued=0,") {
			return line
		}
	}
	t.Fatalf("the session is never at rest: %s", line)
	return ""
}
