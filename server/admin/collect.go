package admin

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

// processStarted is when this process started, but for the time it took to load.
var processStarted = time.Now()

// mostQuotas bounds the quotas that are shown: clients make them.
const mostQuotas = 256

// collect brings those metrics up to date that follow from the server's state.
func (a *Admin) collect() metrics.Role {
	s, tree, ensemble := a.set, a.src.Tree(), a.src.Ensemble()
	s.ZnodeCount.Set(int64(tree.NodeCount))
	s.EphemeralsCount.Set(int64(tree.Ephemerals))
	s.ApproximateDataSize.Set(tree.DataSize)
	s.GlobalSessions.Set(int64(tree.GlobalSessions))
	s.LocalSessions.Set(int64(tree.LocalSessions))
	s.WatchCount.Set(int64(a.src.Watches().All))
	s.Uptime.Set(a.src.Uptime().Milliseconds())
	s.QuorumSize.Set(int64(ensemble.QuorumSize))
	s.Learners.Set(int64(ensemble.Learners))
	s.SyncedFollowers.Set(int64(ensemble.SyncedFollowers))
	s.SyncedNonVoting.Set(int64(ensemble.Pending))
	s.SyncedObservers.Set(int64(ensemble.SyncedObservers))
	s.PendingSyncs.Set(int64(ensemble.Pending))
	s.LeaderUptime.Set(ensemble.LeaderUptime.Milliseconds())
	s.Term.Set(int64(ensemble.Term))
	s.LastIndex.Set(int64(ensemble.LastIndex))
	s.AppliedIndex.Set(int64(ensemble.AppliedIndex))
	s.Faulty.Set(0)
	if a.src.Fault() != "" {
		s.Faulty.Set(1)
	}
	a.collectQuotas()
	a.collectProcess()
	switch a.src.Mode() {
	case Standalone:
		return metrics.Alone
	case Leader:
		return metrics.Leader
	default:
		return metrics.Member
	}
}

func (a *Admin) collectQuotas() {
	countLimit, bytesLimit := map[string]int64{}, map[string]int64{}
	count, bytes := map[string]int64{}, map[string]int64{}
	for namespace, q := range a.src.Quotas(mostQuotas) {
		countLimit[namespace], bytesLimit[namespace] = q.CountLimit, q.BytesLimit
		count[namespace], bytes[namespace] = q.Count, q.Bytes
	}
	a.set.QuotaCountLimit.Set(countLimit)
	a.set.QuotaBytesLimit.Set(bytesLimit)
	a.set.QuotaCountUsage.Set(count)
	a.set.QuotaBytesUsage.Set(bytes)
}

func (a *Admin) collectProcess() {
	s := a.set
	open, most := openFiles(), maxFiles()
	s.OpenFiles.Set(open)
	s.MaxFiles.Set(most)
	s.ProcessFiles.Set(open)
	s.ProcessMaxFile.Set(most)
	s.StartTime.Set(float64(processStarted.UnixMilli()) / 1000)
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		s.CPUSeconds.Set(time.Duration(used.Utime.Nano() + used.Stime.Nano()))
	}
	virtual, resident := memory()
	s.VirtualMemory.Set(virtual)
	s.ResidentMemory.Set(resident)
}

// memory is what this process has, in bytes, where there is a /proc, else -1.
func memory() (virtual, resident int64) {
	statm, err := os.ReadFile("/proc/self/statm")
	f := bytes.Fields(statm)
	if err != nil || len(f) < 2 {
		return -1, -1
	}
	virtual, virtualErr := strconv.ParseInt(string(f[0]), 10, 64)
	resident, residentErr := strconv.ParseInt(string(f[1]), 10, 64)
	if virtualErr != nil || residentErr != nil {
		return -1, -1
	}
	page := int64(os.Getpagesize())
	return virtual * page, resident * page
}

// openFiles counts this process' open files where there is a /proc, else -1.
func openFiles() int64 {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return int64(len(entries))
}

func maxFiles() int64 {
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				if n, err := strconv.ParseInt(f[0], 10, 64); err == nil {
					return n
				}
			}
		}
	}
	return -1
}
