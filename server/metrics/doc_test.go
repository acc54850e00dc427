package metrics

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md instead of comparing it")

const docHead = `# Metrics

The word ` + "`mntr`" + ` and the AdminServer's ` + "`monitor`" + ` show them, with ` + "`zk_`" + ` in front for the word. With
` + "`metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider`" + ` they are at ` + "`/metrics`" + ` on port 7000
(` + "`metricsProvider.httpPort`" + `), and ` + "`mntr`" + ` shows them in that form, as ZooKeeper's does. Names, types and units are those of ZooKeeper
3.9.4, so that its dashboards and alerts carry over; what ZooKeeper does not know begins with ` + "`coordd_`" + `.

- *Summaries* are ` + "`avg_`, `min_`, `max_`, `cnt_` and `sum_`" + ` in ` + "`mntr`" + `; for Prometheus ` + "`_count`, `_sum`" + ` and the quantile 0.5. Those *with percentiles*
  have ` + "`p50_`, `p95_`, `p99_` and `p999_`" + ` since the start besides, and for Prometheus the quantiles 0.5, 0.9 and 0.99. Prometheus' quantiles are
  of the last ten minutes, if it asks as often, and NaN if there was nothing. Quantiles above 31 are exact to 3 %.
- *By key* means a number for each node of the root, with the label ` + "`key`" + `; in ` + "`mntr`" + ` the key stands in front of the name. After 256 keys, and for names
  longer than 128 bytes, all goes to the key ` + "`/`" + `.
- *Member* and *leader* say who has a metric; the others all servers have. *Prometheus* are not in ` + "`mntr`" + ` otherwise.
- A log entry holds many writes: ` + "`proposal_count`, `commit_count` and `request_commit_queued`" + ` count writes, ` + "`coordd_entries`" + ` counts entries.
  A server that runs alone leads itself, and counts as a leader does; ZooKeeper's shows 0 there.

`

// kindNames says what a field's type is in the page's words.
func kindName(v value) string {
	switch v.(type) {
	case *Percentiles:
		return "summary with percentiles"
	case *SummarySet, *CounterSet, *GaugeSet:
		return v.kind() + " by key"
	}
	return v.kind()
}

// shownAs are the names under which a row shows.
func shownAs(m metric) []string {
	switch m.value.(type) {
	case *Latency:
		return []string{"avg_" + m.name, "min_" + m.name, "max_" + m.name}
	case *Sizes:
		return []string{"last_" + m.name, "min_" + m.name, "max_" + m.name}
	}
	return []string{m.name}
}

func (m metric) who() string {
	if m.prometheusOnly {
		return "Prometheus"
	}
	return [...]string{"", "member", "leader"}[m.on]
}

// TestMetricsPage holds docs/metrics.md to the table.
func TestMetricsPage(t *testing.T) {
	const page = "../../docs/metrics.md"
	var b strings.Builder
	b.WriteString(docHead)
	for _, own := range []bool{false, true} {
		title := "ZooKeeper's"
		if own {
			title = "coordd's own"
		}
		fmt.Fprintf(&b, "## %s\n\n| Name | Type | Where | Meaning |\n| --- | --- | --- | --- |\n", title)
		for _, m := range New().table {
			if strings.HasPrefix(m.name, "coordd_") == own {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", strings.Join(shownAs(m), "`, `"), kindName(m.value), m.who(), m.help)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("## Left out\n\n| Names of ZooKeeper's | Why |\n| --- | --- |\n")
	absent := map[string][]string{}
	for name, z := range zookeepers(t) {
		if z.absent != "" {
			absent[z.absent] = append(absent[z.absent], name)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(absent)) {
		names := slices.Sorted(slices.Values(absent[why]))
		if strings.HasPrefix(names[0], "jvm_") {
			names = []string{"jvm_*"}
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Join(names, "`, `"), why)
	}
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what the table of metrics says: run make generate", page)
	}
}

// theirs is a metric of a real ZooKeeper's.
type theirs struct{ kind, on, absent string }

func zookeepers(t *testing.T) map[string]theirs {
	t.Helper()
	text, err := os.ReadFile("testdata/zookeeper-3.9.4.tsv")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]theirs{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := append(strings.Split(strings.TrimSuffix(line, "\n"), "\t"), "")
		all[f[0]] = theirs{f[1], f[2], f[3]}
	}
	return all
}

// TestNamesAreZooKeepers compares names, types and roles with a list that was
// read off a real ZooKeeper: alone, as follower and as leader.
func TestNamesAreZooKeepers(t *testing.T) {
	real := zookeepers(t)
	have := map[string]bool{}
	for _, m := range New().table {
		for _, name := range shownAs(m) {
			have[name] = true
			z, known := real[name]
			if strings.HasPrefix(name, "coordd_") {
				if known {
					t.Errorf("%s is ZooKeeper's", name)
				}
				continue
			}
			on := [...]string{"alone", "member", "leader"}[m.on]
			if !known || z.kind != m.value.kind() || z.on != on || z.absent != "" {
				t.Errorf("%s %s on %s: in ZooKeeper %+v", name, m.value.kind(), on, z)
			}
		}
	}
	for name, z := range real {
		if !have[name] && z.absent == "" {
			t.Errorf("%s is missing without a reason", name)
		}
	}
}
