//go:build bench

package bench

import (
	"testing"

	"github.com/coordd/coordd/internal/bench"
)

// compare says what of a figure has a target.
type compare int

const (
	shown        compare = iota // it has none
	ratioAtLeast                // coordd's to ZooKeeper's
	ratioAtMost
	atMost // coordd's alone
)

// row is a line of the table.
type row struct {
	title   string
	figure  string
	unit    unit
	compare compare
	target  float64
}

// The rows that most loads have.
func ops(target float64) row {
	return row{"operations a second", "ops", perSecond, ratioAtLeast, target}
}

func cpu(target float64) row {
	return row{"server CPU for 1,000 operations", "cpu", seconds, ratioAtMost, target}
}

func latency(percentile string, target float64) row {
	return row{percentile, percentile, microseconds, ratioAtMost, target}
}

// load describes a load in the words of `coordd bench`.
type load struct {
	mix         string
	sessions    int
	outstanding int
	size        int
	at          string // leader or follower; "" for all
}

func (l load) scenario(name string, servers int, rows ...row) *scenario {
	return &scenario{name: name, servers: servers, run: l.run, rows: rows}
}

// scenarios is everything that is measured.
func scenarios() []*scenario {
	fsyncs := row{"fsyncs of a server for 1,000 operations", "fsyncs", plain, shown, 0}
	return []*scenario{
		load{"get", 16, 256, 100, ""}.scenario("get 100 B, one server, 256 outstanding", 1, ops(8), cpu(0.12)),
		load{"get", 1, 1, 100, ""}.scenario("get 100 B, one server, 1 outstanding", 1, ops(1.5)),
		load{"set", 16, 256, 100, ""}.scenario("set 100 B, three servers, 256 outstanding", 3, ops(3), latency("p99", 0.4), cpu(0.35), fsyncs),
		load{"set", 16, 16, 100, ""}.scenario("set 100 B, three servers, 16 outstanding", 3, ops(1.5)),
		load{"set", 1, 1, 100, "leader"}.scenario("set 100 B, three servers, 1 outstanding at the leader", 3, latency("p50", 1), latency("p99", 0.5),
			row{"p50 to the disk's own two syncs and 0.2 ms", "disk", plain, atMost, 1.4}),
		load{"set", 1, 1, 100, "follower"}.scenario("set 100 B, three servers, 1 outstanding at a follower", 3, latency("p50", 1), latency("p99", 0.5)),
		load{"set", 16, 64, 1 << 10, ""}.scenario("set 1 KiB, three servers, 64 outstanding", 3, ops(1.5)),
		load{"set", 16, 64, 16 << 10, ""}.scenario("set 16 KiB, three servers, 64 outstanding", 3, ops(1.5)),
		load{"create-sequential-ephemeral", 16, 64, 100, ""}.scenario("create sequential ephemeral, three servers, 64 outstanding", 3, ops(2)),
		load{"get=90,set=10", 16, 256, 100, ""}.scenario("90 % get 10 % set, three servers, 256 outstanding", 3, ops(4)),
		load{"sync+get", 16, 64, 100, ""}.scenario("sync and get, three servers, 64 outstanding", 3, ops(1.5)),
		{name: "one change, 2,000 watching sessions at three servers", servers: 3, run: fanOut, rows: []row{
			{"until the last is told", "p50", microseconds, ratioAtMost, 0.5},
		}},
		{name: "an empty server", servers: 1, own: true, run: emptyServer, rows: []row{
			{"start until ruok", "start", milliseconds, atMost, 100},
			{"memory", "rss", mebibytes, atMost, 25},
			{"binary", "binary", mebibytes, atMost, 25},
		}},
		{name: "1,000,000 znodes of 100 B", servers: 1, own: true, rounds: 3, admin: true, run: million, rows: []row{
			{"time to load", "fill", seconds, atMost, 60},
			{"memory after the load, a znode", "rss", bytes, atMost, 320},
			{"memory after the load, to ZooKeeper's", "rss", bytes, ratioAtMost, 0.4},
			{"peak after a minute of writes and a snapshot, a znode", "peak", bytes, atMost, 400},
			{"peak, to ZooKeeper's", "peak", bytes, ratioAtMost, 0.4},
			{"restart until it serves", "restart", milliseconds, ratioAtMost, 0.3},
			{"p99.9 of writes during a snapshot to that without", "slowdown", plain, atMost, 1.5},
			{"longest time without an answer during a snapshot", "pause", milliseconds, atMost, 5},
			{"longest time without an answer without a snapshot", "calm", milliseconds, shown, 0},
		}},
		{name: "1,000,000 watches", servers: 1, own: true, rounds: 3, run: watches, rows: []row{
			{"memory of a watch", "rss", bytes, atMost, 70},
		}},
		{name: "10,000 idle sessions", servers: 1, own: true, rounds: 3, run: idle, rows: []row{
			{"memory of a session", "rss", bytes, atMost, 6 << 10},
			{"CPU", "cores", plain, ratioAtMost, 0.8},
		}},
		{name: "10,000,000 znodes of 100 B", servers: 1, own: true, alone: true, rounds: 1, env: []string{"GODEBUG=gctrace=1"}, run: tenMillion, rows: []row{
			{"peak", "peak", mebibytes, atMost, 3.5 * 1024},
			{"share of a core for garbage collection at 5,000 writes a second", "gc", plain, atMost, 0.05},
		}},
	}
}

// spec is the load at a side.
func (l load) spec(t *testing.T, s *side) bench.Load {
	mix, err := bench.ParseMix(l.mix)
	must(t, err, "the mix of a row")
	addrs := s.addrs
	if l.at != "" {
		addrs = []string{s.in(t, l.at)}
	}
	return bench.Load{
		Servers: addrs, Mix: mix, Sessions: l.sessions, Outstanding: l.outstanding, Duration: *duration,
		Data: payload(l.size), MultiSize: 10, Timeout: sessionTimeout,
	}
}
