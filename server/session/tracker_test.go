package session

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

const tick = 2 * time.Second

// slack is what the tracker's clock may be behind: one step.
const slack = tick / stepsPerTick

// log collects the calls of expire.
type log struct {
	mu    sync.Mutex
	start time.Time
	at    map[int64][]time.Duration
	epoch map[int64]uint32
}

func newLog() *log {
	return &log{start: time.Now(), at: map[int64][]time.Duration{}, epoch: map[int64]uint32{}}
}

func (l *log) expire(id int64, epoch uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[id] = append(l.at[id], time.Since(l.start))
	l.epoch[id] = epoch
}

func (l *log) of(id int64) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.at[id])
}

func TestExpiryIsBucketed(t *testing.T) {
	// Opened at the time given, a session ends at the start of a tick.
	for _, tt := range []struct{ openAt, timeout, want time.Duration }{
		{0, 4 * time.Second, 6 * time.Second},
		{0, 3999 * time.Millisecond, 4 * time.Second},
		{100 * time.Millisecond, 4 * time.Second, 6 * time.Second},
		{1999 * time.Millisecond, 4 * time.Second, 6 * time.Second},
		{2001 * time.Millisecond, 4 * time.Second, 8 * time.Second},
		{1500 * time.Millisecond, 0, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLog()
			tr := New(tick, l.expire)
			tr.Start(nil)
			defer tr.Stop()
			time.Sleep(tt.openAt)
			tr.Open(1, tt.timeout, 7)
			time.Sleep(tt.want - tt.openAt - time.Millisecond)
			if got := l.of(1); len(got) != 0 {
				t.Fatalf("%+v: expired early, at %v", tt, got)
			}
			time.Sleep(slack)
			synctest.Wait()
			if got := l.of(1); len(got) != 1 || l.epoch[1] != 7 {
				t.Fatalf("%+v: expired at %v, epoch %d", tt, got, l.epoch[1])
			}
		})
	}
}

func TestExpireRepeatsUntilClosedOrTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		tr := New(tick, l.expire)
		tr.Start([]Session{{ID: 1, Timeout: tick}, {ID: 2, Timeout: tick}})
		defer tr.Stop()
		time.Sleep(7 * time.Second) // due at 4 s, again at 6 s
		if got := l.of(1); !reflect.DeepEqual(got, []time.Duration{4 * time.Second, 6 * time.Second}) {
			t.Fatalf("expired at %v", got)
		}
		tr.Close(1)
		tr.Touch([]int64{2, 99}) // until 10 s
		time.Sleep(2900 * time.Millisecond)
		if len(l.of(1)) != 2 || len(l.of(2)) != 2 {
			t.Fatalf("expired after close or touch: %v %v", l.of(1), l.of(2))
		}
		time.Sleep(tick)
		if got := l.of(2); len(got) != 3 || got[2] != 10*time.Second {
			t.Fatalf("touched session expired at %v", got)
		}
		if len(l.of(1)) != 2 {
			t.Fatal("closed session expired")
		}
	})
}

func TestOpenReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		tr := New(tick, l.expire)
		tr.Start([]Session{{ID: 1, Timeout: 20 * time.Second, Epoch: 1}})
		defer tr.Stop()
		time.Sleep(time.Second)
		tr.Open(1, 4*time.Second, 2)
		time.Sleep(6 * time.Second)
		if got := l.of(1); len(got) != 1 || l.epoch[1] != 2 {
			t.Fatalf("shorter timeout: %v, epoch %d", got, l.epoch[1])
		}
		tr.Open(1, 10*time.Second, 3) // at 7 s: due at 18 s
		time.Sleep(10 * time.Second)
		if got := l.of(1); len(got) != 1 {
			t.Fatalf("longer timeout: %v", got)
		}
		time.Sleep(2 * time.Second)
		if got := l.of(1); len(got) != 2 || l.epoch[1] != 3 {
			t.Fatalf("longer timeout: %v, epoch %d", got, l.epoch[1])
		}
	})
}

func TestNewTermGivesFullTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		tr := New(tick, l.expire)
		sessions := []Session{{ID: 1, Timeout: 4 * time.Second}}
		tr.Open(5, time.Second, 0) // does nothing: no term
		tr.Touch([]int64{1})
		tr.Close(1)
		tr.Start(sessions)
		for range 3 {
			time.Sleep(5 * time.Second)
			tr.Start(sessions)
		}
		time.Sleep(5 * time.Second)
		tr.Stop()
		time.Sleep(time.Minute)
		if len(l.of(1)) != 0 || len(l.of(5)) != 0 {
			t.Fatalf("expired: %v %v", l.of(1), l.of(5))
		}
		if len(tr.Dump()) != 0 {
			t.Fatal("sessions left after Stop")
		}
		tr.Stop()
		tr.Start(sessions)
		defer tr.Stop()
		time.Sleep(6*time.Second + slack)
		if len(l.of(1)) != 1 {
			t.Fatal("not expired in the new term")
		}
	})
}

// A late wake-up is played by an expire that blocks: the goroutine then looks
// at the clock as late as after a pause of the process.
func TestLateWakeUpMovesDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		const pause = 60 * time.Second
		tr := New(tick, func(id int64, epoch uint32) {
			l.expire(id, epoch)
			if id == 1 {
				time.Sleep(pause)
			}
		})
		tr.Start([]Session{{ID: 1, Timeout: tick}, {ID: 2, Timeout: 3 * tick}, {ID: 3, Timeout: 3 * tick}})
		defer tr.Stop()
		time.Sleep(4*time.Second + pause/2)
		tr.Close(1)
		tr.Touch([]int64{3}) // in the pause, at 4.25 s of the tracker's clock: due at 12 s
		time.Sleep(pause / 2)
		if got := l.of(2); len(got) != 0 {
			t.Fatalf("expired in the pause, at %v", got)
		}
		time.Sleep(20 * time.Second)
		within := func(id int64, want time.Duration) {
			t.Helper()
			if got := l.of(id); len(got) == 0 || got[0] < want || got[0] > want+2*slack {
				t.Errorf("session %d expired at %v, want %v", id, got, want)
			}
		}
		within(2, 8*time.Second+pause-slack)
		within(3, 12*time.Second+pause-slack)
	})
}

func TestTouchedWhileOthersAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr *Tracker
		var reported []int64
		tr = New(tick, func(id int64, _ uint32) {
			reported = append(reported, id)
			tr.Touch([]int64{2})
			tr.Close(3)
			tr.Close(1)
		})
		tr.Start([]Session{{ID: 1, Timeout: tick}, {ID: 2, Timeout: tick}, {ID: 3, Timeout: tick}})
		time.Sleep(2*tick + slack)
		tr.Stop()
		if !reflect.DeepEqual(reported, []int64{1}) {
			t.Fatalf("reported %v", reported)
		}
	})
}

func TestDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		tr := New(tick, func(int64, uint32) {})
		tr.Start([]Session{{ID: 9, Timeout: 4 * time.Second}, {ID: 3, Timeout: 5 * time.Second}, {ID: 4, Timeout: 7 * time.Second}})
		defer tr.Stop()
		time.Sleep(3 * time.Second)
		tr.Touch([]int64{4})
		want := []Bucket{{start.Add(6 * time.Second), []int64{3, 9}}, {start.Add(12 * time.Second), []int64{4}}}
		if got := tr.Dump(); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// Against a model that knows only when each session was last touched.
func TestExpiryNeverEarlyNeverLate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		timeouts := rapid.SliceOfN(rapid.IntRange(0, 9000), 1, 6).Draw(rt, "timeoutMs")
		type step struct{ waitMs, id, action int }
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{rapid.IntRange(0, 3000).Draw(rt, "wait"), rapid.IntRange(0, len(timeouts)-1).Draw(rt, "id"), rapid.IntRange(0, 5).Draw(rt, "action")}
		}), 1, 25).Draw(rt, "steps")

		var failure string
		synctest.Test(t, func(t *testing.T) {
			l := newLog()
			tr := New(tick, l.expire)
			tr.Start(nil)
			touched, known := map[int64]time.Duration{}, map[int64]bool{}
			for _, s := range steps {
				// Half a millisecond keeps clear of the ticks themselves.
				time.Sleep(time.Duration(s.waitMs)*time.Millisecond + 500*time.Microsecond)
				synctest.Wait()
				now := time.Since(l.start)
				for id := range maps.Keys(known) {
					got, timeout := l.of(id), time.Duration(timeouts[id])*time.Millisecond
					due := ((touched[id]+timeout)/tick + 1) * tick
					switch {
					case !known[id]:
					case len(got) > 0 && got[0] < due:
						failure = "early"
					case len(got) == 0 && now > due:
						failure = "late"
					case len(got) > 0 && len(got) != int((now-due)/tick)+1:
						failure = "not repeated each tick"
					}
				}
				id := int64(s.id)
				switch {
				case s.action == 0:
					tr.Close(id)
					known[id] = false
				case s.action == 1 || !known[id]:
					tr.Open(id, time.Duration(timeouts[s.id])*time.Millisecond, 0)
					known[id], touched[id] = true, now
				default:
					tr.Touch([]int64{id})
					touched[id] = now
				}
				l.mu.Lock()
				delete(l.at, id)
				l.mu.Unlock()
			}
			time.Sleep(time.Minute)
			for id := range known {
				if got := l.of(id); known[id] != (len(got) > 0) {
					failure = "final"
				}
			}
			tr.Stop()
		})
		if failure != "" {
			rt.Fatalf("%s", failure)
		}
	})
}

