package replica

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// crashStable is a stable store whose process dies before a chosen write: that
// one and all later ones have no effect.
type crashStable struct {
	*raft.InmemStore
	mu     sync.Mutex
	writes int // still allowed
	failed int
}

var errCrash = errors.New("crash")

func (s *crashStable) write() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes == 0 {
		s.failed++
		return errCrash
	}
	s.writes--
	return nil
}

func (s *crashStable) Set(k, v []byte) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.InmemStore.Set(k, v)
}

func (s *crashStable) SetUint64(k []byte, v uint64) error {
	if err := s.write(); err != nil {
		return err
	}
	return s.InmemStore.SetUint64(k, v)
}

func mustVotes(t *testing.T, inner raft.StableStore) *VoteStore {
	t.Helper()
	v, err := NewVoteStore(inner)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// giveVote does what the library does to store a vote.
func giveVote(s raft.StableStore, term uint64, candidate string) error {
	if err := s.SetUint64([]byte(keyLastVoteTerm), term); err != nil {
		return err
	}
	return s.Set([]byte(keyLastVoteCand), []byte(candidate))
}

// readVote does what the library does to read one.
func readVote(t *testing.T, s raft.StableStore) (uint64, string) {
	t.Helper()
	term, err := s.GetUint64([]byte(keyLastVoteTerm))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	cand, err := s.Get([]byte(keyLastVoteCand))
	if err != nil && err.Error() != "not found" {
		t.Fatal(err)
	}
	return term, string(cand)
}

// However many writes a crash lets through, the vote read afterwards is the
// old one or the new one, never a mixture.
func TestVoteSurvivesACrashWhole(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		mixed := 0
		for writes := range 4 {
			disk := raft.NewInmemStore()
			open := func(s raft.StableStore) raft.StableStore {
				if !guarded {
					return s
				}
				return mustVotes(t, s)
			}
			if err := giveVote(open(disk), 5, "old"); err != nil {
				t.Fatal(err)
			}
			dying := &crashStable{InmemStore: disk, writes: writes}
			err := giveVote(open(dying), 6, "new")
			term, cand := readVote(t, open(disk))
			switch {
			case err == nil && (term != 6 || cand != "new"):
				t.Errorf("guarded %v: a vote stored is forgotten: %d %q", guarded, term, cand)
			case term == 6 && cand == "new", term == 5 && cand == "old":
			default:
				mixed++
			}
		}
		if guarded && mixed > 0 || !guarded && mixed == 0 {
			t.Errorf("guarded %v: %d mixed votes", guarded, mixed)
		}
	}
}

func TestVoteCostsOneWrite(t *testing.T) {
	s := &crashStable{InmemStore: raft.NewInmemStore(), writes: 100}
	if err := giveVote(mustVotes(t, s), 6, "new"); err != nil {
		t.Fatal(err)
	}
	if used := 100 - s.writes; used != 1 {
		t.Errorf("%d writes, want 1", used)
	}
}

func TestVotesOfTheLibraryAreHonoured(t *testing.T) {
	disk := raft.NewInmemStore()
	if err := giveVote(disk, 5, "old"); err != nil {
		t.Fatal(err)
	}
	v := mustVotes(t, disk)
	if term, cand := readVote(t, v); term != 5 || cand != "old" {
		t.Errorf("read %d %q", term, cand)
	}
	if err := giveVote(v, 6, "new"); err != nil {
		t.Fatal(err)
	}
	if term, cand := readVote(t, mustVotes(t, disk)); term != 6 || cand != "new" {
		t.Errorf("read %d %q", term, cand)
	}
}

