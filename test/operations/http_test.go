//go:build operations

package operations

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
)

// question is one request to the AdminServer.
type question struct {
	method, path string
	auth         string // the header Authorization
	body         string
}

func (q question) String() string {
	s := q.method + " " + q.path
	if q.auth != "" {
		s += ", Authorization: " + q.auth
	}
	return s
}

// names are the commands' names and aliases, and names that nobody has.
var names = []string{
	"configuration", "conf", "config", "connections", "cons", "connection_stat_reset", "crst", "dirs", "dump", "environment", "env", "envi",
	"get_trace_mask", "gtmk", "hash", "initial_configuration", "icfg", "is_read_only", "isro", "last_snapshot", "lsnp", "leader", "lead",
	"monitor", "mntr", "observer_connection_stat_reset", "orst", "observers", "obsr", "restore", "rest", "ruok", "server_stats", "srvr",
	"set_trace_mask", "stmk", "snapshot", "snap", "stat_reset", "srst", "stats", "stat", "system_properties", "sysp", "voting_view",
	"watches", "wchc", "watches_by_path", "wchp", "watch_summary", "wchs", "zabstate",
	"nope", "RUOK", "ruok/", "/ruok", "a%20b", "a%2fb", "%22%3c%c3%a9", "reqs", "",
}

// questions are asked in this order. What is up to the web server rather than to
// the role is asked of two roles only, to save time.
func questions(role string) (all []question) {
	for _, n := range names {
		all = append(all, question{method: "GET", path: "/commands/" + n})
		if role == standalone || role == lonely {
			all = append(all, question{method: "HEAD", path: "/commands/" + n}, question{method: "POST", path: "/commands/" + n})
		}
	}
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, path := range []string{"/commands/ruok", "/commands/nope", "/commands"} {
			all = append(all, question{method: method, path: path})
		}
	}
	for _, path := range []string{
		"/commands", "/", "/commandsx", "/Commands/ruok", "/commands?x=y", "/commands/srvr?x=y", "/commands/stmk?traceMask=", "/commands/stmk?traceMask=abc",
		"/commands/stmk?traceMask=-5", "/commands/gtmk", "/commands/stmk?traceMask=%2B7&traceMask=8", "/commands/gtmk", "/commands/stmk?tracemask=1",
		"/commands/stmk?traceMask=9223372036854775808", "/commands/stmk?traceMask=306",
	} {
		all = append(all, question{method: "GET", path: path})
	}
	for _, auth := range []string{"x y", "digest", "digest  a:b", "digest a:b c", "world anyone", "sasl x", " "} {
		all = append(all, question{method: "GET", path: "/commands/snap", auth: auth})
	}
	return append(all,
		question{method: "POST", path: "/commands/rest", auth: "world anyone"},
		question{method: "GET", path: "/commands/snapshot", auth: "digest a:b"},
		question{method: "GET", path: "/commands/snap", auth: "digest a:b"}, // too soon
		question{method: "GET", path: "/commands/snap?streaming=false", auth: "ip"},
		question{method: "HEAD", path: "/commands/snap?streaming=false", auth: "digest a"},
		question{method: "GET", path: "/commands/lsnp"},
		question{method: "POST", path: "/commands/snap", auth: "digest a:b"},
		question{method: "GET", path: "/commands/restore", auth: "digest a:b"},
		question{method: "POST", path: "/commands/restore", auth: "digest a:b", body: "no snapshot"},
	)
}

func compareCommands(t *testing.T, role string, theirs, ours *node, used map[*difference]bool) {
	var before question
	for _, q := range questions(role) {
		if q.auth != "" && strings.HasPrefix(before.path, "/commands/snap") && q.path != "/commands/snap" {
			time.Sleep(310 * time.Millisecond) // the limit on snapshots, see admin.rateLimiterIntervalInMS
		}
		before = q
		where := role + ": " + q.String()
		var lines [2][]string
		for i, n := range []*node{theirs, ours} {
			var err error
			if lines[i], err = n.ask(q); err != nil {
				t.Errorf("%s at %s: %v", where, n.Addr(), err)
			}
		}
		if q.method == "GET" && (q.path == "/commands/monitor" || q.path == "/commands/mntr") {
			for i := range lines {
				lines[i] = onlyGauges(role, lines[i])
			}
		}
		compare(t, where, lines[0], lines[1], used)
	}
}

