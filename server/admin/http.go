package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Handler serves the commands under Conf's CommandURL, and /health and /ready.
// Those two answer 200 or, with the reason, 503: /health while this server has
// a fault or does not serve, /ready also while it only serves reads or is about
// to end. Neither is meant to restart a server: one without a leader is as fit
// as before.
func (a *Admin) Handler() http.Handler {
	url := a.src.Conf().CommandURL
	if url == "" {
		url = "/commands"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, isCommand := strings.CutPrefix(r.URL.Path, url)
		isCommand = isCommand && (name == "" || name[0] == '/')
		isProbe := r.URL.Path == "/health" || r.URL.Path == "/ready"
		switch {
		case !isCommand && !isProbe:
			http.NotFound(w, r)
		case !takesMethod(w, r.Method):
		case isProbe:
			o, ok := a.health(r.URL.Path == "/ready")
			status := http.StatusOK
			if !ok {
				status = http.StatusServiceUnavailable
			}
			respond(w, status, o)
		case name == "" || name == "/":
			writeLinks(w, url)
		default:
			a.run(w, r, name[1:])
		}
	})
}

// takesMethod answers what is neither GET, HEAD nor POST as ZooKeeper's
// servlet does.
func takesMethod(w http.ResponseWriter, method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
		return true
	case http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, POST, TRACE, OPTIONS")
	case http.MethodTrace:
		w.WriteHeader(http.StatusForbidden)
	case http.MethodPut, http.MethodDelete:
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
	return false
}

// run is Commands.runCommand. What refuses a command repeats the name that was
// asked for; the command itself answers with its primary name.
func (a *Admin) run(w http.ResponseWriter, r *http.Request, name string) {
	c := byName(name)
	refuse := func(status int, reason string) { respond(w, status, object{{"command", name}, {"error", reason}}) }
	switch {
	case c == nil:
		refuse(http.StatusOK, "Unknown command: "+name)
		return
	case !c.alwaysHTTP && !a.src.Serving():
		refuse(http.StatusOK, notServing)
		return
	case c.run != nil:
		if status, reason := a.admit(r); reason != "" {
			refuse(status, reason)
			return
		}
	}
	if post := r.Method == http.MethodPost; post != c.post {
		// ZooKeeper's servlet stumbles here: 500 and a page with the stack.
		refuse(http.StatusMethodNotAllowed, r.Method+" is not the method of this command")
		return
	}
	if c.run != nil {
		c.run(a, w, r.URL.Query())
		return
	}
	var o object
	var fault string
	if c.fields != nil {
		o, fault = c.fields(a, r.URL.Query())
	}
	if fault != "" { // in this order in ZooKeeper, too
		o = object{{"error", fault}, {"command", c.names[0]}}
	} else {
		o = append(o, object{{"command", c.names[0]}, {"error", nil}}...)
	}
	respond(w, http.StatusOK, o)
}

// admit looks for the right to do everything to the root node: scheme and claim
// in the header Authorization. The reason is empty if the client has it.
func (a *Admin) admit(r *http.Request) (status int, reason string) {
	header := r.Header["Authorization"]
	if len(header) == 0 {
		return http.StatusUnauthorized, "Auth info is missing for the command"
	}
	// As Java splits: "a  b" has an empty part in the middle, "a " has none.
	parts := strings.Split(strings.TrimRight(header[0], " "), " ")
	var claim []byte
	if len(parts) == 2 {
		claim = []byte(parts[1])
	}
	var remote netip.Addr
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		remote = ap.Addr().Unmap()
	}
	authentic, allowed := a.src.Authorize(remote, parts[0], claim)
	switch {
	case !authentic || len(parts) > 2:
		return http.StatusUnauthorized, "Not authenticated"
	case !allowed:
		return http.StatusForbidden, "Not authorized"
	}
	return http.StatusOK, ""
}

func respond(w http.ResponseWriter, status int, o object) {
	var b bytes.Buffer
	o.write(&b, 0)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len())) // for HEAD, too
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client hung up
}

// writeLinks lists the commands' primary names, without a content type as in
// ZooKeeper.
func writeLinks(w http.ResponseWriter, url string) {
	var names []string
	for _, c := range commands {
		names = append(names, c.names[0])
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, n := range names {
		fmt.Fprintf(&b, "<a href=\"%s/%s\">%s</a>\n<br/>\n", url, n, n)
	}
	w.Header()["Content-Type"] = nil // or net/http guesses one
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes()) // the client hung up
}
