//go:build bench

package bench

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var profiles = flag.String("profiles", "", "directory for the profiles that TestProfile takes")

// profileURL is in a server's log when it serves profiles.
var profileURL = regexp.MustCompile(`url=(http://\S+/debug/pprof/)`)

// TestProfile takes CPU and allocation profiles of each server under the first
// load that -row names.
func TestProfile(t *testing.T) {
	if *profiles == "" || *chosen == "" {
		t.Fatal("TestProfile needs -row and -profiles; `make profile ROW=...` gives them")
	}
	pattern, err := regexp.Compile(*chosen)
	must(t, err, "-row")
	for _, sc := range scenarios() {
		if len(sc.wanted(pattern)) == 0 {
			continue
		}
		s := start(t, coordd, sc.servers, sc.admin, []string{"COORDD_PPROF=127.0.0.1:0"})
		taken := make(chan error, len(s.servers))
		stop := make(chan struct{})
		for _, server := range s.servers {
			log, err := os.ReadFile(server.Log)
			must(t, err, "read the log")
			url := profileURL.FindSubmatch(log)
			if url == nil {
				t.Fatalf("%s does not say where the profiles are", server.Log)
			}
			go func() { taken <- takeProfiles(string(url[1]), server.ID, stop) }()
		}
		for end := time.Now().Add(*duration); time.Now().Before(end); {
			sc.run(t, s)
		}
		close(stop)
		for range s.servers {
			must(t, <-taken, "take profiles")
		}
		fmt.Printf("%s: profiles of each server are in %s; go tool pprof reads them\n", sc.name, *profiles)
		return
	}
	t.Fatalf("no row matches %q", *chosen)
}

// takeProfiles takes a CPU profile from now on for the duration of a load, and
// all allocations up to the end of it, when stop is closed.
func takeProfiles(url string, id int, stop <-chan struct{}) error {
	save := func(query, name string) error {
		resp, err := http.Get(url + query)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(*profiles, fmt.Sprintf("%s.%d.pprof", name, id)), body, 0o600)
	}
	if err := save(fmt.Sprintf("profile?seconds=%d", max(int(duration.Seconds()), 1)), "cpu"); err != nil {
		return err
	}
	<-stop
	return save("allocs", "allocs")
}
