// Package admin answers operators: the four-letter words on the client port and
// the AdminServer's commands over HTTP, out of one registry, besides /health
// and /ready.
//
// It guarantees the texts and JSON fields of ZooKeeper 3.9, so that scripts and
// dashboards carry over. Listening, reading the four bytes and closing the
// connection are the server's; what is true at the moment comes from a Source.
package admin

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coordd/coordd/server/metrics"
)

// notServing is ZooKeeper's text for a server without a leader.
const notServing = "This ZooKeeper instance is not currently serving requests"

// Admin answers commands. Its methods may be called from any goroutine.
type Admin struct {
	src     Source
	set     *metrics.Set
	allowed func(word string) bool
	version string
}

// New is an Admin that asks src and shows set, whose hook OnCollect it takes.
// allowed is the whitelist of four-letter words; HTTP has none. version is
// coordd's own, as in "0.1.0", and built its date as "MM/DD/YYYY HH:MM TZ".
func New(src Source, set *metrics.Set, allowed func(word string) bool, version, built string) *Admin {
	a := &Admin{src: src, set: set, allowed: allowed, version: "3.9.4-coordd-" + version + ", built on " + built}
	set.OnCollect(a.collect)
	return a
}

// IsWord reports whether the first bytes of a connection are a four-letter word
// that is known here, allowed or not.
func (a *Admin) IsWord(first4 [4]byte) bool { return byWord(string(first4[:])) != nil }

// Word writes the answer to a four-letter word that IsWord knows; the caller
// closes the connection after it. A word that is not known has no answer. An
// error of out is dropped, since the client has gone.
func (a *Admin) Word(w string, out io.Writer) {
	c := byWord(w)
	if c == nil {
		return
	}
	var b bytes.Buffer
	switch {
	case !a.allowed(w):
		b.WriteString(w + " is not executed because it is not in the whitelist.\n")
	case !c.always && !a.src.Serving():
		b.WriteString(notServing + "\n")
	default:
		c.text(a, &b)
	}
	_, _ = out.Write(b.Bytes())
}

// state is the mode as srvr prints it.
func (a *Admin) state() string {
	if a.src.ReadOnly() {
		return "read-only"
	}
	return string(a.src.Mode())
}

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
	s.OpenFiles.Set(openFiles())
	s.MaxFiles.Set(maxFiles())
	s.QuorumSize.Set(int64(ensemble.QuorumSize))
	s.Learners.Set(int64(ensemble.Learners))
	s.SyncedFollowers.Set(int64(ensemble.SyncedFollowers))
	s.SyncedObservers.Set(int64(ensemble.SyncedObservers))
	s.PendingSyncs.Set(int64(ensemble.Pending))
	s.LeaderUptime.Set(ensemble.LeaderUptime.Milliseconds())
	switch a.src.Mode() {
	case Standalone:
		return metrics.Alone
	case Leader:
		return metrics.Leader
	default:
		return metrics.Member
	}
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

// dirSize sums up the files under dir; what cannot be read, or is removed
// meanwhile, counts as nothing.
func dirSize(dir string) int64 {
	var size int64
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}

// javaDate is Date.toString.
func javaDate(t time.Time) string { return t.Format("Mon Jan 02 15:04:05 MST 2006") }
