//go:build bench

package bench

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/bench"
)

const (
	sessionTimeout = 30 * time.Second
	keyCount       = 1000
)

// payload does not compress.
func payload(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	return data
}

// run is a load at a side.
func (l load) run(t *testing.T, s *side) figures {
	t.Helper()
	site, err := bench.NewSite(t.Context(), s.addrs, sessionTimeout)
	must(t, err, "begin")
	spec := l.spec(t, s)
	spec.Keys, err = site.Fill(t.Context(), keyCount, spec.Data, bench.Uniform)
	must(t, err, "begin")
	spec.Dir, err = site.LoadDir(t.Context())
	must(t, err, "begin")
	sync := time.Duration(0)
	if l.at == "leader" {
		sync = syncTime(t, s.servers[0].DataDir)
	}
	result, cost, running := s.measure(t, &spec)
	must(t, site.Clean(running), "clean up")
	must(t, site.Remove(), "clean up")
	f := loadFigures(result, cost, len(s.servers))
	if sync > 0 {
		f["disk"] = result.P50Us / bench.Us(2*sync+200*time.Microsecond)
	}
	return f
}

// measure runs a load that has all it needs, to its end.
func (s *side) measure(t *testing.T, spec *bench.Load) (*bench.Result, bench.Cost, *bench.Running) {
	t.Helper()
	r, err := bench.Start(t.Context(), spec)
	must(t, err, "start the load")
	before := s.sample(t)
	r.Wait()
	result := r.Take()
	after := s.sample(t)
	r.Close()
	if result.Errors > 0 || result.Requests == 0 {
		t.Fatalf("%v at %s: %d answered, %d failed: %s", spec.Mix, s.kind, result.Requests, result.Errors, result.FirstError)
	}
	return result, bench.NewCost(before, after, result), r
}

func loadFigures(r *bench.Result, c bench.Cost, servers int) figures {
	f := figures{"ops": r.OpsPerSecond, "p50": r.P50Us, "p99": r.P99Us, "p99.9": r.P999Us, "load": c.LoadCores, "cpu": *c.ServerCPUPer1000}
	if c.FsyncsPer1000 != nil {
		f["fsyncs"] = *c.FsyncsPer1000 / float64(servers)
	}
	return f
}

// syncTime is the median time of an fdatasync behind a write of 4 KiB, in the
// directory in which the servers do the same.
func syncTime(t *testing.T, dir string) time.Duration {
	t.Helper()
	file, err := os.Create(filepath.Join(filepath.Dir(dir), "sync"))
	must(t, err, "measure the disk")
	defer file.Close()
	block := payload(4096)
	// As in a log that was allocated before: no metadata to write.
	for range 256 {
		_, err := file.Write(block)
		must(t, err, "measure the disk")
	}
	must(t, file.Sync(), "measure the disk")
	var times []float64
	for i := range 256 {
		start := time.Now()
		_, err := file.WriteAt(block, int64(i)*4096)
		must(t, err, "measure the disk")
		must(t, syscall.Fdatasync(int(file.Fd())), "measure the disk")
		times = append(times, float64(time.Since(start)))
	}
	return time.Duration(bench.Median(times))
}

// onDisk fails a test that would measure memory instead of a disk.
func onDisk(t *testing.T, dir string) {
	t.Helper()
	const tmpfs = 0x01021994
	var fs syscall.Statfs_t
	must(t, syscall.Statfs(dir, &fs), "look %s up", dir)
	if fs.Type == tmpfs {
		t.Fatalf("%s is memory: set TMPDIR to a directory on a disk", dir)
	}
}

// fanOut is one change and many watching sessions.
func fanOut(t *testing.T, s *side) figures {
	t.Helper()
	site, err := bench.NewSite(t.Context(), s.addrs, sessionTimeout)
	must(t, err, "begin")
	data := payload(100)
	keys, err := site.Fill(t.Context(), 1, data, bench.One)
	must(t, err, "begin")
	start, own := time.Now(), bench.OwnCPU()
	times, err := bench.FanOut(t.Context(), bench.Load{Servers: s.addrs, Sessions: scaled(2000), Data: data, Timeout: sessionTimeout}, keys.Path(0), 20)
	must(t, err, "%s", s.kind)
	cores := (bench.OwnCPU() - own).Seconds() / time.Since(start).Seconds()
	must(t, site.Remove(), "clean up")
	return figures{"p50": bench.Us(times.Percentile(50)), "load": cores}
}

// tree fills a server and says how long it took.
func (s *side) tree(t *testing.T, count int) (bench.Tree, time.Duration) {
	t.Helper()
	tree := bench.Tree{Dir: "/bench", Count: count, Data: payload(100)}
	var made atomic.Int64
	start := time.Now()
	must(t, tree.Load(t.Context(), s.addrs, sessionTimeout, &made), "fill %s", s.kind)
	return tree, time.Since(start)
}
