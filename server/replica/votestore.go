package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The library's keys, and ours. The library writes a vote as two keys in two
// steps.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteCand = "LastVoteCand"
	keyVote         = "coordd.Vote" // term, 8 bytes big endian, then the candidate
)

// stableFile is the stable store's file in the log directory.
const stableFile = "stable.db"

// termRetry is how often a refused write of the current term is repeated.
const termRetry = 100 * time.Millisecond

// errVoteJoining refuses the votes of a joining server.
var errVoteJoining = errors.New("save vote: server is joining: it votes for nobody, nor for itself")

// VoteStore is Raft's StableStore. Over the store that it wraps it
// guarantees:
//
//   - A vote's term and candidate become durable together (guard C,
//     hashicorp/raft#661). The library writes them one after the other; a
//     crash in between leaves the old candidate's name under the new term, and
//     he is then granted a vote without a look at his log.
//   - The current term never goes back; writing it again costs nothing.
//   - A failed write of the current term is repeated until it succeeds, since
//     the library panics on it; a full disk then only blocks Raft, and
//     Stalled tells for how long.
//   - A joining server's votes are refused, its own for itself included.
//
// Safe for concurrent use.
type VoteStore struct {
	inner  raft.StableStore
	stalls stallWatch
	stop   chan struct{} // closed by Close
	once   sync.Once

	// terms is held while a new term is stored, alone, and by heartbeats on the
	// fast path (Transport), any number of them.
	terms patientLock

	mu      sync.Mutex
	term    uint64 // current term as stored; guarded by mu
	pending uint64 // term of a vote whose candidate is yet to come; guarded by mu
	vote    *vote  // nil: none in our format, the legacy keys hold; guarded by mu
	joining uint64 // number of this server's mark; guarded by mu
	refused error  // why the write under way of the current term is repeated; guarded by mu
}

// vote is the last vote given, as stored.
type vote struct {
	term      uint64
	candidate []byte
}

// OpenVoteStore opens the stable store in dir, creating it if there is none.
// A store that cannot be read is an error that names the file: a server must
// not go on with its votes forgotten.
func OpenVoteStore(dir string) (*VoteStore, error) {
	path := filepath.Join(dir, stableFile)
	inner, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("open stable store: %w", err)
	}
	v, err := NewVoteStore(inner)
	if err != nil {
		inner.Close()
		return nil, fmt.Errorf("open stable store %s: %w", path, err)
	}
	return v, nil
}

// NewVoteStore wraps inner and reads its term and vote. Votes that the library
// wrote to inner itself are still honoured.
func NewVoteStore(inner raft.StableStore) (*VoteStore, error) {
	v := &VoteStore{inner: inner, stop: make(chan struct{})}
	term, err := inner.GetUint64([]byte(keyCurrentTerm))
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("read current term: %w", err)
	}
	b, err := inner.Get([]byte(keyVote))
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("read last vote: %w", err)
	}
	switch {
	case len(b) > 8:
		v.vote = &vote{term: binary.BigEndian.Uint64(b), candidate: b[8:]}
	case len(b) > 0:
		return nil, fmt.Errorf("read last vote: record of %d bytes is damaged", len(b))
	}
	v.term = term
	return v, nil
}

// missing reports whether err is a stable store's word for a key that is not
// there, by the library's own test.
func missing(err error) bool { return err.Error() == raftboltdb.ErrKeyNotFound.Error() }

// SetJoining turns the switch that makes every vote fail, on with the number of
// this server's joining mark, off with 0. A server that lost its data may find itself the only voter in the beginning of the log that it
// is sent, and would elect itself without asking anybody.
func (v *VoteStore) SetJoining(number uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.joining = number
}

func (v *VoteStore) joiningNumber() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.joining
}

// Stalled returns how long the write under way has been running, 0 if there
// is none.
func (v *VoteStore) Stalled() time.Duration { return v.stalls.stalled() }

