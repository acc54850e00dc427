package replica

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// rebuildSoon and rebuildLate are the first and the longest pause before
	// the stores are opened again; each is twice the one before.
	rebuildSoon = 200 * time.Millisecond
	rebuildLate = time.Second
	// soundFor is how long a Raft must have run for the next failure to count
	// as a new one.
	soundFor = 10 * time.Second
	// landing is how long entries take that were sent when the log failed.
	landing = 20 * time.Millisecond
)

// roomFile and roomBytes are what CheckRoom writes.
const (
	roomFile  = "room.tmp"
	roomBytes = 1 << 20
)

// CheckRoom reports why dir's disk cannot take another mebibyte; nil if it can.
// raft-wal opens on a full disk, only to fail at the next write.
func CheckRoom(dir string) error {
	if err := writeRoom(filepath.Join(dir, roomFile)); err != nil {
		return fmt.Errorf("write to the log directory: %w", err)
	}
	return nil
}

func writeRoom(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	b := make([]byte, roomBytes)
	rand.Read(b) // a disk that compresses must not think this small
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// rebuild waits for a failed write of the log, and then opens the stores and
// starts Raft again, until Shutdown.
func (r *Replica) rebuild() {
	wait := rebuildSoon
	for {
		c, started := r.current.Load(), time.Now()
		select {
		case <-c.down:
		case <-r.stop:
			return
		}
		if time.Since(started) > soundFor {
			wait = rebuildSoon
		}
		c.mu.Lock()
		failed, led := c.failed, c.led
		c.mu.Unlock()
		if failed == nil {
			return // Shutdown
		}
		began := time.Now()
		r.setFault(failed)
		r.logger.Error("the log cannot be written: this server takes no part in writes until it can, reads go on", "error", failed)
		if led && !c.gaveUp.Load() {
			// Entries that the log did not take may be under way (see ahead). One
			// that stood before they came would be refused by one that has them.
			time.Sleep(landing)
			r.handOver(c)
		}
		if err := c.close(); err != nil {
			r.logger.Warn("close the stores after a failed write", "error", err)
		}
		for {
			select {
			case <-time.After(wait):
			case <-r.stop:
				return
			}
			wait = min(2*wait, rebuildLate)
			s, err := r.reopen()
			if err == nil {
				err = r.start(s)
			}
			if err == nil {
				break
			}
			if r.setFault(err) {
				r.logger.Error("the log cannot be opened again yet", "error", err)
			}
		}
		r.fault.Store(nil)
		r.logger.Info("the log can be written again", "after", time.Since(began).Round(time.Millisecond))
	}
}

// setFault says why there is no running Raft, and reports whether that is news.
func (r *Replica) setFault(err error) bool {
	text := "log store: " + err.Error()
	old := r.fault.Swap(&text)
	return old == nil || *old != text
}
