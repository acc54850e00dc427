package metrics

import (
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func mntr(s *Set) map[string]string {
	out := map[string]string{}
	s.Each(func(name, value string) { out[name] = value })
	return out
}

func TestEveryFieldIsDeclared(t *testing.T) {
	typ := reflect.TypeFor[Set]()
	seen := map[string]bool{}
	name := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() {
			continue
		}
		n := f.Tag.Get("name")
		if !name.MatchString(n) || seen[n] {
			t.Errorf("%s: name %q is malformed or taken", f.Name, n)
		}
		seen[n] = true
		if h := f.Tag.Get("help"); !strings.HasSuffix(h, ".") || strings.ContainsAny(h, "\n\\") {
			t.Errorf("%s: help %q is not one plain sentence", f.Name, h)
		}
		if on := f.Tag.Get("on"); on != "" && on != "member" && on != "leader" {
			t.Errorf("%s: on %q", f.Name, on)
		}
	}
	if len(seen) != len(New().table) {
		t.Errorf("%d fields, %d rows", len(seen), len(New().table))
	}
}

func TestValuesAsMntrShowsThem(t *testing.T) {
	s := New()
	got := mntr(s)
	for name, want := range map[string]string{
		"avg_latency": "0.0", "min_latency": "0", "max_latency": "0",
		"last_client_response_size": "-1", "min_client_response_size": "-1", "max_client_response_size": "-1",
		"connection_drop_probability": "0.0", "cnt_readlatency": "0", "min_readlatency": "0",
	} {
		if got[name] != want {
			t.Errorf("idle %s: %q, want %q", name, got[name], want)
		}
	}
	s.PacketsReceived.Add(3)
	s.PacketsReceived.Inc()
	s.AliveConnections.Add(5)
	s.AliveConnections.Add(-2)
	for _, ms := range []int64{7, 1, 2} {
		s.Latency.Observe(ms)
		s.ReadLatency.Observe(ms)
		s.ResponseSize.Observe(int(ms) * 10)
	}
	s.LogStoreSeconds.Add(1500 * time.Millisecond)
	s.DropProbability.Set(0.25)
	got = mntr(s)
	for name, want := range map[string]string{
		"packets_received": "4", "num_alive_connections": "3",
		"avg_latency": "3.3333", "min_latency": "1", "max_latency": "7",
		"avg_readlatency": "3.3333", "min_readlatency": "1", "max_readlatency": "7", "cnt_readlatency": "3", "sum_readlatency": "10",
		"last_client_response_size": "20", "min_client_response_size": "10", "max_client_response_size": "70",
		"coordd_log_store_seconds": "1.5", "connection_drop_probability": "0.25",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	s.ResetServerStats()
	got = mntr(s)
	for name, want := range map[string]string{
		"packets_received": "0", "avg_latency": "0.0", "min_latency": "0", "max_latency": "0", "last_client_response_size": "-1",
		"num_alive_connections": "3", "cnt_readlatency": "3",
	} {
		if got[name] != want {
			t.Errorf("after reset %s: %q, want %q", name, got[name], want)
		}
	}
}

func TestRoleDecidesWhatExists(t *testing.T) {
	for role, want := range map[Role][2]bool{Alone: {false, false}, Member: {true, false}, Leader: {true, true}} {
		s := New()
		s.OnCollect(func() Role { s.QuorumSize.Set(3); return role })
		got := mntr(s)
		size, member := got["quorum_size"]
		_, leader := got["synced_followers"]
		if [2]bool{member, leader} != want || member && size != "3" {
			t.Errorf("role %d: quorum_size %q %v, synced_followers %v", role, size, member, leader)
		}
	}
}

func TestPrometheusPage(t *testing.T) {
	s := New()
	s.Commits.Add(9)
	s.FsyncTime.Observe(4)
	s.Latency.Observe(2)
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	body := rec.Body.String()
	for _, want := range []string{
		"# HELP commit_count Writes applied, refused ones included.\n# TYPE commit_count counter\ncommit_count 9\n",
		"# TYPE fsynctime summary\nfsynctime_count 1\nfsynctime_sum 4\n",
		"# TYPE avg_latency gauge\navg_latency 2.0\n",
		"# TYPE uptime gauge\nuptime 0\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+ -?[0-9.]+(E-?[0-9]+)?)$`)
	families := map[string]bool{}
	for l := range strings.Lines(body) {
		l = strings.TrimSuffix(l, "\n")
		if !line.MatchString(l) {
			t.Errorf("line %q", l)
		}
		if strings.HasPrefix(l, "# TYPE") {
			if families[l] {
				t.Errorf("twice: %q", l)
			}
			families[l] = true
		}
	}
}

func TestJavaDouble(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 1: "1.0", 3.5538: "3.5538", 0.001: "0.001", 0.0005: "5.0E-4",
		0.00025: "2.5E-4", 9999999: "9999999.0", 1e7: "1.0E7", 12345678.5: "1.23456785E7", -2.5: "-2.5"} {
		if got := JavaDouble(f); got != want {
			t.Errorf("%v: %q, want %q", f, got, want)
		}
	}
}

func TestConcurrentObservations(t *testing.T) {
	s := New()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				s.Latency.Observe(int64(g*1000 + i + 1))
				s.ResponseSize.Observe(g*1000 + i + 1)
			}
		})
	}
	wg.Wait()
	_, least, greatest := s.ResponseSize.Load()
	if s.Latency.Count() != 4000 || s.Latency.Min() != 1 || s.Latency.Max() != 4000 || s.Latency.Sum() != 4000*4001/2 || least != 1 || greatest != 4000 {
		t.Errorf("count %d min %d max %d sum %d sizes %d %d", s.Latency.Count(), s.Latency.Min(), s.Latency.Max(), s.Latency.Sum(), least, greatest)
	}
}

func TestTouchingDoesNotAllocate(t *testing.T) {
	s := New()
	if n := testing.AllocsPerRun(100, func() { s.PacketsSent.Inc(); s.Latency.Observe(1); s.ResponseSize.Observe(2); s.LogStoreSeconds.Add(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
