package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestPprofIsForThisMachineAlone(t *testing.T) {
	for addr, says := range map[string]string{
		"0.0.0.0:0": "not a loopback", ":0": "not a loopback", "10.1.2.3:0": "not a loopback", "example.com:0": "not a loopback", "6060": "missing port",
	} {
		if _, _, err := servePprof(addr); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	at, stop, err := servePprof("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"", "allocs", "goroutine?debug=1"} {
		resp, err := http.Get("http://" + at.String() + "/debug/pprof/" + page)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", page, resp.Status)
		}
	}
	stop()
	if _, err := http.Get("http://" + at.String() + "/debug/pprof/"); err == nil {
		t.Error("it still answers")
	}
}
