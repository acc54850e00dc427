package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseLogStores(t *testing.T) {
	tests := []struct {
		name, mntr string
		want       int64
		ok         bool
	}{
		{"there", "zk_version\t3.9\nzk_coordd_log_stores\t42\nzk_x\t1\n", 42, true},
		{"as a float", "zk_coordd_log_stores\t42.0\n", 42, true},
		{"ZooKeeper", "zk_version\t3.9\nzk_avg_latency\t1\n", 0, false},
		{"not allowed", "mntr is not executed because it is not in the whitelist.\n", 0, false},
		{"not a number", "zk_coordd_log_stores\tmany\n", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseLogStores(strings.NewReader(tt.mntr)); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %d %v", tt.name, got, ok)
		}
	}
}

func TestBenchResultSums(t *testing.T) {
	a, b := &benchWorker{server: "a", errors: 2}, &benchWorker{server: "b"}
	for range 1500 {
		a.latency.add(10047) // the top of a bucket
	}
	for range 500 {
		b.latency.add(30 * time.Microsecond)
	}
	workers, servers := []*benchWorker{a, b}, []string{"a", "b"}
	before := map[string]int64{"a": 100, "b": 50}

	r := newBenchResult("set", servers, workers, 2*time.Second, before, map[string]int64{"a": 140, "b": 70})
	if r.Requests != 2000 || r.Errors != 2 || r.OpsPerSecond != 1000 || r.P50Us != 10.047 || r.P99Us != 30 {
		t.Errorf("all: %+v", r.benchLine)
	}
	if at := r.PerServer[1]; at.Requests != 500 || at.Errors != 0 || at.P50Us != 30 || *at.FsyncsPer1000 != 10 {
		t.Errorf("b: %+v", at)
	}
	if *r.FsyncsPer1000 != 30 {
		t.Errorf("fsyncs %v, want 30", *r.FsyncsPer1000)
	}

	// A server that restarted or did not answer leaves the sum unknown.
	for name, after := range map[string]map[string]int64{"restarted": {"a": 140, "b": 3}, "silent": {"a": 140}} {
		r := newBenchResult("set", servers, workers, time.Second, before, after)
		if r.FsyncsPer1000 != nil || r.PerServer[1].FsyncsPer1000 != nil || *r.PerServer[0].FsyncsPer1000 != 20 {
			t.Errorf("%s: %v", name, r)
		}
	}
}
