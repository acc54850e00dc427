package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/metrics"
)

func TestBucket(t *testing.T) {
	plain := config.ConnectionThrottle{Tokens: 3, FillTime: 100 * time.Millisecond, FillCount: 2, FreezeTime: -time.Millisecond, GlobalWeight: 3, LocalWeight: 1, RenewWeight: 2}
	weighted := plain
	weighted.Weighted = true
	type step struct {
		after time.Duration
		n     int
		want  bool
	}
	for _, tc := range []struct {
		name   string
		limits config.ConnectionThrottle
		steps  []step
	}{
		{"so many at once", plain, []step{{0, 1, true}, {0, 1, true}, {0, 1, true}, {0, 1, false}, {100, 1, false}, {1, 1, true}, {0, 1, true}, {0, 1, false}}},
		{"not more than full", plain, []step{{100_000, 3, true}, {0, 1, false}}},
		{"a refusal takes nothing", plain, []step{{0, 2, true}, {0, 2, false}, {0, 1, true}}},
		{"whole tokens of the time that passed", plain, []step{{0, 3, true}, {199, 3, true}, {0, 1, false}}},
		{"a long time does not overflow", plain, []step{{0, 3, true}, {290 * 365 * 24 * 3_600_000 / 2, 3, true}, {0, 1, false}}},
		{"weighted", weighted, []step{{0, 9, true}, {0, 1, false}, {101, 6, true}, {0, 1, false}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBucket(tc.limits, metrics.New())
			for i, s := range tc.steps {
				time.Sleep(s.after * time.Millisecond)
				if got := b.take(s.n); got != s.want {
					t.Errorf("%s: step %d: %v, want %v", tc.name, i, got, s.want)
				}
			}
		})
	}
	for _, tc := range []struct {
		limits        config.ConnectionThrottle
		renews, local bool
		want          int
	}{{plain, false, false, 1}, {plain, true, true, 1}, {weighted, false, false, 3}, {weighted, false, true, 1}, {weighted, true, true, 2}, {weighted, true, false, 2}} {
		if got := newBucket(tc.limits, metrics.New()).price(tc.renews, tc.local); got != tc.want {
			t.Errorf("weighted %v, renews %v, local %v: %d tokens, want %d", tc.limits.Weighted, tc.renews, tc.local, got, tc.want)
		}
	}
	if newBucket(config.ConnectionThrottle{}, metrics.New()) != nil {
		t.Error("a bucket without a limit")
	}
}

func TestBucketDropsAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New()
		b := newBucket(config.ConnectionThrottle{Tokens: 2, FillTime: time.Hour, FillCount: 2, FreezeTime: 50 * time.Millisecond,
			DropIncrease: 0.75, DropDecrease: 1, DecreaseRatio: 0.5}, m)
		drops := func(want float64) {
			t.Helper()
			b.take(0)
			if got := m.DropProbability.Load(); got != want {
				t.Errorf("drops with a probability of %v, want %v", got, want)
			}
		}
		b.take(1)
		time.Sleep(51 * time.Millisecond)
		drops(0) // a token is left
		b.take(1)
		drops(0) // looked at a moment ago
		time.Sleep(51 * time.Millisecond)
		drops(0.75)
		time.Sleep(51 * time.Millisecond)
		drops(1)
		b.tokens = 1
		if b.take(1) {
			t.Error("not dropped with a probability of 1")
		}
		time.Sleep(51 * time.Millisecond)
		drops(0) // half of the tokens are there
		if !b.take(1) {
			t.Error("dropped with a probability of 0")
		}
	})
}

