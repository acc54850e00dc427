package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// benchReport is all that a bench prints; the JSON is its public face.
type benchReport struct {
	Servers     []string       `json:"servers"`
	Sessions    int            `json:"sessions"`
	Outstanding int            `json:"outstanding"`
	Size        int            `json:"size_bytes"`
	Keys        int            `json:"keys"`
	Results     []*benchResult `json:"results"`
}

// benchLine are the figures of one load, over all servers or at one.
type benchLine struct {
	Requests     int64   `json:"requests"` // answered with OK
	Errors       int64   `json:"errors"`
	OpsPerSecond float64 `json:"ops_per_second"`
	P50Us        float64 `json:"p50_us"`
	P99Us        float64 `json:"p99_us"`
	P999Us       float64 `json:"p99_9_us"`
	MaxUs        float64 `json:"max_us"`
	// FsyncsPer1000 is the number of log stores, at all servers or at this
	// one, for 1,000 requests at all servers; nil where it is not known.
	FsyncsPer1000 *float64 `json:"fsyncs_per_1000_ops"`
}

// benchResult is one load.
type benchResult struct {
	Op      string  `json:"op"`
	Seconds float64 `json:"seconds"`
	benchLine
	FirstError string              `json:"first_error,omitempty"`
	PerServer  []benchServerResult `json:"per_server"`
}

// benchServerResult are the sessions of a load at one server.
type benchServerResult struct {
	Server string `json:"server"`
	benchLine
}

func (b *bench) newReport() *benchReport {
	return &benchReport{
		Servers: b.servers, Sessions: b.sessions, Outstanding: b.outstanding,
		Size: len(b.data), Keys: b.keys,
	}
}

func newBenchLine(h *histogram, errors int64, elapsed time.Duration) benchLine {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return benchLine{
		Requests:     h.count,
		Errors:       errors,
		OpsPerSecond: float64(h.count) / elapsed.Seconds(),
		P50Us:        us(h.quantile(0.50)),
		P99Us:        us(h.quantile(0.99)),
		P999Us:       us(h.quantile(0.999)),
		MaxUs:        us(h.longest),
	}
}

// newBenchResult sums the workers up. before and after are what logStores
// gave around the load.
func newBenchResult(op string, servers []string, workers []*benchWorker, elapsed time.Duration, before, after map[string]int64) *benchResult {
	r := &benchResult{Op: op, Seconds: elapsed.Seconds()}
	var all histogram
	var failed int64
	for _, server := range servers {
		var here histogram
		var failedHere int64
		for _, w := range workers {
			if w.server != server {
				continue
			}
			here.merge(&w.latency)
			failedHere += w.errors
			if w.example != nil && r.FirstError == "" {
				r.FirstError = w.server + ": " + w.example.Error()
			}
		}
		all.merge(&here)
		failed += failedHere
		r.PerServer = append(r.PerServer, benchServerResult{server, newBenchLine(&here, failedHere, elapsed)})
	}
	r.benchLine = newBenchLine(&all, failed, elapsed)
	total, known := 0.0, all.count > 0
	for i, server := range servers {
		was, ok1 := before[server]
		is, ok2 := after[server]
		if !ok1 || !ok2 || is < was || all.count == 0 { // a restart starts from 0
			known = false
			continue
		}
		per1000 := float64(is-was) * 1000 / float64(all.count)
		total += per1000
		r.PerServer[i].FsyncsPer1000 = &per1000
	}
	if known {
		r.FsyncsPer1000 = &total
	}
	return r
}

func (r *benchReport) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r *benchReport) writeTable(w io.Writer, perServer bool) error {
	fmt.Fprintf(w, "%d sessions, %d outstanding, %d bytes, %d keys, %s\n\n",
		r.Sessions, r.Outstanding, r.Size, r.Keys, strings.Join(r.Servers, " "))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "op\tserver\tops/s\tp50\tp99\tp99.9\tmax\terrors\tfsyncs/1000\t")
	for _, res := range r.Results {
		res.row(t, res.Op, "all")
		if perServer {
			for _, s := range res.PerServer {
				s.row(t, res.Op, s.Server)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	for _, res := range r.Results {
		if res.FirstError != "" {
			fmt.Fprintf(w, "first error of %s: %s\n", res.Op, res.FirstError)
		}
	}
	return nil
}

func (l benchLine) row(w io.Writer, op, server string) {
	fsyncs := "-"
	if l.FsyncsPer1000 != nil {
		fsyncs = strconv.FormatFloat(*l.FsyncsPer1000, 'f', 1, 64)
	}
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%d\t%s\t\n", op, server, l.OpsPerSecond,
		showUs(l.P50Us), showUs(l.P99Us), showUs(l.P999Us), showUs(l.MaxUs), l.Errors, fsyncs)
}

// showUs shows microseconds with three digits or so.
func showUs(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0fµs", us)
	case us < 100_000:
		return fmt.Sprintf("%.2fms", us/1000)
	case us < 1_000_000:
		return fmt.Sprintf("%.0fms", us/1000)
	}
	return fmt.Sprintf("%.2fs", us/1_000_000)
}

// logStores asks each server's mntr for its count of log stores, each one an
// fsync. Servers that do not tell, ZooKeeper among them, are left out.
func logStores(servers []string) map[string]int64 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	stores := make(map[string]int64)
	for _, server := range servers {
		wg.Go(func() {
			conn, err := net.DialTimeout("tcp", server, time.Second)
			if err != nil {
				return
			}
			defer conn.Close()
			if conn.SetDeadline(time.Now().Add(2*time.Second)) != nil {
				return
			}
			if _, err := conn.Write([]byte("mntr")); err != nil {
				return
			}
			if n, ok := parseLogStores(io.LimitReader(conn, 1<<20)); ok {
				mu.Lock()
				stores[server] = n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return stores
}

// parseLogStores finds zk_coordd_log_stores among the lines of mntr.
func parseLogStores(r io.Reader) (int64, bool) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "\t")
		if name != "zk_coordd_log_stores" {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return int64(n), err == nil
	}
	return 0, false
}
