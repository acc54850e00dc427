package admin

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limiter lets something happen once in a while.
type limiter struct {
	mu   sync.Mutex
	last time.Time // guarded by mu
}

// allow reports whether interval has passed since it last said yes.
func (l *limiter) allow(interval time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && time.Since(l.last) < interval {
		return false
	}
	l.last = time.Now()
	return true
}

// snapshot is SnapshotCommand: it takes a snapshot and sends it, or with
// streaming=false only tells of it in the headers. What is sent is in coordd's
// own format. Its answers other than 200 have no error text, as in ZooKeeper.
func (a *Admin) snapshot(w http.ResponseWriter, args url.Values) {
	done := func(status int) { respond(w, status, object{{"command", "snapshot"}, {"error", nil}}) }
	conf := a.src.Conf()
	if !conf.SnapshotEnabled {
		done(http.StatusServiceUnavailable)
		return
	}
	if !a.snapshots.allow(conf.SnapshotInterval) {
		a.set.SnapshotsLimited.Inc()
		done(http.StatusTooManyRequests)
		return
	}
	s, err := a.src.TakeSnapshot()
	if err != nil {
		done(http.StatusInternalServerError)
		return
	}
	defer s.Close()
	size := strconv.FormatInt(s.Size, 10)
	w.Header()["last_zxid"] = []string{"0x" + strconv.FormatUint(uint64(s.Zxid), 16)} // in lower case, for scripts that look for it
	w.Header()["snapshot_size"] = []string{size}
	if args.Has("streaming") && !strings.EqualFold(args.Get("streaming"), "true") {
		done(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", size)
	_, _ = io.Copy(w, s) // the client hung up, or sees by the length that something is missing
}

// restore answers as a ZooKeeper with admin.restore.enabled=false: one server
// cannot take another state than its log gives it.
func (a *Admin) restore(w http.ResponseWriter, _ url.Values) {
	respond(w, http.StatusServiceUnavailable, object{{"command", "restore"}, {"error", nil}})
}