func TestConnectionThrottle(t *testing.T) {
	for _, tc := range []struct {
		name      string
		lines     []string
		fresh     int // sessions that can be made
		comebacks int // then, by one that has a session
	}{
		{"tokens", []string{"connection_throttle_tokens=3"}, 2, 1},
		{"weights", []string{"connection_throttle_tokens=3", "connection_throttle_weight_enabled=true"}, 2, 1},
		{"given weights", []string{"connection_throttle_tokens=2", "connection_throttle_weight_enabled=true", "connection_throttle_global_session_weight=4", "connection_throttle_renew_session_weight=1"}, 1, 4},
		{"weights raised to that of local sessions", []string{"connection_throttle_tokens=2", "connection_throttle_weight_enabled=true", "connection_throttle_local_session_weight=5", "connection_throttle_renew_session_weight=1"}, 1, 1},
		{"none", nil, 10, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startStandalone(t, append(tc.lines, "connection_throttle_fill_time=3600000")...)
			var w *wire
			for range tc.fresh {
				w = dial(t, s)
			}
			resume := func() bool {
				again := dialRaw(t, s)
				return again.connect(protocol.ConnectRequest{SessionID: w.id, Password: w.password, TimeoutMs: 10_000})
			}
			for i := range tc.comebacks {
				if !resume() {
					t.Fatalf("could not come back at try %d", i+1)
				}
			}
			if tc.lines == nil {
				return
			}
			if resume() || dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) {
				t.Error("came in without a token")
			}
			if n := s.metrics.ConnectionRejected.Load(); n != 2 {
				t.Errorf("%d connections counted as rejected, want 2", n)
			}
		})
	}
	s := startStandalone(t, "connection_throttle_tokens=4", "connection_throttle_fill_time=500", "connection_throttle_fill_count=4")
	for range 2 {
		for range 4 {
			dial(t, s)
		}
		time.Sleep(510 * time.Millisecond)
	}
}

// stall keeps the writes of s from the log until resume is called. The server
// must have a syncLimit that is longer than that.
func stall(s *Server) (resume func()) {
	f := s.forwarder
	f.mu.Lock()
	to, incarnation := f.to, f.incarnation
	f.to = nil
	f.mu.Unlock()
	return func() { f.open(to, incarnation) }
}

const patientClients = "syncLimit=600"

// expectNothing fails the test if a frame comes soon.
func (w *wire) expectNothing(d time.Duration) {
	w.t.Helper()
	w.nc.SetReadDeadline(time.Now().Add(d))
	if b, err := w.in.Peek(1); err == nil {
		w.t.Fatalf("got a frame that begins with %x", b)
	} else if closedByServer(err) {
		w.t.Fatal("the connection was closed")
	}
}

func TestLargeRequests(t *testing.T) {
	s := startStandalone(t, patientClients, "largeRequestThreshold=1000", "largeRequestMaxBytes=5000")
	a, b, c := dial(t, s), dial(t, s), dial(t, s)
	large := strings.Repeat("x", 3000)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", large)))
	eventually(t, "a's request is taken", func() bool { return s.large.held.Load() > 3000 })
	b.send(request(1, protocol.OpCreate, create("/small", strings.Repeat("x", 900)))) // as many as they like of these
	b.send(request(2, protocol.OpCreate, create("/b", large))[:4])                    // its length is enough
	b.expectClosed()
	if n := s.metrics.LargeRejected.Load(); n != 1 {
		t.Errorf("%d requests counted as rejected, want 1", n)
	}
	c.send(request(1, protocol.OpExists, read("/"))) // another client does not feel it
	c.expect(1, protocol.OK)
	resume()
	a.expect(1, protocol.OK)
	eventually(t, "nothing is held", func() bool { return s.large.held.Load() == 0 })
	c.call(protocol.OpCreate, create("/c", large), protocol.OK)
	c.call(protocol.OpExists, read("/b"), protocol.NoNode)
	c.call(protocol.OpExists, read("/small"), protocol.OK) // it was under way
	c.call(protocol.OpExists, read("/"+large), protocol.NoNode)
	c.send(request(1, protocol.OpExists, read("/"+strings.Repeat(large, 2))))
	c.expectClosed()

	// What waits for a connection that ends is held no longer.
	a.send(request(1, protocol.OpSync, read("/")))
	a.expect(1, protocol.OK)
	resume = stall(s)
	a.send(request(2, protocol.OpCreate, create("/d", large)))
	eventually(t, "a's request is taken", func() bool { return s.large.held.Load() > 3000 })
	a.nc.Close()
	eventually(t, "nothing is held", func() bool { return s.large.held.Load() == 0 })
	resume()
}

