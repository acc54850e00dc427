package bench

import (
	"os"
	"testing"
	"time"
)

func TestParseProcess(t *testing.T) {
	stat := []byte("42 (a name) 7 (x) S 1 42 42 0 -1 4194560 2 0 0 0 150 50 0 0 20 0 9 0 1 1 1\n")
	status := []byte("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	p, err := parseProcess(stat, status)
	if want := (Process{2 * time.Second, 1 << 20, 2 << 20}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range [][2][]byte{{[]byte("42 (x) S"), status}, {stat, nil}, {stat, []byte("VmRSS: x kB\nVmHWM: 1 kB\n")}} {
		if _, err := parseProcess(bad[0], bad[1]); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
	// The real files of this process have that form, too.
	if own, err := ReadProcess(os.Getpid()); err != nil || own.RSS < 1<<20 || own.Peak < own.RSS {
		t.Errorf("%+v, %v", own, err)
	}
}

func TestParseFsyncs(t *testing.T) {
	for mntr, want := range map[string]int64{
		"zk_version\t3.9\nzk_cnt_fsynctime\t42\nzk_x\t1\n": 42, "zk_cnt_fsynctime\t42.0\n": 42,
		"zk_version\t3.9\n": -1, "mntr is not executed because it is not in the whitelist.\n": -1, "zk_cnt_fsynctime\tmany\n": -1,
	} {
		got, ok := parseFsyncs(mntr)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d", mntr, got)
		}
	}
}

func TestCost(t *testing.T) {
	before := Sample{Processes: []Process{{CPU: time.Second}, {}}, Fsyncs: map[string]int64{"a": 100, "b": 50}, Own: time.Second}
	after := Sample{Processes: []Process{{CPU: 3 * time.Second, RSS: 10, Peak: 20}, {CPU: 2 * time.Second, RSS: 1, Peak: 2}},
		Fsyncs: map[string]int64{"a": 140, "b": 70}, Own: 2 * time.Second}
	result := func() *Result {
		return &Result{Seconds: 2, Line: Line{Requests: 2000}, PerServer: []*ServerLine{{Server: "a"}, {Server: "b"}}}
	}
	r := result()
	c := NewCost(before, after, r)
	if *c.FsyncsPer1000 != 30 || *r.PerServer[0].FsyncsPer1000 != 20 || *c.ServerCPUPer1000 != 2 || *c.ServerRSS != 11 ||
		*c.ServerPeak != 22 || c.LoadCPUPer1000 != 0.5 || c.LoadCores != 0.5 {
		t.Errorf("%+v", c)
	}
	// A server that restarted or did not answer leaves the sum unknown.
	for name, fsyncs := range map[string]map[string]int64{"restarted": {"a": 140, "b": 3}, "silent": {"a": 140}} {
		r := result()
		if c := NewCost(before, Sample{Fsyncs: fsyncs}, r); c.FsyncsPer1000 != nil || r.PerServer[1].FsyncsPer1000 != nil || *r.PerServer[0].FsyncsPer1000 != 20 || c.ServerRSS != nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
