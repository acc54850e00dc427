package replica

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// A leader's followers have an entry before it has. With one of them it is not
// committed until the leader has it on disk; two are a quorum without it.
func TestLeaderReplicatesBeforeItHasWritten(t *testing.T) {
	for _, c := range []struct {
		voters, cut int
		waits       bool
	}{{2, 0, true}, {3, 0, false}, {3, 1, true}, {5, 0, false}, {5, 1, false}, {5, 2, true}} {
		t.Run(fmt.Sprintf("%d less %d", c.voters, c.cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { replicatesBefore(t, c.voters, c.cut, c.waits) })
		})
	}
}

func replicatesBefore(t *testing.T, voters, cut int, waits bool) {
	g := newGroup(t, voters)
	l := g.leader()
	g.write(l, 10)
	g.settle(g.members...)
	lost, there := g.others(l)[:cut], g.others(l)[cut:]
	for _, m := range lost {
		g.cut(m, g.others(m), true)
	}
	release := l.disk.stall()
	defer release()
	write := l.Propose(entry(11))
	done := make(chan error, 1)
	go func() { done <- write.Error() }()
	time.Sleep(stallLimit / 2)
	index := func(m *member) uint64 { last, _ := m.disk.logs.LastIndex(); return last }
	for _, m := range there {
		if index(m) != index(l)+1 {
			t.Errorf("server %d has %d entries while its leader writes entry %d", m.id, index(m), index(l)+1)
		}
	}
	want := uint64(11)
	if waits {
		want = 10
	}
	for _, m := range append(there, l) {
		if m.has() != want {
			t.Errorf("server %d has applied %d entries while the leader writes the last of 11, want %d", m.id, m.has(), want)
		}
	}
	select {
	case err := <-done:
		if waits || err != nil {
			t.Errorf("acknowledged before a quorum has it on disk: %v", err)
		}
		done <- nil
	default:
		if !waits {
			t.Error("not acknowledged though a quorum has it on disk")
		}
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, m := range lost {
		g.cut(m, g.others(m), false)
	}
	g.last++
	g.settle(g.members...)
}

// A word is worth what it says in the term in which it was given: what a follower
// had in an earlier one may have been replaced.
func TestWordsOfAnEarlierTermCountForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		log := WrapLogStore(hangingLogs{raft.NewInmemStore(), hang}, nil)
		defer log.Close()
		defer close(hang)
		log.RunAhead(func() []raft.ServerID { return []raft.ServerID{"2", "3"} })
		store := func(index, term uint64) {
			if err := log.StoreLogs([]*raft.Log{{Index: index, Term: term}}); err != nil {
				t.Fatal(err)
			}
		}
		backed := func(from raft.ServerID, term, index uint64) bool {
			stop := make(chan struct{})
			time.AfterFunc(time.Second, func() { close(stop) })
			return log.Backed(from, term, index, stop)
		}
		store(1, 1)
		store(2, 1)
		for _, c := range []struct {
			from        raft.ServerID
			term, index uint64
			want        bool
		}{
			{"2", 1, 2, false}, // alone
			{"4", 1, 2, false}, // no voter
			{"3", 1, 1, true},  // with 2
			{"3", 2, 2, false}, // another term
			{"2", 1, 2, false}, // an old one
			{"2", 2, 1, true},
			{"2", 2, 2, true},
		} {
			if got := backed(c.from, c.term, c.index); got != c.want {
				t.Errorf("%+v: backed %v", c, got)
			}
		}
		// As far as this server lags too much, its disk decides.
		if err := log.StoreLogs([]*raft.Log{{Index: 3, Term: 2, Data: make([]byte, aheadBytes+1)}}); err != nil {
			t.Fatal(err)
		}
		backed("3", 2, 3)
		if backed("2", 2, 3) {
			t.Error("a log goes on without bound before it is written")
		}
	})
}

// hangingLogs takes nothing until hang is closed.
type hangingLogs struct {
	*raft.InmemStore
	hang chan struct{}
}

func (s hangingLogs) StoreLogs(logs []*raft.Log) error {
	<-s.hang
	return s.InmemStore.StoreLogs(logs)
}

// A snapshot waits for the log to have what it has.
func TestSnapshotIsNotAheadOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		l := g.leader()
		g.write(l, 10)
		release := l.disk.stall()
		defer release()
		g.write(l, 1)
		taken := make(chan error, 1)
		go func() {
			_, rc, err := l.TakeSnapshot()
			if err == nil {
				rc.Close()
			}
			taken <- err
		}()
		time.Sleep(stallLimit / 2)
		if l.LastSnapshot().Zxid != 0 {
			t.Error("a snapshot of what the log has not")
		}
		release()
		if err := <-taken; err != nil {
			t.Error(err)
		}
		g.settle(g.members...)
	})
}