func TestRequestThrottle(t *testing.T) {
	s := startStandalone(t, patientClients, "request_throttle_max_requests=1", "request_throttle_stall_time=60000")
	a, b := dial(t, s), dial(t, s)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	b.send(request(1, protocol.OpCreate, create("/b", "")), request(2, protocol.OpExists, read("/b")), request(protocol.XidPing, protocol.OpPing, nil))
	a.send(request(2, protocol.OpExists, read("/a")))
	eventually(t, "somebody waits", func() bool { return s.metrics.ThrottleWaits.Load() == 1 })
	late := dialRaw(t, s)
	late.send(framed((&protocol.ConnectRequest{TimeoutMs: 10_000, HasReadOnly: true}).AppendTo(nil)))
	a.send(request(protocol.XidAuth, protocol.OpAuth, &protocol.AuthRequest{Scheme: "digest", Auth: []byte("u:p")}))
	b.expectNothing(250 * time.Millisecond)
	late.expectNothing(10 * time.Millisecond)
	if n := s.metrics.OutstandingRequests.Load(); n != 1 {
		t.Errorf("%d requests under way, want 1", n)
	}
	if n := s.metrics.ThrottleWaits.Load(); n != 1 {
		t.Errorf("the next in line looked %d times, want once in the stall time", n)
	}
	resume() // long before the stall time is over
	a.expect(1, protocol.OK)
	a.expect(2, protocol.OK)
	a.expect(protocol.XidAuth, protocol.OK)
	b.expect(1, protocol.OK)
	b.expect(2, protocol.OK)
	b.expect(protocol.XidPing, protocol.OK)
	if _, err := late.frame(); err != nil {
		t.Errorf("the handshake was not answered: %v", err)
	}
	if s.metrics.ThrottledOps.Load() != 0 || s.metrics.StaleDropped.Load() != 0 {
		t.Error("something was refused or dropped")
	}

	// Many clients at once, each with its order.
	var all []*wire
	for i := range 8 {
		w := dial(t, s)
		name := "/n" + string(rune('0'+i))
		w.send(request(1, protocol.OpCreate, create(name, "")))
		for k := range 20 {
			w.send(request(int32(2*k+2), protocol.OpSetData, setData(name, "")), request(int32(2*k+3), protocol.OpExists, read(name)))
		}
		all = append(all, w)
	}
	for _, w := range all {
		for xid := range int32(41) {
			r := w.expect(xid+1, protocol.OK)
			if xid > 0 && xid%2 == 0 {
				var st protocol.Stat
				if decode(t, r.body, &st); st.Version != xid/2 {
					t.Fatalf("version %d after %d changes", st.Version, xid/2)
				}
			}
		}
	}
}

// The next in line looks again after the stall time, even if it is not told
// that something ended.
func TestRequestThrottleStallTime(t *testing.T) {
	s := startStandalone(t, patientClients, "request_throttle_max_requests=1", "request_throttle_stall_time=10")
	a, b := dial(t, s), dial(t, s)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	b.send(request(1, protocol.OpExists, read("/")))
	eventually(t, "it looks often", func() bool { return s.metrics.ThrottleWaits.Load() > 5 })
	resume()
	b.expect(1, protocol.OK)
}

