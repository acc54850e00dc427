package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/coordd/coordd/internal/bench"
)

// benchReport is all that a bench prints; the JSON is its public face.
type benchReport struct {
	Servers     []string       `json:"servers"`
	Sessions    int            `json:"sessions"`
	Outstanding int            `json:"outstanding"`
	Rate        float64        `json:"rate,omitempty"`
	Size        int            `json:"size_bytes"`
	Keys        int            `json:"keys"`
	KeysBy      bench.Spread   `json:"keys_by"`
	Results     []*benchResult `json:"results"`
}

// benchResult is one load.
type benchResult struct {
	*bench.Result
	bench.Cost
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (r *benchReport) writeTable(w io.Writer, perServer bool) error {
	rate := ""
	if r.Rate > 0 {
		rate = fmt.Sprintf(", %g due a second", r.Rate)
	}
	fmt.Fprintf(w, "%d sessions, %d outstanding%s, %d bytes, %d keys %s, %s\n\n",
		r.Sessions, r.Outstanding, rate, r.Size, r.Keys, r.KeysBy, strings.Join(r.Servers, " "))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "op\tserver\tops/s\tp50\tp90\tp99\tp99.9\tmax\terrors\tfsyncs/1000\t")
	for _, res := range r.Results {
		writeLine(t, res.Mix, "all", res.Line, res.FsyncsPer1000)
		for _, k := range res.Kinds {
			writeLine(t, "· "+k.Op, "all", k.Line, nil)
		}
		if perServer {
			for _, s := range res.PerServer {
				writeLine(t, res.Mix, s.Server, s.Line, s.FsyncsPer1000)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	fmt.Fprintln(w)
	for _, res := range r.Results {
		fmt.Fprintf(w, "%s: longest without an answer: all sessions %s, one session %s (median %s)\n",
			res.Mix, showUs(res.StallUs), showUs(res.GapMaxUs), showUs(res.GapMedianUs))
		writeCost(w, res.Mix, res.Cost)
		if res.Unsent > 0 {
			fmt.Fprintf(w, "%s: %d requests were due and found no room; they are in the latencies\n", res.Mix, res.Unsent)
		}
		if res.FirstError != "" {
			fmt.Fprintf(w, "first error of %s: %s\n", res.Mix, res.FirstError)
		}
	}
	return nil
}

func writeLine(w io.Writer, op, server string, l bench.Line, fsyncs *float64) {
	syncs := "-"
	if fsyncs != nil {
		syncs = strconv.FormatFloat(*fsyncs, 'f', 1, 64)
	}
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", op, server, l.OpsPerSecond,
		showUs(l.P50Us), showUs(l.P90Us), showUs(l.P99Us), showUs(l.P999Us), showUs(l.MaxUs), l.Errors, syncs)
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

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func writeCost(w io.Writer, op string, c bench.Cost) {
	if c.ServerCPUPer1000 != nil {
		fmt.Fprintf(w, "%s: servers: %.4f CPU s/1000 ops, %.1f MiB of memory, peak %.1f MiB\n",
			op, *c.ServerCPUPer1000, mebibytes(*c.ServerRSS), mebibytes(*c.ServerPeak))
	}
	fmt.Fprintf(w, "%s: this program: %.4f CPU s/1000 ops, %.2f cores\n", op, c.LoadCPUPer1000, c.LoadCores)
}