// onlyGauges leaves out of the answer of monitor what compareMonitors leaves out
// of mntr.
func onlyGauges(role string, lines []string) []string {
	names := gaugesOf(role)
	slices.Sort(lines) // they have no order
	return slices.DeleteFunc(lines, func(l string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "."), " = ")
		return strings.HasPrefix(l, ".") && name != "command" && name != "error" && !slices.Contains(names, name)
	})
}

// ask sends a request and returns status, headers and body as they are compared.
func (n *node) ask(q question) ([]string, error) {
	url := fmt.Sprintf("http://%s:%d%s", n.Host, n.adminPort, q.path)
	r, err := http.NewRequest(q.method, url, strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.auth != "" {
		r.Header.Set("Authorization", q.auth)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	lines := []string{fmt.Sprintf("status %d", resp.StatusCode)}
	kind := resp.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "text/") {
		return append(lines, "a page"), nil // of the web server
	}
	lines = append(lines, "Content-Type: "+kind)
	for _, h := range []string{"Allow", "last_zxid", "snapshot_size"} {
		for name, values := range resp.Header {
			if strings.EqualFold(name, h) {
				value := strings.Join(values, ", ")
				if h != "Allow" {
					value = rule(`^(0x[0-9a-f]+|\d+)$`, "<n>").apply(value)
				}
				lines = append(lines, h+": "+value)
			}
		}
	}
	switch {
	case len(body) == 0 && q.method == "HEAD":
		lines = append(lines, fmt.Sprintf("body of some length: %v", resp.ContentLength > 0))
	case kind == "application/json":
		if !bytes.Contains(body, []byte("system_properties")) { // they have the lines server.N as they are
			body = []byte(n.renumber.Replace(string(body)))
		}
		answer, err := flatten(body, n)
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, body)
		}
		lines = append(lines, answer...)
	case kind == "application/octet-stream":
		lines = append(lines, fmt.Sprintf("a snapshot of the length told: %v", resp.Header.Get("snapshot_size") == strconv.Itoa(len(body))))
	default:
		lines = append(lines, strings.Split(string(body), "\n")...)
	}
	return lines, nil
}

var client = &http.Client{
	Timeout:       10 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s shape) apply(text string) string { return s.pattern.ReplaceAllString(text, s.with) }

// What of the text values and names is made equal.
var (
	valueShapes = append(slices.Clone(shapes), []shape{
		rule(`^127\.0\.0\.\d:<port>$`, "<host>:<port>"),
		rule(`/\S+/data(/version-2)?$`, "<dir>"),
		rule(`((clientPort|serverPort)=)?\d{5}$`, "$1<port>"),
	}...)
	environmentNames = regexp.MustCompile(`^(zookeeper\.version|(host|java|os|user)\..*)$`)

	digits = regexp.MustCompile(`^-?\d+$`)
)

// flatten is a JSON text as a line for each value: the names on the way to it,
// and its type, or itself where it says something. The layout is compared as
// well: the text must be what Jackson makes of it.
func flatten(text []byte, n *node) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var lines []string
	if err := walk(d, "", n, &lines); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one value")
	}
	lines = append(lines, layout(string(text))...)
	return lines, nil
}

// volatile are the names of numbers that are compared by type only.
var volatile = regexp.MustCompile(`size|zxid|latency|packets|uptime|established|response_time|timestamp|counter|epoch|_sent|_received|port|leader_id|myid|server_id|fsync|buffer|file_descriptor|open_file|conn_count`)

func walk(d *json.Decoder, path string, n *node, lines *[]string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		var inner []string
		for i := 0; d.More(); i++ {
			name := "[]"
			if v == '{' {
				key, err := d.Token()
				if err != nil {
					return err
				}
				name = "." + n.nameOf(key.(string))
			}
			if err := walk(d, path+name, n, &inner); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return err
		}
		if len(inner) == 0 && strings.HasPrefix(path, ".expiry_time_to_session_ids.") {
			return nil // ZooKeeper keeps the tick of a session that lived on until that comes
		}
		if len(inner) == 0 {
			inner = []string{path + " = " + string(v)}
		}
		if path != "" && path != ".server_stats.client_response_stats" { // maps and beans have an order of no meaning
			slices.Sort(inner)
		}
		*lines = append(*lines, inner...)
		return nil
	case string:
		if path == ".leader_ip" || path == ".zookeeper.admin.serverAddress" {
			v = rule(`^127\.0\.0\.[12]$`, "<host>").apply(v) // either may lead
		}
		if strings.HasSuffix(path, "zxid") {
			v = rule(`^(0x)?[0-9a-f]+$`, "$1<hex>").apply(v)
		}
		if name := strings.TrimPrefix(path, "."); strings.Contains(name, ".") && environmentNames.MatchString(name) {
			v = environmentForm(name, v)
		}
		for _, s := range valueShapes {
			v = s.apply(v)
		}
		*lines = append(*lines, fmt.Sprintf("%s = %q", path, v))
	case json.Number:
		value := n.nameOf(v.String())
		if volatile.MatchString(path) || strings.HasPrefix(path, ".digests") {
			value = valueForm(v.String())
		} else if strings.Contains(v.String(), ".") {
			value = "<f>"
		}
		*lines = append(*lines, path+" = "+value)
	default:
		*lines = append(*lines, fmt.Sprintf("%s = %v", path, v))
	}
	return nil
}

