//go:build simulate

package simulate

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	machineSeed = flag.Uint64("machine.seed", 0, "the seed of the first world; 0 takes the time")
	machineFor  = flag.Duration("machine.for", 10*time.Second, "how long worlds are simulated")
	machineOps  = flag.Int64("machine.ops", 0, "how many operations of clients are simulated at least, instead of -machine.for; 1 is one seed")
)

// worldOps is after how many operations the next seed has its turn. Some worlds
// grow old.
func worldOps(seed uint64) int64 {
	if seed%8 == 0 {
		return 400_000
	}
	return 60_000
}

// seeded makes what the product draws at random follow from a seed, until undone.
func seeded(seed uint64) (undo func()) {
	before := rand.Reader
	rand.Reader = &stream64{r: mathrand.New(mathrand.NewPCG(seed, 1))}
	return func() { rand.Reader = before }
}

type stream64 struct{ r *mathrand.Rand }

func (s *stream64) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.r.Uint64())
	}
	return len(p), nil
}

var _ io.Reader = (*stream64)(nil)

// simulate runs one world.
func simulate(s setup, over func() bool) (*world, *violation) {
	defer seeded(s.seed)()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small, and make much that does not last
	w := newWorld(s)
	return w, w.run(over)
}

func never() bool { return false }

// smallest looks for a smaller world in which the same goes wrong sooner.
func smallest(v *violation) *violation {
	best := v
	for _, servers := range []int{1, 2, 3} {
		for _, clients := range []int{1, 2, 4} {
			s := v.setup
			s.servers, s.clients, s.ops = servers, clients, min(s.ops, 60_000)
			if _, found := simulate(s, never); found != nil && found.check == v.check && found.step < best.step {
				best = found
			}
		}
	}
	return best
}

func TestMachine(t *testing.T) {
	seed := *machineSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	began := time.Now()
	var total tally
	var ops int64
	worlds := 0
	late := func() bool { return *machineOps == 0 && time.Since(began) > *machineFor }
	for ; *machineOps > 0 && ops < *machineOps || *machineOps == 0 && !late(); seed++ {
		w, v := simulate(setup{seed: seed, ops: worldOps(seed)}, late)
		worlds++
		ops += w.sentOps
		total.add(&w.tally)
		if v != nil {
			t.Errorf("after %d operations: %v", ops, v)
			t.Fatalf("the smallest world found in which that goes wrong: %v", smallest(v))
		}
	}
	t.Log(machineReport(&total, worlds, ops, time.Since(began)))
	if total.quiet > time.Minute.Milliseconds() {
		t.Errorf("%v without a fault", time.Duration(total.quiet)*time.Millisecond)
	}
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// machineReport says what was done.
func machineReport(total *tally, worlds int, ops int64, took time.Duration) string {
	var b strings.Builder
	virtual := time.Duration(total.virtual) * time.Millisecond
	fmt.Fprintf(&b, "%d seeds, %d operations of clients in %v: %.0f a second, %.0f a second of processor time; %v of simulated time, at most %v of it without a fault; 0 violations\n",
		worlds, ops, took.Round(time.Millisecond), float64(ops)/took.Seconds(), float64(ops)/processorTime().Seconds(), virtual, time.Duration(total.quiet)*time.Millisecond)
	fmt.Fprintf(&b, "%d steps, %d entries, %d batches sent (accepted %d, duplicate %d, gap %d, stale %d), %d replies, %d notifications, %d answers lost with a connection, %d states compared node by node\noperations:",
		total.steps, total.entries, total.batches, total.verdicts[0], total.verdicts[1], total.verdicts[2], total.verdicts[3], total.replies, total.events, total.lost, total.walks)
	for _, name := range slices.Sorted(maps.Keys(total.ops)) {
		fmt.Fprintf(&b, " %s %d", name, total.ops[name])
	}
	b.WriteString("\nfaults:")
	for f := range faultKinds {
		fmt.Fprintf(&b, " %v %d,", f, total.faults[f])
	}
	fmt.Fprintf(&b, " sessions expired %d; containers and TTL nodes removed %d", total.expired, total.reaped)
	return b.String()
}

// The same seed is the same run, to the byte, also with more than one processor.
func TestMachineIsDeterministic(t *testing.T) {
	const ops = 20_000
	for seed := range uint64(4) {
		var sums []uint64
		for _, processors := range []int{1, 2, 1} {
			before := runtime.GOMAXPROCS(processors)
			w, v := simulate(setup{seed: 1000 + seed, ops: ops}, never)
			runtime.GOMAXPROCS(before)
			if v != nil {
				t.Fatal(v)
			}
			sums = append(sums, w.h.sum)
		}
		if sums[0] != sums[1] || sums[0] != sums[2] {
			t.Errorf("seed %d: the histories' digests are %x", 1000+seed, sums)
		}
	}
}

// Each planted fault is found, soon, and by the check that is there for it.
func TestMachineFindsPlants(t *testing.T) {
	const ops, seeds = 60_000, 8
	checks := map[plant][]string{
		plantNoTable:        {"exactly once"},
		plantTableLost:      {"snapshots", "exactly once"},
		plantLateWatch:      {"watches"},
		plantEarlyAnswer:    {"agreed log"},
		plantHalfMulti:      {"snapshots"},
		plantStrayEphemeral: {"ephemerals", "reads"}, // of getEphemerals
	}
	for p := plantNothing + 1; p < plants; p++ {
		t.Run(strings.ReplaceAll(p.String(), " ", "_"), func(t *testing.T) {
			for seed := range uint64(seeds) {
				w, v := simulate(setup{seed: 2000 + seed, ops: ops, plant: p}, never)
				switch {
				case v == nil:
					t.Errorf("seed %d: %d operations, and nothing found; planted: %v", 2000+seed, w.sentOps, w.planted || p == plantLateWatch)
				case !slices.Contains(checks[p], v.check):
					t.Errorf("seed %d: found by another check: %v", 2000+seed, v)
				default:
					t.Logf("seed %d: found by %q after %d operations, step %d: %s", 2000+seed, v.check, w.sentOps, v.step, v.what)
				}
			}
		})
	}
	for seed := range uint64(seeds) {
		if _, v := simulate(setup{seed: 2000 + seed, ops: ops}, never); v != nil {
			t.Errorf("nothing is planted: %v", v)
		}
	}
}