func TestThrottledOps(t *testing.T) {
	s := startStandalone(t, patientClients, "request_throttle_max_requests=1", "throttled_op_wait_time=50")
	a, b := dial(t, s), dial(t, s)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	b.send(request(1, protocol.OpCreate, create("/b", "")), request(2, protocol.OpExists, read("/")),
		request(protocol.XidPing, protocol.OpPing, nil), request(3, 99, nil))
	time.Sleep(80 * time.Millisecond)
	resume()
	created := a.expect(1, protocol.OK)
	for xid := range int32(2) {
		if r := b.expect(xid+1, protocol.ThrottledOp); len(r.body) != 0 || r.Zxid != created.Zxid {
			t.Errorf("%d bytes of body, zxid %x, want none and %x", len(r.body), r.Zxid, created.Zxid)
		}
	}
	b.expect(protocol.XidPing, protocol.OK)
	b.expect(3, protocol.Unimplemented)
	a.call(protocol.OpExists, read("/b"), protocol.NoNode)
	if n := s.metrics.ThrottledOps.Load(); n != 2 {
		t.Errorf("%d requests counted as throttled, want 2", n)
	}
}

func TestStaleRequests(t *testing.T) {
	const byConnection, byLatency = "request_stale_connection_check=", "request_stale_latency_check="
	for _, tc := range []struct {
		name           string
		lines          []string
		hangUp         bool // the client does not wait
		run            bool
		dropped, stale int64
	}{
		{"of a connection that is gone", nil, true, false, 1, 0},
		{"not dropped", []string{"request_throttle_drop_stale=false"}, true, true, 0, 1},
		{"not looked for", []string{byConnection + "false"}, true, true, 0, 0},
		{"older than the session's timeout", []string{byConnection + "false", byLatency + "true"}, false, false, 1, 0},
		{"older, but that does not matter", []string{byConnection + "false"}, false, true, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := append(tc.lines, patientClients, "request_throttle_max_requests=1", "minSessionTimeout=100")
			s := startStandalone(t, lines...)
			a, b := dial(t, s), dial(t, s)
			resume := stall(s)
			a.send(request(1, protocol.OpCreate, create("/a", "")))
			eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
			c := s.owner(b.id)
			b.send(request(1, protocol.OpCreate, create("/b", "")), request(2, protocol.OpCreate, create("/c", "")))
			eventually(t, "b's request waits", func() bool { return s.metrics.ThrottleWaits.Load() > 0 })
			if tc.hangUp {
				b.nc.Close()
				eventually(t, "the connection is gone", c.dead.Load)
			} else {
				c.timeoutMs.Store(30)
				time.Sleep(50 * time.Millisecond)
			}
			resume()
			a.expect(1, protocol.OK)
			if tc.run {
				eventually(t, "the request is run", func() bool {
					a.send(request(2, protocol.OpExists, read("/c")))
					return a.next().Err == protocol.OK
				})
			} else {
				eventually(t, "the connection is gone", c.dead.Load)
				a.call(protocol.OpSync, read("/"), protocol.OK)
				a.call(protocol.OpExists, read("/b"), protocol.NoNode)
				a.call(protocol.OpExists, read("/c"), protocol.NoNode)
			}
			if n := s.metrics.StaleDropped.Load(); n != tc.dropped {
				t.Errorf("%d requests counted as dropped, want %d", n, tc.dropped)
			}
			if n := s.metrics.StaleRequests.Load(); min(n, 1) != tc.stale {
				t.Errorf("%d requests counted as stale, want %d", n, tc.stale)
			}
		})
	}
}

// A session can be closed by a client that does not wait for the answer.
func TestCloseSessionIsNeverStale(t *testing.T) {
	s := startStandalone(t, patientClients, "request_throttle_max_requests=1")
	a, b := dial(t, s), dial(t, s)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	b.send(request(1, protocol.OpCloseSession, nil))
	eventually(t, "b's request waits", func() bool { return s.metrics.ThrottleWaits.Load() > 0 })
	b.nc.Close()
	resume()
	eventually(t, "the session is closed", func() bool { return s.Tree().GlobalSessions == 1 })
}

