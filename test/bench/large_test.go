//go:build bench

package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
)

// snapshot takes one and waits for it.
func (s *side) snapshot(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/commands/snapshot?streaming=false", s.adminPort), nil)
	must(t, err, "ask for a snapshot")
	// ZooKeeper wants to know who asks; anyone may.
	req.Header.Set("Authorization", "digest bench:bench")
	resp, err := http.DefaultClient.Do(req)
	must(t, err, "ask for a snapshot")
	defer resp.Body.Close()
	if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("ask for a snapshot: %s: %s, %v", resp.Status, answer, err)
	}
}

// writes is a load of sets at random znodes of a tree.
func writes(s *side, tree bench.Tree, rate float64, d time.Duration) *bench.Load {
	return &bench.Load{
		Servers: s.addrs, Mix: bench.Mix{{Kind: bench.Set, Weight: 1}}, Sessions: 16, Outstanding: 256, Rate: rate, Duration: d,
		Keys: tree.Keys(bench.Uniform), Data: tree.Data, Timeout: sessionTimeout,
	}
}

// million is a large tree: its memory, snapshots, and start.
func million(t *testing.T, s *side) figures {
	t.Helper()
	empty := s.sample(t)
	tree, took := s.tree(t, scaled(1_000_000))
	perZnode := func(bytes int64) float64 { return float64(bytes) / float64(tree.Count) }
	f := figures{"fill": took.Seconds(), "rss": perZnode(s.sample(t).Processes[0].RSS - empty.Processes[0].RSS)}

	if s.kind == coordd {
		duringSnapshots(t, s, tree, f)
	}
	minute := writes(s, tree, 5000, min(time.Minute, 12**duration))
	r, err := bench.Start(t.Context(), minute)
	must(t, err, "start the writes")
	s.snapshot(t)
	r.Wait()
	if ok, failed := r.Answered(); ok == 0 || failed > 0 {
		t.Fatalf("%s: %d writes, %d failed", s.kind, ok, failed)
	}
	r.Close()
	f["peak"] = perZnode(s.sample(t).Processes[0].Peak - empty.Processes[0].RSS)

	s.servers[0].Kill()
	start := time.Now()
	must(t, s.servers[0].Run(), "start %s again", s.kind)
	awaitWord(t, s, "srvr", "Mode: ")
	f["restart"] = time.Since(start).Seconds() * 1000
	return f
}

// duringSnapshots compares writes at an even rate with and without a snapshot.
func duringSnapshots(t *testing.T, s *side, tree bench.Tree, f figures) {
	t.Helper()
	r, err := bench.Start(t.Context(), writes(s, tree, 5000, time.Hour))
	must(t, err, "start the writes")
	defer r.Close()
	time.Sleep(*duration / 2)
	r.Take() // until all is warm
	var without, during, calm, pauses []float64
	for range 5 {
		time.Sleep(*duration / 2)
		result := r.Take()
		without = append(without, result.P999Us)
		calm = append(calm, result.StallUs/1000)
		s.snapshot(t)
		result = r.Take()
		during = append(during, result.P999Us)
		pauses = append(pauses, result.StallUs/1000)
	}
	f["slowdown"] = bench.Median(during) / bench.Median(without)
	f["pause"], f["calm"] = bench.Median(pauses), bench.Median(calm)
}

// awaitWord waits until the only server answers a word with a text.
func awaitWord(t *testing.T, s *side, word, text string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if answer, err := bench.Word(s.addrs[0], word); err == nil && strings.Contains(answer, text) {
			return
		}
	}
	t.Fatalf("%s does not answer %s", s.kind, word)
}

// emptyServer is a server without data, from its start.
func emptyServer(t *testing.T, s *side) figures {
	t.Helper()
	server := s.servers[0]
	server.Kill()
	must(t, os.RemoveAll(server.DataDir), "empty %s", s.kind)
	must(t, os.Mkdir(server.DataDir, 0o700), "empty %s", s.kind)
	start := time.Now()
	must(t, server.Run(), "start %s", s.kind)
	awaitWord(t, s, "ruok", "imok")
	f := figures{"start": time.Since(start).Seconds() * 1000}
	time.Sleep(time.Second)
	f["rss"] = float64(s.sample(t).Processes[0].RSS)
	if s.kind == coordd {
		exe, err := os.Stat(fmt.Sprintf("/proc/%d/exe", server.Pid()))
		must(t, err, "find the binary")
		f["binary"] = float64(exe.Size())
	}
	return f
}