// Refused returns why the current term cannot be stored, while that write is
// repeated; nil otherwise. Stalled without it is a disk that does not answer.
func (v *VoteStore) Refused() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refused
}

func (v *VoteStore) setRefused(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refused = err
}

// Close closes the store. Call it once Raft has shut down: a repeated write of
// the current term then gives up, on which the library panics.
func (v *VoteStore) Close() error {
	v.once.Do(func() { close(v.stop) })
	if c, ok := v.inner.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// holdTerm keeps the current term from changing until the result is called.
// Writing the same term again remains possible meanwhile.
func (v *VoteStore) holdTerm() (release func()) {
	return v.terms.share()
}

// Set implements raft.StableStore. A vote's candidate is stored together with
// the term given just before.
func (v *VoteStore) Set(key, val []byte) error {
	if string(key) != keyLastVoteCand {
		defer v.stalls.begin()()
		return v.inner.Set(key, val)
	}
	v.mu.Lock()
	term, joining := v.pending, v.joining
	if term == 0 && v.vote != nil {
		term = v.vote.term
	}
	v.mu.Unlock()
	if joining != 0 {
		return errVoteJoining
	}
	b := append(binary.BigEndian.AppendUint64(nil, term), val...)
	end := v.stalls.begin()
	err := v.inner.Set([]byte(keyVote), b)
	end()
	if err != nil {
		return fmt.Errorf("save vote: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.vote, v.pending = &vote{term: term, candidate: b[8:]}, 0
	return nil
}

// Get implements raft.StableStore.
func (v *VoteStore) Get(key []byte) ([]byte, error) {
	if string(key) == keyLastVoteCand {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.vote != nil {
			return append([]byte(nil), v.vote.candidate...), nil
		}
	}
	return v.inner.Get(key)
}

// SetUint64 implements raft.StableStore. The term of a vote is only kept in
// memory until its candidate comes.
func (v *VoteStore) SetUint64(key []byte, val uint64) error {
	switch string(key) {
	case keyLastVoteTerm:
		v.mu.Lock()
		defer v.mu.Unlock()
		v.pending = val
		return nil
	case keyCurrentTerm:
		return v.setTerm(val)
	}
	defer v.stalls.begin()()
	return v.inner.SetUint64(key, val)
}

// GetUint64 implements raft.StableStore.
func (v *VoteStore) GetUint64(key []byte) (uint64, error) {
	if string(key) == keyLastVoteTerm {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.vote != nil {
			return v.vote.term, nil
		}
	}
	return v.inner.GetUint64(key)
}

// setTerm stores the current term and tries again until it is stored. Only
// closing the store ends that with an error.
func (v *VoteStore) setTerm(term uint64) error {
	v.mu.Lock()
	stored := v.term
	v.mu.Unlock()
	if term == stored {
		return nil
	}
	if term < stored {
		return fmt.Errorf("save current term %d: term %d is stored already", term, stored)
	}
	defer v.stalls.begin()()
	defer v.terms.take()()
	defer v.setRefused(nil)
	for {
		err := v.inner.SetUint64([]byte(keyCurrentTerm), term)
		if err == nil {
			break
		}
		if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			return err
		}
		v.setRefused(err)
		select {
		case <-time.After(termRetry):
		case <-v.stop:
			return fmt.Errorf("save current term %d: %w", term, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.term = term
	return nil
}

// openBolt opens the bolt file at path. A new one is made under another name
// and renamed, so that a crash meanwhile leaves nothing half made under path.
func openBolt(path string) (*raftboltdb.BoltStore, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := createBolt(path); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
	case err != nil:
		return nil, err
	case fi.Size() == 0: // bolt would take it for a new one
		return nil, fmt.Errorf("%s is empty: %s", path, wayOut)
	}
	s, err := newBolt(path)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read (%w): %s", path, err, wayOut)
	}
	return s, nil
}

func createBolt(path string) error {
	tmp := path + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	s, err := newBolt(tmp)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names of the files in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