// Large requests that wait for their turn count as well.
func TestLargeRequestsInTurn(t *testing.T) {
	s := startStandalone(t, patientClients, "request_throttle_max_requests=1", "largeRequestThreshold=1000", "largeRequestMaxBytes=5000")
	large := strings.Repeat("x", 3000)
	a, b, c := dial(t, s), dial(t, s), dial(t, s)
	resume := stall(s)
	a.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "a's request is under way", func() bool { return s.metrics.OutstandingRequests.Load() == 1 })
	b.send(request(1, protocol.OpCreate, create("/b", large)))
	eventually(t, "b's request is taken", func() bool { return s.large.held.Load() > 3000 })
	c.send(request(1, protocol.OpCreate, create("/c", large)))
	c.expectClosed()
	resume()
	b.expect(1, protocol.OK)
	eventually(t, "nothing is held", func() bool { return s.large.held.Load() == 0 })
}

// With a probability of 1 nobody comes in any more, tokens or not, until it goes
// down again.
func TestConnectionsAreDroppedAtRandom(t *testing.T) {
	for _, tc := range []struct {
		lines []string
		drop  float64 // after a while
	}{
		{[]string{"connection_throttle_drop_increase=1", "connection_throttle_drop_decrease=0"}, 1},
		{[]string{"connection_throttle_drop_increase=1", "connection_throttle_drop_decrease=1"}, 0},
		{[]string{"connection_throttle_drop_increase=1", "connection_throttle_drop_decrease=0.75", "connection_throttle_decrease_ratio=0"}, 0},
		{[]string{"connection_throttle_drop_increase=0"}, 0},
		{[]string{"connection_throttle_drop_increase=1", "connection_throttle_freeze_time=-1"}, 0},
	} {
		s := startStandalone(t, append([]string{"connection_throttle_tokens=2", "connection_throttle_fill_time=150", "connection_throttle_fill_count=2",
			"connection_throttle_freeze_time=5"}, tc.lines...)...)
		try := func() bool { return dialRaw(t, s).connect(protocol.ConnectRequest{TimeoutMs: 10_000}) }
		began := time.Now()
		try()
		try()
		time.Sleep(10 * time.Millisecond)
		if try() && time.Since(began) < 150*time.Millisecond {
			t.Errorf("%v: came in without a token", tc.lines)
		}
		time.Sleep(160 * time.Millisecond)
		if tc.drop == 1 {
			for range 20 {
				if try() {
					t.Errorf("%v: came in", tc.lines)
				}
				time.Sleep(time.Millisecond)
			}
		} else {
			eventually(t, "somebody comes in", try)
		}
		eventually(t, "the probability is shown", func() bool { try(); return s.metrics.DropProbability.Load() == tc.drop })
	}
}

// Writes that wait for a leader do not keep clients of read-only mode from
// reading.
func TestThrottleInReadOnlyMode(t *testing.T) {
	e := newEnsemble(t, 3, calm, "readonlymode.enabled=true", "syncLimit=20", "request_throttle_max_requests=1", "request_throttle_stall_time=20")
	for i := range e.running {
		e.start(i)
	}
	leader := e.leads()
	for _, s := range e.running {
		e.votes(s)
	}
	s := e.running[int(leader.id)%3]
	w := dial(t, s)
	for i, o := range e.running {
		if o != s {
			e.stop(i)
		}
	}
	w.send(request(1, protocol.OpCreate, create("/a", "")))
	eventually(t, "read-only mode", s.ReadOnly)
	if n := s.metrics.OutstandingRequests.Load(); n == 0 {
		t.Error("no write waits for a leader")
	}
	r := dialRaw(t, s)
	if !r.connect(protocol.ConnectRequest{TimeoutMs: 10_000, ReadOnly: true}) {
		t.Fatal("no session")
	}
	r.call(protocol.OpExists, read("/"), protocol.OK)
}
