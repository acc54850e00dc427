//go:build chaos

package chaos

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/workload"
)

var soakFor = flag.Duration("for", time.Minute, "how long TestSoak lasts: an hour shows growth")

const (
	// pprofAddr is in each server's own network.
	pprofAddr = "127.0.0.1:6060"
	// growth is how much more a server may have in the last third of its life
	// than in the second, and slack what it may have on top.
	growth         = 1.2
	slackGoroutine = 50
	slackBytes     = 16 << 20
)

// sample is what a server has in a quiet moment.
type sample struct {
	goroutines int
	rss        int64 // bytes
}

// TestSoak keeps three servers under a mixed load, and does to them whatever
// comes to hand. Loads come one after the other, each with a tree of its own that
// goes with it. In the first third of the time processes are ended as well; in
// the rest the same ones have to live, so that it shows if they grow. Behind each
// load all replicas are equal, and nobody has seen what must not be.
func TestSoak(t *testing.T) {
	t.Setenv("COORDD_PPROF", pprofAddr)
	random := newRandom(t)
	s := newSite(t, coordd, fault{sick: true}, random.IntN)
	began := time.Now()
	total, faults, count := workload.Figures{}, map[string]int{}, 0
	samples := make([][]sample, len(s.servers))
	pids := make([]int, len(s.servers))
	for time.Since(began) < *soakFor {
		gentle := time.Since(began) > *soakFor/3
		figures := s.under(gentle, random.Uint64(), faults)
		count++
		total.OK += figures.OK
		total.Failed += figures.Failed
		total.Unknown += figures.Unknown
		total.WronglyExpired += figures.WronglyExpired
		for i, server := range s.servers {
			if pids[i] != server.Pid() {
				pids[i], samples[i] = server.Pid(), nil
			}
			samples[i] = append(samples[i], s.look(i))
		}
		t.Logf("%v: %d loads, %d faults; operations: %d ok, %d failed, %d unknown; %d sessions wrongly expired; servers have %v",
			time.Since(began).Round(time.Second), count, sum(faults), total.OK, total.Failed, total.Unknown, total.WronglyExpired, last(samples))
	}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		t.Logf("%4d × %s", faults[name], name)
	}
	for i := range s.servers {
		steady(t, i+1, samples[i])
	}
	if total.WronglyExpired > 0 {
		t.Errorf("%d sessions wrongly expired", total.WronglyExpired)
	}
	for _, v := range s.violations {
		t.Errorf("violation: %s", v)
	}
}

// spell is how long one load of TestSoak lasts.
const spell = 3 * time.Minute

// under keeps the servers under one load.
func (s *site) under(gentle bool, seed uint64, faults map[string]int) workload.Figures {
	s.t.Helper()
	var addrs []string
	for _, server := range s.servers {
		addrs = append(addrs, server.Addr())
	}
	load, err := workload.Start(s.t.Context(), workload.Options{Servers: addrs, Clients: 6, Seed: seed})
	if err != nil {
		s.t.Fatal(err)
	}
	s.load = load
	for end := time.Now().Add(min(spell, *soakFor/6)); time.Now().Before(end); {
		f := s.some(gentle)
		faults[f.name]++
		s.round(f)
	}
	load.Calm()
	ending, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	h, err := load.Stop(ending)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range history.Check(h) {
		s.violation(v.String())
	}
	if err := load.Remove(ending); err != nil {
		s.t.Fatal(err)
	}
	return counts(h)
}

// counts are the figures of all that a history has.
func counts(h *history.History) (f workload.Figures) {
	for i := range h.Ops {
		f.Count(h.Ops[i].Outcome)
	}
	for i := range h.Sessions {
		if h.Sessions[i].WronglyExpired() {
			f.WronglyExpired++
		}
	}
	return f
}

func last(samples [][]sample) (all []string) {
	for _, of := range samples {
		s := of[len(of)-1]
		all = append(all, fmt.Sprintf("%d goroutines and %d MiB", s.goroutines, s.rss>>20))
	}
	return all
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// some is a fault from the table; a gentle one ends no process.
func (s *site) some(gentle bool) fault {
	faults := slices.DeleteFunc(allFaults(), func(f fault) bool {
		ends := f.alone || f.name == "everything at once"
		for _, word := range []string{"kill", "SIGTERM", "stalled"} {
			ends = ends || strings.Contains(f.name, word)
		}
		return f.lines != "" || gentle && ends
	})
	return faults[s.random(len(faults))]
}

// look takes a server's sample.
func (s *site) look(server int) sample {
	s.t.Helper()
	p, err := bench.ReadProcess(s.servers[server].Pid())
	if err != nil {
		s.t.Fatalf("look at server %d: %v", server+1, err)
	}
	n := 0
	err = s.net.in(server+1, func() error {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		conn, err := net.Dial("tcp", pprofAddr) // on this thread, which is in the server's network
		if err != nil {
			return err
		}
		client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
		resp, err := client.Get("http://" + pprofAddr + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(line, "goroutine profile: total %d", &n)
		return err
	})
	if err != nil {
		s.t.Fatalf("count the goroutines of server %d: %v", server+1, err)
	}
	return sample{n, p.RSS}
}

// steady checks that a server did not grow.
func steady(t *testing.T, server int, samples []sample) {
	t.Helper()
	if len(samples) < 6 {
		t.Logf("server %d: %d samples of its last process, too few to compare", server, len(samples))
		return
	}
	third := len(samples) / 3
	typical := func(part []sample) (goroutines int, rss int64) {
		by := func(of func(sample) int64) int64 {
			values := make([]int64, len(part))
			for i, one := range part {
				values[i] = of(one)
			}
			slices.Sort(values)
			return values[len(values)/2]
		}
		return int(by(func(s sample) int64 { return int64(s.goroutines) })), by(func(s sample) int64 { return s.rss })
	}
	g0, m0 := typical(samples[third : 2*third])
	g1, m1 := typical(samples[2*third:])
	t.Logf("server %d: goroutines %d, then %d; memory %d MiB, then %d MiB (%d samples)", server, g0, g1, m0>>20, m1>>20, len(samples))
	if float64(g1) > growth*float64(g0)+slackGoroutine {
		t.Errorf("server %d: goroutines grew from %d to %d", server, g0, g1)
	}
	if float64(m1) > growth*float64(m0)+slackBytes {
		t.Errorf("server %d: memory grew from %d to %d bytes", server, m0, m1)
	}
}