// watches is memory for watches, each on another pair of session and znode.
func watches(t *testing.T, s *side) figures {
	t.Helper()
	const sessions = 100
	count := scaled(1_000_000) / sessions * sessions
	tree, _ := s.tree(t, count/10)
	spec := &bench.Load{
		Servers: s.addrs, Mix: bench.Mix{{Kind: bench.Watch, Weight: 1}}, Sessions: sessions, Outstanding: sessions, Requests: int64(count),
		Keys: tree.Keys(bench.Uniform), Timeout: sessionTimeout,
	}
	before := s.sample(t)
	r, err := bench.Start(t.Context(), spec)
	must(t, err, "start the sessions")
	defer r.Close()
	r.Wait()
	after := s.sample(t)
	if ok, failed := r.Answered(); ok != int64(count) || failed > 0 {
		t.Fatalf("%s: %d watches of %d, %d failed", s.kind, ok, count, failed)
	}
	return figures{"rss": float64(after.Processes[0].RSS-before.Processes[0].RSS) / float64(count)}
}

// idle is sessions that only ping.
func idle(t *testing.T, s *side) figures {
	t.Helper()
	sessions := scaled(10_000)
	time.Sleep(time.Second)
	empty := s.sample(t)
	spec := &bench.Load{Servers: s.addrs, Sessions: sessions, Duration: 12 * *duration, Timeout: sessionTimeout}
	r, err := bench.Start(t.Context(), spec)
	must(t, err, "open the sessions")
	defer r.Close()
	before, start := s.sample(t), time.Now()
	r.Wait()
	took := time.Since(start).Seconds()
	after := s.sample(t)
	return figures{
		"rss":   float64(after.Processes[0].RSS-empty.Processes[0].RSS) / float64(sessions),
		"cores": (after.Processes[0].CPU - before.Processes[0].CPU).Seconds() / took,
		"load":  (after.Own - before.Own).Seconds() / took,
	}
}

// tenMillion is a tree ten times as large, and its collector.
func tenMillion(t *testing.T, s *side) figures {
	t.Helper()
	tree, _ := s.tree(t, scaled(10_000_000))
	before, start := collected(t, s), time.Now()
	r, err := bench.Start(t.Context(), writes(s, tree, 5000, 12**duration))
	must(t, err, "start the writes")
	r.Wait()
	took := time.Since(start)
	if ok, failed := r.Answered(); ok == 0 || failed > 0 {
		t.Fatalf("%d writes, %d failed", ok, failed)
	}
	r.Close()
	return figures{
		"gc":   (collected(t, s) - before).Seconds() / took.Seconds(),
		"peak": float64(s.sample(t).Processes[0].Peak),
	}
}

// collected is the CPU time that the server's collector has used, from its log
// under GODEBUG=gctrace=1.
func collected(t *testing.T, s *side) time.Duration {
	t.Helper()
	log, err := os.ReadFile(s.servers[0].Log)
	must(t, err, "read the log")
	sum := time.Duration(0)
	for line := range strings.Lines(string(log)) {
		cpu, err := gcTime(line)
		must(t, err, "read %s", s.servers[0].Log)
		sum += cpu
	}
	return sum
}

// gcTime sums the CPU times of a line of gctrace: "0.05+0.3/1.3/0.2+0.04 ms cpu".
func gcTime(line string) (time.Duration, error) {
	if !strings.HasPrefix(line, "gc ") || !strings.Contains(line, " ms cpu,") {
		return 0, nil
	}
	before, _, _ := strings.Cut(line, " ms cpu,")
	fields := strings.Fields(before)
	sum := 0.0
	for _, part := range strings.FieldsFunc(fields[len(fields)-1], func(r rune) bool { return r == '+' || r == '/' }) {
		ms, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("line of gctrace %q: %w", line, err)
		}
		sum += ms
	}
	return time.Duration(sum * float64(time.Millisecond)), nil
}

func TestGCTime(t *testing.T) {
	line := "gc 5 @1.2s 3%: 0.03+1.4+0.02 ms clock, 0.5+1/2/3+0.5 ms cpu, 4->5->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P\n"
	if got, err := gcTime(line); err != nil || got != 7*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := gcTime("2026-01-01 [INFO] coordd: started\n"); err != nil || got != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
