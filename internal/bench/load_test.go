package bench

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/protocol"
)

// near reports whether a figure in microseconds is a duration, within the
// resolution of a histogram.
func near(us float64, d time.Duration) bool {
	want := Us(d)
	return us >= want*0.99 && us <= want*1.01
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, cost: time.Millisecond}
		load := f.load()
		load.Sessions, load.Outstanding = 2, 6
		r := f.run(load)
		// Each connection answers one request a millisecond, and each request
		// waits for the two before it.
		if r.Requests < 1990 || r.Requests > 2010 || r.Errors != 0 || !near(r.P50Us, 3*time.Millisecond) || !near(r.MaxUs, 3*time.Millisecond) {
			t.Errorf("%+v", r.Line)
		}
		if !near(r.OpsPerSecond, 2*time.Millisecond) { // 2,000 a second
			t.Errorf("%v a second in %v s", r.OpsPerSecond, r.Seconds)
		}
	})
}

// An open loop measures from the moment a request was due. A server that
// stalls for a second must show in every request of that second, where a closed
// loop sees one slow request.
func TestOpenLoopCountsTheStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{100, 0} {
			f := &fake{t: t, cost: time.Millisecond}
			load := f.load()
			load.Rate, load.Duration = rate, 10*time.Second
			load.Outstanding = 1
			time.AfterFunc(5*time.Second, func() {
				f.mu.Lock()
				f.stall = time.Now().Add(time.Second)
				f.mu.Unlock()
			})
			r := f.run(load)
			if rate == 0 {
				if r.Requests < 8990 || !near(r.P99Us, time.Millisecond) || !near(r.MaxUs, 1001*time.Millisecond) {
					t.Errorf("closed loop: %+v", r.Line)
				}
				continue
			}
			// 1,000 requests, of which 100 and some waited, evenly from 1 s down.
			if r.Requests != 1000 || r.Unsent != 0 || !near(r.P50Us, time.Millisecond) ||
				r.P99Us < 0.85e6 || r.P99Us > 0.95e6 || r.P90Us < 1100 || r.P90Us > 0.2e6 || !near(r.MaxUs, 1001*time.Millisecond) {
				t.Errorf("open loop: %+v", r.Line)
			}
			if !near(r.GapMaxUs, 1010*time.Millisecond) && !near(r.GapMaxUs, 1001*time.Millisecond) || r.StallUs != r.GapMaxUs {
				t.Errorf("gap %v, stall %v", r.GapMaxUs, r.StallUs)
			}
		}
	})
}

// What found no room until the end is in the latencies, too.
func TestOpenLoopCountsWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, cost: 100 * time.Millisecond}
		load := f.load()
		load.Rate, load.Duration = 100, 10*time.Second
		r := f.run(load)
		if r.Requests < 99 || r.Requests > 101 || r.Requests+r.Unsent != 1000 {
			t.Errorf("%d answered, %d unsent", r.Requests, r.Unsent)
		}
		// Of the requests that were due in the second half none was sent, and of
		// the first half a tenth: the median waited about 4.5 s.
		if r.P50Us < 3.5e6 || r.P50Us > 5.5e6 || r.MaxUs < 8.5e6 {
			t.Errorf("%+v", r.Line)
		}
	})
}

func TestScheduleIsEven(t *testing.T) {
	var moments []time.Duration
	for n := range 3 {
		p := schedule{from: time.Second, rate: 300, n: n, of: 3}
		for ; p.requests < 100; p.requests++ {
			moments = append(moments, p.next())
		}
	}
	slices.Sort(moments)
	for i, at := range moments {
		if want := time.Second + time.Duration(i)*time.Second/300; (at - want).Abs() > time.Microsecond {
			t.Fatalf("request %d is due at %v, want %v", i, at, want)
		}
	}
}

func TestRequestsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{0, 1000} {
			f := &fake{t: t}
			load := f.load()
			load.Sessions, load.Outstanding, load.Requests, load.Rate = 3, 10, 1000, rate
			if r := f.run(load); r.Requests != 1000 || len(f.seen) != 1000 {
				t.Errorf("rate %v: %d answered, %d sent", rate, r.Requests, len(f.seen))
			}
		}
	})
}

func TestMixKeepsItsShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		load := f.load()
		load.Mix, load.Requests, load.Outstanding = Mix{{Get, 90}, {Set, 10}}, 10_000, 16
		r := f.run(load)
		if r.Mix != "get=90,set=10" || len(r.Kinds) != 2 || r.Kinds[0].Op != "get" || r.Kinds[1].Op != "set" {
			t.Fatalf("%+v", r)
		}
		if gets := r.Kinds[0].Requests; gets < 8800 || gets > 9200 || gets+r.Kinds[1].Requests != 10_000 {
			t.Errorf("%d gets and %d sets", gets, r.Kinds[1].Requests)
		}
	})
}