func TestAllocator(t *testing.T) {
	a := NewAllocator(0xfe, 0xabc12345)
	if got := uint64(a.Next()); got != 0xfe<<56|0x12345<<36|1 {
		t.Fatalf("first id %#x", got)
	}
	zero := NewAllocator(0, 0)
	zero.counter.Store(1<<counterBits - 1)
	if got := zero.Next(); got != 1 {
		t.Fatalf("id after the wrap: %d", got)
	}

	const workers, each = 4, 1000
	ids := make(chan int64, workers*each)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				ids <- a.Next()
			}
		})
	}
	wg.Wait()
	close(ids)
	seen := map[int64]bool{}
	for id := range ids {
		seen[id] = true
		if uint64(id)>>counterBits != 0xfe12345 {
			t.Fatalf("id %#x", uint64(id))
		}
	}
	if len(seen) != workers*each {
		t.Fatalf("%d different ids of %d", len(seen), workers*each)
	}
}

func BenchmarkTouch(b *testing.B) {
	tr := New(tick, func(int64, uint32) {})
	ids := make([]int64, 10_000)
	var sessions []Session
	for i := range ids {
		ids[i] = int64(i)
		sessions = append(sessions, Session{ID: int64(i), Timeout: time.Hour})
	}
	tr.Start(sessions)
	defer tr.Stop()
	for b.Loop() {
		tr.Touch(ids)
	}
}

// TestResume: a leader that is voted out again and again takes no longer to see
// that a session is over than its grace adds up to, and a touched one lives.
func TestResume(t *testing.T) {
	const timeout, reign, grace = 10 * time.Second, 5 * time.Second, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		tr := New(tick, l.expire)
		sessions := []Session{{ID: 1, Timeout: timeout, Epoch: 1}, {ID: 2, Timeout: timeout, Epoch: 1}, {ID: 3, Timeout: timeout, Epoch: 1}}
		tr.Start(sessions)
		for range 8 {
			for range reign / time.Second {
				time.Sleep(time.Second)
				tr.Touch([]int64{2})
			}
			tr.Stop()
			time.Sleep(time.Minute) // without a leader nobody gets older
			sessions[2].Epoch++     // and this one has attached anew
			tr.Resume(sessions, grace)
		}
		tr.Stop()
		// Two reigns take 5 s each and give 2 s back; a tick may come on top each time.
		if at := l.of(1); len(at) == 0 || at[0] > 6*(reign+time.Minute) {
			t.Errorf("the silent session is over at %v", at)
		}
		for _, id := range []int64{2, 3} {
			if at := l.of(id); len(at) > 0 {
				t.Errorf("session %d is over at %v", id, at)
			}
		}
	})
}

// TestStartAfterStopGivesFullTimeout: another leader may have heard of a session
// meanwhile.
func TestStartAfterStopGivesFullTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		tr := New(tick, l.expire)
		s := []Session{{ID: 1, Timeout: 10 * time.Second, Epoch: 1}}
		tr.Start(s)
		time.Sleep(9 * time.Second)
		tr.Stop()
		tr.Start(s)
		defer tr.Stop()
		time.Sleep(9 * time.Second)
		if at := l.of(1); len(at) > 0 {
			t.Errorf("over at %v", at)
		}
	})
}