// What is committed is applied while the entries that come with the news are
// being written, and no more than that.
func TestFollowerAppliesWhileItWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		l := g.leader()
		g.write(l, 10)
		g.settle(g.members...)
		f := g.others(l)[0]
		g.cut(f, g.others(f), true)
		last, _ := f.disk.logs.LastIndex()
		g.write(l, 2)
		if err := g.sendsEntry(l, f, last+1, last); err != nil {
			t.Fatal(err)
		}
		release := f.disk.stall()
		defer release()
		said := make(chan error, 1)
		go func() { said <- g.sendsEntry(l, f, last+2, last+2) }()
		time.Sleep(100 * time.Millisecond)
		if f.has() != 11 {
			t.Errorf("%d entries are applied while entry 12 is written, want 11", f.has())
		}
		release()
		if err := <-said; err != nil {
			t.Error(err)
		}
		if !eventually(time.Second, func() bool { return f.has() == 12 }) {
			t.Errorf("%d entries are applied, want 12", f.has())
		}
		g.cut(f, g.others(f), false)
		g.settle(g.members...)
	})
}

// A leader alone has nobody whose word it could wait for, and one that is about
// to be alone neither.
func TestLeaderAloneWritesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		l := g.leader()
		g.write(l, 1)
		release := l.disk.stall()
		defer release()
		write := l.Propose(entry(2))
		time.Sleep(stallLimit / 2)
		if l.has() != 1 {
			t.Error("applied before it is written")
		}
		release()
		if err := write.Error(); err != nil {
			t.Error(err)
		}
		g.last++
		g.settle(g.members...)
	})
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 2)
		l := g.leader()
		other := g.others(l)[0]
		g.write(l, 1)
		g.settle(g.members...)
		release := l.disk.stall()
		defer release()
		write := l.Propose(entry(2))
		removed := make(chan error, 1)
		go func() { removed <- l.current.Load().raft.DemoteVoter(serverID(other.id), 0, 0).Error() }()
		time.Sleep(stallLimit / 2)
		if l.has() != 1 {
			t.Error("applied before it is written")
		}
		release()
		if err := write.Error(); err != nil {
			t.Error(err)
		}
		if err := <-removed; err != nil {
			t.Error(err)
		}
		g.last++
		g.write(l, 1)
		release = l.disk.stall()
		defer release()
		write = l.Propose(entry(g.last + 1))
		time.Sleep(stallLimit / 2)
		if l.has() != g.last {
			t.Error("a leader that has become the only voter applied before it had written")
		}
		release()
		if err := write.Error(); err != nil {
			t.Error(err)
		}
		g.last++
		g.settle(g.members...)
	})
}

// A server that led holds in memory an entry that it gave to another, which leads
// now. It does not tell that one that it has it before it is on disk.
func TestOldLeaderIsNotCountedForWhatItHasNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		old := g.leader()
		g.write(old, 10)
		g.settle(g.members...)
		release := old.disk.stall()
		defer release()
		write := old.Propose(entry(11))
		time.Sleep(100 * time.Millisecond)
		g.cut(old, g.others(old), true)
		if err := write.Error(); err != nil {
			t.Error(err) // the others are a quorum
		}
		next := g.leader(g.others(old)...)
		said := make(chan error, 1)
		go func() { said <- g.sends(next, old) }()
		time.Sleep(100 * time.Millisecond)
		select {
		case err := <-said:
			t.Fatalf("an answer, %v, before the entry is on disk", err)
		default:
		}
		release()
		if err := <-said; err != nil {
			t.Error(err)
		}
		g.cut(old, g.others(old), false)
		g.last++
		g.settle(g.members...)
	})
}

// sends has the last of the entries that both have come to server to from leader,
// by itself and by a way of its own.
func (g *group) sends(leader, to *member) error {
	last, _ := to.current.Load().storage.Logs.LastIndex()
	return g.sendsEntry(leader, to, last, 0)
}

// sendsEntry has one entry of leader come to server to likewise, and the news of
// what is committed.
func (g *group) sendsEntry(leader, to *member, index, commit uint64) error {
	c, wire := leader.current.Load(), newWire(g.net, "n9", 1)
	defer wire.Close()
	var l, before raft.Log
	if err := errors.Join(c.storage.Logs.GetLog(index, &l), c.storage.Logs.GetLog(index-1, &before)); err != nil {
		return err
	}
	req := &raft.AppendEntriesRequest{
		RPCHeader: c.transport.header(), Term: c.raft.CurrentTerm(), LeaderCommitIndex: commit,
		PrevLogEntry: before.Index, PrevLogTerm: before.Term, Entries: []*raft.Log{&l},
	}
	var resp raft.AppendEntriesResponse
	if err := wire.AppendEntries(serverID(to.id), to.current.Load().transport.LocalAddr(), req, &resp); err != nil {
		return err
	}
	if !resp.Success {
		return fmt.Errorf("refused: %+v", resp)
	}
	return nil
}