// Each kind sends what it says, and a reply to a part is not counted.
func TestKindsSend(t *testing.T) {
	for _, tc := range []struct {
		mix  string
		want []protocol.OpCode // of two requests
	}{
		{"get", []protocol.OpCode{protocol.OpGetData, protocol.OpGetData}},
		{"set", []protocol.OpCode{protocol.OpSetData, protocol.OpSetData}},
		{"create", []protocol.OpCode{protocol.OpCreate, protocol.OpCreate}},
		{"create-sequential-ephemeral", []protocol.OpCode{protocol.OpCreate, protocol.OpCreate}},
		{"delete", []protocol.OpCode{protocol.OpCreate, protocol.OpDelete}},
		{"multi", []protocol.OpCode{protocol.OpMulti, protocol.OpMulti}},
		{"sync+get", []protocol.OpCode{protocol.OpSync, protocol.OpGetData, protocol.OpSync, protocol.OpGetData}},
		{"children", []protocol.OpCode{protocol.OpGetChildren, protocol.OpGetChildren}},
		{"watch", []protocol.OpCode{protocol.OpExists, protocol.OpExists}},
	} {
		t.Run(tc.mix, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{t: t, cost: time.Millisecond}
				load := f.load()
				var err error
				if load.Mix, err = ParseMix(tc.mix); err != nil {
					t.Fatal(err)
				}
				load.Requests, load.Outstanding = 2, 2
				r := f.run(load)
				if !slices.Equal(f.seen, tc.want) || r.Requests != 2 || r.Errors != 0 || r.Mix != tc.mix {
					t.Errorf("%v, %+v", f.seen, r)
				}
			})
		})
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	refusal := func(code protocol.ErrCode) []byte {
		return protocol.AppendInt(protocol.MultiHeader{Type: protocol.OpError, Err: code}.AppendTo(nil), int32(code))
	}
	for mix, answer := range map[string]func(protocol.RequestHeader, []byte) (protocol.ErrCode, []byte){
		"get": func(protocol.RequestHeader, []byte) (protocol.ErrCode, []byte) { return protocol.NoNode, nil },
		"multi": func(protocol.RequestHeader, []byte) (protocol.ErrCode, []byte) {
			return protocol.OK, refusal(protocol.NoNode)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{t: t, answer: answer}
			load := f.load()
			load.Mix, _ = ParseMix(mix)
			load.Requests = 5
			r := f.run(load)
			if r.Requests != 0 || r.Errors != 5 || r.MaxUs != 0 || !strings.HasPrefix(r.FirstError, "f:1: ") || !strings.Contains(r.FirstError, protocol.NoNode.Error()) {
				t.Errorf("%s: %+v", mix, r)
			}
		})
	}
}

// A lost connection is an error for what was under way; the session is taken
// up again, and the time until then is its gap.
func TestLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, cost: time.Millisecond}
		load := f.load()
		load.Outstanding, load.Duration = 4, 2*time.Second
		time.AfterFunc(time.Second, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.down = true
			f.conns[0].Close()
		})
		time.AfterFunc(1500*time.Millisecond, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.down = false
		})
		r := f.run(load)
		if r.Errors != 4 || r.Requests < 1480 || r.GapMaxUs < 0.5e6 || r.GapMaxUs > 0.52e6 || r.StallUs != r.GapMaxUs {
			t.Errorf("%+v", r)
		}
		if !slices.Equal(f.sessions, []int64{0, 7}) {
			t.Errorf("sessions %v", f.sessions)
		}
	})
}

// A server that never answers ends the load one session timeout after its time.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, stall: time.Now().Add(time.Hour)}
		load := f.load()
		load.Timeout, load.Outstanding = 3*time.Second, 2
		start := time.Now()
		r := f.run(load)
		if r.Requests != 0 || r.Errors < 2 || time.Since(start) > 10*time.Second {
			t.Errorf("%+v after %v", r, time.Since(start))
		}
		// The fake's goroutines sleep for that hour.
		time.Sleep(2 * time.Hour)
	})
}

// Sessions without requests ping, and Take counts anew.
func TestIdleSessionsAndTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		load := f.load()
		load.Mix, load.Sessions, load.Duration = nil, 3, time.Hour
		if r := f.run(load); r.Requests != 0 || r.Errors != 0 || len(f.sessions) != 3 || len(f.seen) != 0 {
			t.Errorf("%+v, sessions %v", r, f.sessions)
		}

		f = &fake{t: t, cost: time.Millisecond}
		r, err := Start(t.Context(), f.load())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300*time.Millisecond + time.Microsecond)
		first := r.Take()
		r.Wait()
		second := r.Take()
		r.Close()
		if first.Requests != 300 || second.Requests < 699 || second.Requests > 701 || !near(first.OpsPerSecond, time.Millisecond) || !near(second.OpsPerSecond, time.Millisecond) {
			t.Errorf("%+v\n%+v", first, second)
		}
	})
}

// Sessions that are open live on while others are being opened.
func TestPingsWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, cost: time.Millisecond}
		load := f.load()
		load.Sessions, load.Outstanding, load.Connecting = 3, 3, 1
		load.dial = func(ctx context.Context, addr string) (net.Conn, error) {
			time.Sleep(20 * time.Second) // less than the timeout, but not twice
			return f.dial(ctx, addr)
		}
		r := f.run(load)
		if f.pings < 3 || r.Errors != 0 {
			t.Errorf("%d pings, %+v", f.pings, r)
		}
	})
}

func TestCreatedIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, answer: func(h protocol.RequestHeader, body []byte) (protocol.ErrCode, []byte) {
			if h.Op == protocol.OpCreate {
				return protocol.OK, protocol.AppendString(nil, "/d/e0-0000000042")
			}
			return protocol.OK, nil
		}}
		for mix, want := range map[string][]string{
			"create":                      {"/d/c0-0", "/d/c0-1", "/d/c0-2"},
			"delete":                      {"/d/c0-1"},
			"create-sequential-ephemeral": {"/d/e0-0000000042", "/d/e0-0000000042", "/d/e0-0000000042"},
		} {
			load := f.load()
			load.Mix, _ = ParseMix(mix)
			load.Requests = 3
			r, err := Start(t.Context(), load)
			if err != nil {
				t.Fatal(err)
			}
			r.Wait()
			r.Close()
			if got := slices.Collect(r.created()); !slices.Equal(got, want) {
				t.Errorf("%s: %q", mix, got)
			}
		}
	})
}
