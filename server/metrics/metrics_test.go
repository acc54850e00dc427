package metrics

import (
	"math"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
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
		if only := f.Tag.Get("only"); only != "" && only != "prometheus" {
			t.Errorf("%s: only %q", f.Name, only)
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
	s.PacketsReceived.Add(1)
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
		"p50_readlatency": "2", "p95_readlatency": "7", "p999_readlatency": "7",
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

// page is what Prometheus gets.
func page(s *Set) string {
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	return rec.Body.String()
}

func TestPrometheusPage(t *testing.T) {
	s := New()
	s.OnCollect(func() Role { return Leader })
	s.Commits.Add(9)
	s.FsyncTime.Observe(4)
	s.Latency.Observe(2)
	s.ReadLatency.Observe(3)
	s.ReadPerNamespace.Observe("app", 100)
	s.ReadPerNamespace.Observe(`a"b\c`, 5)
	s.QuotaExceeded.Add("app", 2)
	s.QuotaBytesLimit.Set(map[string]int64{"app": -1})
	body := page(s)
	for _, want := range []string{
		"# HELP commit_count Writes committed as leader, refused ones included.\n# TYPE commit_count counter\ncommit_count 9.0\n",
		"# TYPE fsynctime summary\nfsynctime{quantile=\"0.5\"} 4.0\nfsynctime_count 1.0\nfsynctime_sum 4.0\n",
		"readlatency{quantile=\"0.5\"} 3.0\nreadlatency{quantile=\"0.9\"} 3.0\nreadlatency{quantile=\"0.99\"} 3.0\nreadlatency_count 1.0\n",
		"updatelatency{quantile=\"0.5\"} NaN\n",
		"# TYPE read_per_namespace summary\nread_per_namespace{key=\"a\\\"b\\\\c\",quantile=\"0.5\"} 5.0\nread_per_namespace_count{key=\"a\\\"b\\\\c\"} 1.0\n",
		"read_per_namespace_count{key=\"app\"} 1.0\nread_per_namespace_sum{key=\"app\"} 100.0\n",
		"# TYPE quota_exceeded_error_per_namespace counter\nquota_exceeded_error_per_namespace{key=\"app\"} 2.0\n",
		"# TYPE quota_bytes_limit_per_namespace gauge\nquota_bytes_limit_per_namespace{key=\"app\"} -1.0\n",
		"# TYPE avg_latency gauge\navg_latency 2.0\n",
		"# TYPE packets_received gauge\npackets_received 0.0\n",
		"# TYPE process_cpu_seconds_total counter\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	checkExposition(t, body)
}

// checkExposition checks the grammar of the text format, that a family is
// declared once and before its samples, and that no sample comes twice.
func checkExposition(t *testing.T, body string) {
	t.Helper()
	head := regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	line := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (NaN|-?[0-9.]+(?:E-?[0-9]+)?)$`)
	families, samples, current := map[string]bool{}, map[string]bool{}, ""
	for l := range strings.Lines(body) {
		l = strings.TrimSuffix(l, "\n")
		if m := head.FindStringSubmatch(l); m != nil {
			if m[1] == "TYPE" {
				if families[m[2]] {
					t.Errorf("declared twice: %s", m[2])
				}
				families[m[2]], current = true, m[2]
			}
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil || m[1] != current && m[1] != current+"_count" && m[1] != current+"_sum" {
			t.Errorf("line %q under %s", l, current)
			continue
		}
		if samples[m[1]+m[2]] {
			t.Errorf("twice: %s%s", m[1], m[2])
		}
		samples[m[1]+m[2]] = true
	}
}

func TestMntrInPrometheusForm(t *testing.T) {
	s := New()
	s.ReadPerNamespace.Observe("app", 100)
	if got := mntr(s); got["cnt_app_read_per_namespace"] != "1" || got["max_app_read_per_namespace"] != "100" || got["process_open_fds"] != "" {
		t.Errorf("default form: %v", got)
	}
	s.UsePrometheusForm()
	got := mntr(s)
	for name, want := range map[string]string{
		`read_per_namespace{key="app",quantile="0.5"}`: "101.5", `read_per_namespace_count{key="app"}`: "1.0",
		`fsynctime{quantile="0.5"}`: "NaN", "znode_count": "0.0", "process_open_fds": "0.0",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 40), rapid.Int64Range(0, 1<<32-1)), 1, 200).Draw(t, "sizes")
		var h histogram
		for _, n := range sizes {
			h.observe(n, 1)
		}
		slices.Sort(sizes)
		for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
			want := float64(sizes[int(math.Ceil(q*float64(len(sizes))))-1])
			got := quantile(h.counts(), q)
			if math.Abs(got-want) > want/32 || want < exact && got != want {
				t.Fatalf("%v of %v: %v, want %v", q, sizes, got, want)
			}
		}
	})
	var h histogram
	for _, n := range []int64{-1, 0, 1<<32 - 1, 1 << 32, math.MaxInt64} {
		h.observe(n, 2)
	}
	if c := h.counts(); c[0] != 4 || c[buckets-1] != 6 {
		t.Errorf("ends: %d %d", c[0], c[buckets-1])
	}
}

func TestQuantilesForget(t *testing.T) {
	var h histogram
	start := time.Now()
	at := func(d time.Duration) float64 { return quantile(h.recent(start.Add(d)), 0.5) }
	if !math.IsNaN(at(0)) {
		t.Error("idle")
	}
	h.observe(5, 100)
	for m := range 10 { // minutes
		if got := at(time.Duration(m) * time.Minute); got != 5 {
			t.Fatalf("after %d minutes: %v", m, got)
		}
	}
	h.observe(9, 1)
	at(11 * time.Minute)
	if got := at(13 * time.Minute); got != 9 {
		t.Errorf("the newer one: %v", got)
	}
	at(20 * time.Minute)
	if got := at(30 * time.Minute); !math.IsNaN(got) {
		t.Errorf("all forgotten: %v", got)
	}
	h.observe(7, 1)
	if got := at(5 * time.Hour); got != 7 {
		t.Errorf("asked seldom: %v", got)
	}
	if len(h.past) > int(memory/age)+2 {
		t.Errorf("%d snapshots are kept", len(h.past))
	}
}

func TestKeysAreBounded(t *testing.T) {
	var counters CounterSet
	var summaries SummarySet
	for i := range 5000 {
		counters.Add(strconv.Itoa(i), 1)
		summaries.Observe(strconv.Itoa(i), 1)
	}
	counters.Add(strings.Repeat("x", maxKey+1), 1)
	counters.Add("0", 1)
	n, sum := 0, int64(0)
	counters.keyed.each(func(key string, c *Counter) { n++; sum += c.Load() })
	if n != maxKeys+1 || sum != 5002 || counters.keyed.at(rest, nil).Load() != 5001-maxKeys || counters.keyed.at("0", nil).Load() != 2 {
		t.Errorf("%d keys, sum %d", n, sum)
	}
	if got := summaries.keyed.at("other", nil).Count(); got != 5000-maxKeys {
		t.Errorf("rest: %d", got)
	}
	var long CounterSet
	long.Add(strings.Repeat("x", 1<<20), 1)
	long.Add("short", 1)
	long.keyed.each(func(key string, c *Counter) {
		if key != rest && key != "short" || c.Load() != 1 {
			t.Errorf("key of %d bytes: %d", len(key), c.Load())
		}
	})
}

func TestTally(t *testing.T) {
	s := New()
	var c Tally
	for _, size := range []int{30, 10, 20} {
		c.Received(4 + size)
		c.Replied(size)
		c.Answered(s, 0, false)
		c.Read(s, "app", size)
	}
	c.Read(s, "app", 20)
	c.Read(s, "web", 20)
	c.Answered(s, 7, false)
	c.Answered(s, 0, false)
	c.Answered(s, 3, true)
	c.Event(50)
	c.Sent()
	for range 2 { // the second adds nothing
		c.Flush(s)
		got := mntr(s)
		for name, want := range map[string]string{
			"packets_received": "3", "bytes_received_count": "72", "packets_sent": "5", "response_bytes": "60", "watch_bytes": "50",
			"last_client_response_size": "50", "min_client_response_size": "10", "max_client_response_size": "50",
			"cnt_readlatency": "5", "sum_readlatency": "7", "cnt_updatelatency": "1", "sum_updatelatency": "3", "max_latency": "7",
			"cnt_app_read_per_namespace": "4", "sum_app_read_per_namespace": "80", "cnt_web_read_per_namespace": "1", "avg_latency": "1.6667",
		} {
			if got[name] != want {
				t.Errorf("%s: %q, want %q", name, got[name], want)
			}
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
	var c Tally
	touch := func() {
		s.Commits.Inc()
		s.Latency.Observe(1)
		s.FsyncTime.Observe(100)
		s.ResponseSize.Observe(2)
		s.LogStoreSeconds.Add(1)
		s.WritePerNamespace.Observe("app", 5)
		s.QuotaExceeded.Add("app", 1)
		c.Received(5)
		c.Replied(3)
		c.Answered(s, 1, false)
		c.Read(s, "app", 5)
		c.Flush(s)
	}
	touch()
	if n := testing.AllocsPerRun(100, touch); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a read costs by its metrics, in runs of one and of many.
func BenchmarkRead(b *testing.B) {
	for _, run := range []int{1, 16} {
		b.Run(strconv.Itoa(run), func(b *testing.B) {
			s := New()
			b.RunParallel(func(p *testing.PB) {
				var c Tally
				for n := 1; p.Next(); n++ {
					c.Received(50)
					c.Replied(150)
					c.Answered(s, 0, false)
					c.Read(s, "app", 180)
					if n%run == 0 {
						c.Flush(s)
					}
				}
			})
		})
	}
}