func TestVoteStoreKeepsOtherKeys(t *testing.T) {
	v := mustVotes(t, raft.NewInmemStore())
	if err := v.Set([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if err := v.SetUint64([]byte("n"), 42); err != nil {
		t.Fatal(err)
	}
	b, err := v.Get([]byte("k"))
	if err != nil || string(b) != "v" {
		t.Errorf("%q, %v", b, err)
	}
	n, err := v.GetUint64([]byte("n"))
	if err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := v.Get([]byte("none")); err == nil || err.Error() != "not found" {
		t.Errorf("a missing key: %v; the library knows only %q", err, "not found")
	}
}

func TestDamagedVoteIsRefused(t *testing.T) {
	disk := raft.NewInmemStore()
	if err := disk.Set([]byte(keyVote), []byte("short")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewVoteStore(disk); err == nil {
		t.Error("a damaged vote was read as none")
	}
}

func TestJoiningServersVotesFail(t *testing.T) {
	v := mustVotes(t, raft.NewInmemStore())
	v.SetJoining(1)
	if err := giveVote(v, 3, "anyone"); !errors.Is(err, errVoteJoining) {
		t.Errorf("vote while joining: %v", err)
	}
	if term, cand := readVote(t, v); term != 0 || cand != "" {
		t.Errorf("a vote was kept: %d %q", term, cand)
	}
	v.SetJoining(0)
	if err := giveVote(v, 3, "one"); err != nil {
		t.Error(err)
	}
}

func TestCurrentTermNeverGoesBack(t *testing.T) {
	disk := &crashStable{InmemStore: raft.NewInmemStore(), writes: 1}
	v := mustVotes(t, disk)
	key := []byte(keyCurrentTerm)
	if err := v.SetUint64(key, 7); err != nil {
		t.Fatal(err)
	}
	if err := v.SetUint64(key, 7); err != nil || disk.failed > 0 {
		t.Errorf("the same term again: %v, %d writes more", err, disk.failed)
	}
	if err := v.SetUint64(key, 6); err == nil {
		t.Error("the term went back")
	}
	if err := mustVotes(t, disk).SetUint64(key, 6); err == nil {
		t.Error("the term went back after a restart")
	}
}

// A disk that is full for a while blocks Raft; an error would make the library
// panic.
func TestCurrentTermIsWrittenUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &crashStable{InmemStore: raft.NewInmemStore()}
		v := mustVotes(t, disk)
		done := make(chan error, 1)
		go func() { done <- v.SetUint64([]byte(keyCurrentTerm), 7) }()
		time.Sleep(5*time.Second + time.Millisecond)
		if s := v.Stalled(); s < 5*time.Second {
			t.Errorf("stalled for %v, want 5s", s)
		}
		select {
		case err := <-done:
			t.Fatalf("gave up: %v", err)
		default:
		}
		disk.mu.Lock()
		disk.writes = 10
		disk.mu.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if s := v.Stalled(); s != 0 {
			t.Errorf("still stalled for %v", s)
		}
		if n, _ := disk.GetUint64([]byte(keyCurrentTerm)); n != 7 {
			t.Errorf("stored term %d", n)
		}
	})
}

func TestCloseEndsTheRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := mustVotes(t, &crashStable{InmemStore: raft.NewInmemStore()})
		done := make(chan error, 1)
		go func() { done <- v.SetUint64([]byte(keyCurrentTerm), 7) }()
		time.Sleep(time.Second)
		v.Close()
		if err := <-done; !errors.Is(err, errCrash) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// While a heartbeat is on the fast path no new term is stored; writing the
// same one, which the fast path itself may do, goes through.
func TestHeldTermDoesNotChange(t *testing.T) {
	v := mustVotes(t, raft.NewInmemStore())
	key := []byte(keyCurrentTerm)
	if err := v.SetUint64(key, 7); err != nil {
		t.Fatal(err)
	}
	release := v.holdTerm()
	done := make(chan error, 1)
	go func() { done <- v.SetUint64(key, 8) }()
	select {
	case <-done:
		t.Error("the term changed under a heartbeat")
	case <-time.After(50 * time.Millisecond):
	}
	if err := v.SetUint64(key, 7); err != nil {
		t.Error(err)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOpenVoteStore(t *testing.T) {
	dir := t.TempDir()
	v, err := OpenVoteStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := giveVote(v, 5, "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenVoteStore(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = OpenVoteStore(dir); err != nil {
		t.Fatal(err)
	}
	if term, cand := readVote(t, v); term != 5 || cand != "n1" {
		t.Errorf("read %d %q", term, cand)
	}
	// Writes to a closed store fail, they are not repeated for good.
	v.Close()
	if err := v.SetUint64([]byte(keyCurrentTerm), 9); err == nil {
		t.Error("the term was written to a closed store")
	}
}

// A crash while a store is made leaves nothing that a later start trips over.
func TestHalfMadeStoreIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stableFile+".new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := OpenVoteStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
}

// Damage to a bolt file is an error that names the file and the way out.
func TestDamagedBoltFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"not bolt", func([]byte) []byte { return bytes.Repeat([]byte("x"), 1<<16) }},
		{"no headers", func(b []byte) []byte { clear(b[:8192]); return b }},
		{"cut short", func(b []byte) []byte { return b[:8192] }},
		{"pages lost", func(b []byte) []byte { clear(b[8192:]); return b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, boltLogFile)
			b, err := raftboltdb.NewBoltStore(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range uint64(50) {
				if err := b.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: bytes.Repeat([]byte("d"), 500)}); err != nil {
					t.Fatal(err)
				}
			}
			b.Close()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tt.damage(raw), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := OpenLogStore(BoltStore, dir, LogOptions{})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), wayOut) {
				t.Errorf("the message names no file or no way out: %v", err)
			}
		})
	}
}