// A disk that fails under entries which were given to others already: without a
// quorum of them this leader does not acknowledge them, and what becomes of them is the
// same everywhere.
func TestLeaderThatCannotWriteWhatItSent(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("one cut off %v", alone), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, 3)
				sick := g.leader()
				g.write(sick, 10)
				g.settle(g.members...)
				away := g.others(sick)[1]
				g.cut(away, []*member{sick}, alone)
				release := sick.disk.stall()
				defer release()
				sick.disk.fill(true)
				write := sick.Propose(entry(11))
				done := make(chan error, 1)
				go func() { done <- write.Error() }()
				time.Sleep(100 * time.Millisecond)
				if has := sick.has(); (has == 11) == alone {
					t.Errorf("it has applied %d entries", has)
				}
				release()
				if err := <-done; (err == nil) == alone {
					t.Errorf("its write: %v", err)
				}
				next := g.leader(g.others(sick)...)
				g.last++ // it was on one disk or two, whose server leads
				g.write(next, 10)
				sick.disk.fill(false)
				g.cut(away, []*member{sick}, false)
				g.settle(g.members...)
				for _, m := range g.members {
					g.mustHaveAll(m)
				}
			})
		})
	}
}

// pacedLogs takes a while for each write.
type pacedLogs struct {
	*raft.InmemStore
	mu   sync.Mutex
	pace func() time.Duration
}

func (s *pacedLogs) StoreLogs(logs []*raft.Log) error {
	s.mu.Lock()
	d := s.pace()
	s.mu.Unlock()
	time.Sleep(d)
	return s.InmemStore.StoreLogs(logs)
}

// Whatever is stored, deleted and asked for while writes lag: the log is the same
// as one without a lag, and what is settled is on disk.
func TestLogThatRunsAheadProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 8).Draw(rt, "delays")
		n := 0
		slow := &pacedLogs{InmemStore: raft.NewInmemStore(), pace: func() time.Duration {
			n++
			return time.Duration(delays[n%len(delays)]) * time.Millisecond
		}}
		log := WrapLogStore(slow, nil)
		leads := true
		log.RunAhead(func() []raft.ServerID {
			if leads {
				return []raft.ServerID{"2", "3"}
			}
			return nil
		})
		model := map[uint64][]byte{}
		first, next := uint64(1), uint64(1)
		synctest.Test(t, func(*testing.T) {
			defer log.Close()
			for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0: // a snapshot
					if next > first {
						to := rapid.Uint64Range(first, next-1).Draw(rt, "to")
						if err := log.DeleteRange(first, to); err != nil {
							rt.Fatal(err)
						}
						for ; first <= to; first++ {
							delete(model, first)
						}
					}
				case 1: // another leader's entries come
					if next > first {
						from := rapid.Uint64Range(first, next-1).Draw(rt, "from")
						if err := log.DeleteRange(from, next-1); err != nil {
							rt.Fatal(err)
						}
						for ; next > from; next-- {
							delete(model, next-1)
						}
					}
				case 2:
					leads = !leads
				case 3:
					if next > first {
						at := rapid.Uint64Range(first, next-1).Draw(rt, "settled")
						var l raft.Log
						if !log.Settled(at, nil) || slow.GetLog(at, &l) != nil {
							rt.Fatalf("entry %d is settled and not there", at)
						}
					}
				case 4:
					time.Sleep(time.Millisecond)
				default:
					var logs []*raft.Log
					for k := range rapid.IntRange(1, 4).Draw(rt, "entries") {
						l := &raft.Log{Index: next, Term: 1, Data: fmt.Appendf(nil, "%d.%d", i, k)}
						if rapid.IntRange(0, 9).Draw(rt, "configuration") == 0 {
							l.Type = raft.LogConfiguration
						}
						logs = append(logs, l)
						model[next] = l.Data
						next++
					}
					if err := log.StoreLogs(logs); err != nil {
						rt.Fatal(err)
					}
				}
				wantFirst, wantLast := first, next-1
				if first == next {
					wantFirst, wantLast = 0, 0
				}
				gotFirst, err := log.FirstIndex()
				if err != nil {
					rt.Fatal(err)
				}
				gotLast, err := log.LastIndex()
				if err != nil {
					rt.Fatal(err)
				}
				if gotFirst != wantFirst || gotLast != wantLast {
					rt.Fatalf("entries %d to %d, want %d to %d", gotFirst, gotLast, wantFirst, wantLast)
				}
				for index, data := range model {
					var l raft.Log
					if err := log.GetLog(index, &l); err != nil || l.Index != index || !bytes.Equal(l.Data, data) {
						rt.Fatalf("entry %d: %+v, %v", index, l, err)
					}
				}
			}
		})
	})
}
