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
	"sync/atomic"
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
	// traceMask is what stmk sets and gtmk shows; nothing here depends on it.
	traceMask atomic.Int64
	snapshots limiter
}

// New is an Admin that asks src and shows set, whose hook OnCollect it takes.
// allowed is the whitelist of four-letter words; HTTP has none. version is
// coordd's own, as in "0.1.0", and built its date as "MM/DD/YYYY HH:MM TZ".
func New(src Source, set *metrics.Set, allowed func(word string) bool, version, built string) *Admin {
	a := &Admin{src: src, set: set, allowed: allowed, version: "3.9.4-coordd-" + version + ", built on " + built}
	a.traceMask.Store(defaultTraceMask)
	set.OnCollect(a.collect)
	return a
}

// telnetClose is what the program telnet sends when it ends a connection.
// ZooKeeper knows it as a word, so that its log has a name for it, which it
// answers only where that is not in the whitelist.
const (
	telnetClose     = "\xff\xf4\xff\xfd"
	telnetCloseName = "telnet close"
)

// IsWord reports whether the first bytes of a connection are a four-letter word
// that is known here, allowed or not.
func (a *Admin) IsWord(first4 [4]byte) bool {
	w := string(first4[:])
	return w == telnetClose || byWord(w) != nil
}

// Word writes the answer to a four-letter word that IsWord knows, behind which
// rest came; the caller closes the connection after it. A word that is not
// known has no answer. An error of out is dropped, since the client has gone.
func (a *Admin) Word(w string, rest []byte, out io.Writer) {
	c, name := byWord(w), w
	if w == telnetClose {
		c, name = &command{always: true, text: constant("")}, telnetCloseName
	}
	if c == nil {
		return
	}
	var b bytes.Buffer
	switch {
	case !a.allowed(name):
		b.WriteString(name + " is not executed because it is not in the whitelist.\n")
	case !c.always && !a.src.Serving():
		b.WriteString(notServing + "\n")
	default:
		c.text(a, &b, rest)
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