// nameOf names sessions, and numbers of which there cannot be two alike.
func (n *node) nameOf(text string) string {
	if !digits.MatchString(text) {
		return text
	}
	if id, err := strconv.ParseInt(text, 10, 64); err == nil && n.sessions[id] != "" {
		return "<session of " + n.sessions[id] + ">"
	}
	if len(text) > 4 {
		return "<n>"
	}
	return text
}

// layout tells how the JSON text is laid out, in so far as it is the same for
// all values: how it begins, indents and ends.
func layout(text string) []string {
	forms := map[string]bool{}
	for _, l := range strings.Split(text, "\n") {
		l = regexp.MustCompile(`"(\\.|[^"\\])*"`).ReplaceAllString(l, "s")
		l = regexp.MustCompile(`-?\d+(\.\d+)?(E-?\d+)?|null|true|false`).ReplaceAllString(l, "v")
		l = regexp.MustCompile(`\[ (s|v)(, (s|v))* \]`).ReplaceAllString(l, "[ v ]")
		forms[regexp.MustCompile(`: (s|v)`).ReplaceAllString(strings.TrimSuffix(l, ","), ": v")] = true
	}
	var out []string
	delete(forms, "    s : [ ]") // see walk
	for f := range forms {
		out = append(out, fmt.Sprintf("line like %q", f))
	}
	slices.Sort(out)
	return out
}

// compareGuards asks for snapshots with the root in the hands of one user.
func compareGuards(t *testing.T, theirs, ours *node) {
	const user, reader = "ann:secret", "bob:secret"
	acl := []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: auth.Digest([]byte(user))}},
		{Perms: protocol.PermAll &^ protocol.PermAdmin, ID: protocol.ID{Scheme: "digest", ID: auth.Digest([]byte(reader))}}}
	for _, n := range []*node{theirs, ours} {
		c := n.dial(t, "guard")
		if h, _, err := c.Go(protocol.OpSetACL, &protocol.SetACLRequest{Path: "/", ACL: acl, Version: -1}).Wait(); err != nil || h.Err != protocol.OK {
			t.Fatal(h.Err, err)
		}
		must(t, c.Close())
	}
	for _, as := range []string{"digest " + user, "digest " + reader, "digest ann:wrong", "ip", "digest"} {
		time.Sleep(310 * time.Millisecond) // the limit, see admin.rateLimiterIntervalInMS
		q := question{method: "GET", path: "/commands/snapshot?streaming=false", auth: as}
		a, errA := theirs.ask(q)
		b, errB := ours.ask(q)
		must(t, errA, errB)
		compare(t, q.String(), a, b, map[*difference]bool{})
		if as == "digest "+user && a[0] != "status 200" {
			t.Errorf("%s: %q", q, a)
		}
	}
}

// probes asks coordd's own pages whether it is fit; want 0 stands for fit to
// read only.
func probes(t *testing.T, n *node, both int) {
	for _, path := range []string{"/health", "/ready"} {
		want := both
		if both == 0 {
			want = map[string]int{"/health": http.StatusOK, "/ready": http.StatusServiceUnavailable}[path]
		}
		for _, method := range []string{"GET", "HEAD"} {
			lines, err := n.ask(question{method: method, path: path})
			if err != nil || !slices.Contains(lines, fmt.Sprintf("status %d", want)) || !slices.Contains(lines, "Content-Type: application/json") {
				t.Errorf("%s %s: %q %v, want %d", method, path, lines, err, want)
			}
		}
	}
}
