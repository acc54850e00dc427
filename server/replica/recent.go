package replica

import (
	"sync"

	"github.com/hashicorp/raft"
)

const (
	recentEntries = 512
	recentBytes   = 4 << 20
)

// recent holds the entries that were stored last. Raft reads each of them again
// right away, to replicate it and on followers to apply it. Its own LogCache is
// not bounded in bytes. The zero value is empty.
type recent struct {
	mu      sync.RWMutex
	entries [recentEntries]raft.Log // by index modulo their number; index 0 is none
	oldest  uint64                  // no entry below it is held
	newest  uint64
	bytes   int // of data
}

// add takes in entries that are stored; their data must not change any more.
func (r *recent) add(logs []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range logs {
		if l.Index != r.newest+1 {
			r.clearLocked()
			r.oldest = l.Index
		}
		r.dropLocked(l.Index)
		r.entries[l.Index%recentEntries] = *l
		r.newest = l.Index
		if r.newest-r.oldest >= recentEntries {
			r.oldest = r.newest - recentEntries + 1
		}
		r.bytes += len(l.Data)
		for ; r.bytes > recentBytes; r.oldest++ {
			r.dropLocked(r.oldest)
		}
	}
}

// get copies an entry into l, its data apart, and reports whether it is held.
func (r *recent) get(index uint64, l *raft.Log) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := &r.entries[index%recentEntries]; index != 0 && e.Index == index {
		*l = *e
		return true
	}
	return false
}

// clear forgets everything.
func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clearLocked()
}

func (r *recent) clearLocked() {
	clear(r.entries[:])
	r.oldest, r.newest, r.bytes = 0, 0, 0
}

// dropLocked empties the place of index.
func (r *recent) dropLocked(index uint64) {
	e := &r.entries[index%recentEntries]
	r.bytes -= len(e.Data)
	*e = raft.Log{}
}
