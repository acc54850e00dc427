package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is what a process has used so far, from Linux's /proc.
type Process struct {
	CPU  time.Duration
	RSS  int64 // bytes of memory now
	Peak int64 // the most it ever was
}

// ticksPerSecond is the unit of CPU times in /proc, for every architecture
// that Go knows.
const ticksPerSecond = 100

// ReadProcess looks a process up.
func ReadProcess(pid int) (Process, error) {
	files := make([][]byte, 2)
	for i, name := range []string{"stat", "status"} {
		var err error
		if files[i], err = os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)); err != nil {
			return Process{}, fmt.Errorf("look process %d up: %w", pid, err)
		}
	}
	p, err := parseProcess(files[0], files[1])
	if err != nil {
		return Process{}, fmt.Errorf("look process %d up: %w", pid, err)
	}
	return p, nil
}

func parseProcess(stat, status []byte) (p Process, err error) {
	// The second field is the name, in brackets, and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return p, fmt.Errorf("stat is %q", stat)
	}
	for _, field := range fields[11:13] { // utime and stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return p, fmt.Errorf("stat: %w", err)
		}
		p.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	if p.RSS, err = labelled(status, "VmRSS"); err != nil {
		return p, err
	}
	p.Peak, err = labelled(status, "VmHWM")
	return p, err
}

// labelled finds "label: 123 kB" in lines, and gives bytes.
func labelled(text []byte, label string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != label {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", label, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("no %s", label)
}

// OwnCPU is the CPU time that this process has used.
func OwnCPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Sample is what a load's servers and this process have used at one moment.
type Sample struct {
	Processes []Process        // by the pids that were given
	Fsyncs    map[string]int64 // by address, of servers that tell
	Own       time.Duration
}

// TakeSample looks processes and servers up.
func TakeSample(pids []int, servers []string) (Sample, error) {
	s := Sample{Fsyncs: fsyncs(servers), Own: OwnCPU()}
	for _, pid := range pids {
		p, err := ReadProcess(pid)
		if err != nil {
			return s, err
		}
		s.Processes = append(s.Processes, p)
	}
	return s, nil
}

// Cost is what a load has cost between two samples.
type Cost struct {
	// FsyncsPer1000 is of all servers together; nil where it is not known.
	FsyncsPer1000 *float64 `json:"fsyncs_per_1000_ops"`
	// ServerCPUPer1000 is in seconds; nil without pids, as are those below.
	ServerCPUPer1000 *float64 `json:"server_cpu_seconds_per_1000_ops,omitempty"`
	ServerRSS        *int64   `json:"server_rss_bytes,omitempty"`
	ServerPeak       *int64   `json:"server_peak_bytes,omitempty"`
	LoadCPUPer1000   float64  `json:"load_cpu_seconds_per_1000_ops"`
	LoadCores        float64  `json:"load_cores"` // that this process kept busy
}

// NewCost compares samples taken around a load; the servers of its result learn
// their fsyncs.
func NewCost(before, after Sample, r *Result) Cost {
	ops := float64(r.Requests)
	own := (after.Own - before.Own).Seconds()
	c := Cost{LoadCores: own / max(r.Seconds, 1e-9)}
	if ops == 0 {
		ops = 1 // sessions that only ping
	}
	c.LoadCPUPer1000 = own * 1000 / ops
	total, known := 0.0, r.Requests > 0 && len(r.PerServer) > 0
	for _, line := range r.PerServer {
		was, ok1 := before.Fsyncs[line.Server]
		is, ok2 := after.Fsyncs[line.Server]
		if !ok1 || !ok2 || is < was || r.Requests == 0 { // a restart starts from 0
			known = false
			continue
		}
		per1000 := float64(is-was) * 1000 / ops
		total += per1000
		line.FsyncsPer1000 = &per1000
	}
	if known {
		c.FsyncsPer1000 = &total
	}
	if len(after.Processes) == 0 {
		return c
	}
	var cpu time.Duration
	var rss, peak int64
	for i, p := range after.Processes {
		cpu += p.CPU - before.Processes[i].CPU
		rss += p.RSS
		peak += p.Peak
	}
	per1000 := cpu.Seconds() * 1000 / ops
	c.ServerCPUPer1000, c.ServerRSS, c.ServerPeak = &per1000, &rss, &peak
	return c
}

// Word sends a four-letter word.
func Word(addr, word string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	return string(answer), err
}

// Mode is what a server says it is: leader, follower, observer or standalone.
func Mode(addr string) (string, error) {
	answer, err := Word(addr, "srvr")
	if err != nil {
		return "", fmt.Errorf("ask %s for its mode: %w", addr, err)
	}
	_, rest, found := strings.Cut(answer, "Mode: ")
	if !found {
		return "", fmt.Errorf("ask %s for its mode: it says %q", addr, answer)
	}
	mode, _, _ := strings.Cut(rest, "\n")
	return mode, nil
}

// fsyncs asks each server how often it has synced its log. Those that do not
// tell, because mntr is not among their words, are left out.
func fsyncs(servers []string) map[string]int64 {
	var mu sync.Mutex
	var wg sync.WaitGroup
	counts := make(map[string]int64)
	for _, server := range servers {
		wg.Go(func() {
			answer, err := Word(server, "mntr")
			if err != nil {
				return
			}
			if n, ok := parseFsyncs(answer); ok {
				mu.Lock()
				counts[server] = n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return counts
}

// parseFsyncs finds the count of fsync times in mntr, which ZooKeeper and
// coordd both have.
func parseFsyncs(mntr string) (int64, bool) {
	lines := bufio.NewScanner(strings.NewReader(mntr))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "\t")
		if name != "zk_cnt_fsynctime" {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		return int64(n), err == nil
	}
	return 0, false
}
