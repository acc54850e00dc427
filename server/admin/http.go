package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Handler serves the commands under Conf's CommandURL, and /health and /ready.
// Those two answer 200 or, with the reason, 503: /health while this server has
// a fault or does not serve, /ready also while it only serves reads. Neither is
// meant to restart a server: one without a leader is as fit as before.
func (a *Admin) Handler() http.Handler {
	url := a.src.Conf().CommandURL
	if url == "" {
		url = "/commands"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, isCommand := strings.CutPrefix(r.URL.Path, url)
		isCommand = isCommand && (name == "" || name[0] == '/')
		switch {
		case !isCommand && r.URL.Path != "/health" && r.URL.Path != "/ready":
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET is allowed", http.StatusMethodNotAllowed)
		case !isCommand:
			o, ok := a.health(r.URL.Path == "/ready")
			status := http.StatusOK
			if !ok {
				status = http.StatusServiceUnavailable
			}
			respond(w, status, o)
		case strings.Trim(name, "/") == "":
			writeLinks(w, url)
		default:
			respond(w, http.StatusOK, a.run(name[1:]))
		}
	})
}

// run is the whole answer of a command; errors are answers as well.
func (a *Admin) run(name string) object {
	c := byName(name)
	if c == nil {
		return object{{"command", name}, {"error", "Unknown command: " + name}}
	}
	var o object
	var fault string
	switch {
	case !c.alwaysHTTP && !a.src.Serving():
		fault = notServing
	case c.fields != nil:
		o, fault = c.fields(a)
	}
	o = append(o, field{"command", c.names[0]})
	if fault != "" {
		return append(o, field{"error", fault})
	}
	return append(o, field{"error", nil})
}

func respond(w http.ResponseWriter, status int, o object) {
	var b bytes.Buffer
	o.write(&b, 0)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client hung up
}

// writeLinks lists the commands' primary names.
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
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the client hung up
}
