package replica

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/fsm"
)

// A follower's disk is full: it acknowledges nothing and serves reads, the
// others go on; with the room it is back by itself and lacks nothing.
func TestFollowerWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		leader := g.leader()
		g.write(leader, 20)
		sick := g.others(leader)[0]
		g.settle(g.members...)

		sick.disk.fill(true)
		g.write(leader, 20)
		if !eventually(time.Second, func() bool { return strings.Contains(sick.Fault(), errDiskFull.Error()) }) {
			t.Fatalf("fault: %q", sick.Fault())
		}
		time.Sleep(10 * time.Second)
		if sick.Fault() == "" || sick.has() != 20 {
			t.Errorf("fault %q, %d entries, want 20", sick.Fault(), sick.has())
		}
		if err := sick.Propose(entry(1000)).Error(); err == nil {
			t.Error("a proposal was taken")
		}
		if id, term := sick.Leader(); id != 0 || term == 0 {
			t.Errorf("leader %d, term %d: want none, and the term as it was", id, term)
		}
		if sick.Standing().Voter {
			t.Error("it would stand for election")
		}
		if !leader.Leads() {
			t.Error("the leader was disturbed")
		}
		g.write(leader, 20)

		sick.disk.fill(false)
		g.settle(g.members...)
		g.mustHaveAll(sick)
		if sick.Fault() != "" || !leader.Leads() {
			t.Errorf("fault %q; the leader leads: %v", sick.Fault(), leader.Leads())
		}
		if n := sick.disk.reopened; n < 5 || n > 60 {
			t.Errorf("the stores were opened %d times in 10 s", n)
		}
		g.write(leader, 1)
		g.settle(g.members...)
	})
}

// A leader's disk is full: another leads at once, and nothing is lost.
func TestLeaderWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		sick := g.leader()
		g.write(sick, 20)
		sick.disk.fill(true)
		failed := time.Now()
		if err := sick.Propose(entry(g.last + 1)).Error(); err == nil {
			t.Fatal("a write was acknowledged that is not on disk")
		}
		if sick.Leads() {
			t.Error("it leads still")
		}
		next := g.leader(g.others(sick)...)
		if d := time.Since(failed); d > 200*time.Millisecond {
			t.Errorf("it took %v until another led", d)
		}
		if sick.lastTerm() {
			t.Error("Terms does not tell of the loss")
		}
		g.write(next, 20)
		if got := sick.has(); got != 20 {
			t.Errorf("the old leader has %d entries, want 20", got)
		}
		sick.disk.fill(false)
		g.settle(g.members...)
		for _, m := range g.members {
			g.mustHaveAll(m)
		}
	})
}

// All disks are full: nothing is acknowledged; service is back with the room.
func TestAllDisksFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		g.write(g.leader(), 20)
		g.settle(g.members...)
		for _, m := range g.members {
			m.disk.fill(true)
		}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			for _, m := range g.members {
				if m.Leads() && m.Propose(entry(g.last+1)).Error() == nil {
					t.Fatal("a write was acknowledged")
				}
				if m.has() != 20 {
					t.Fatalf("%v serves %d entries, want 20", m, m.has())
				}
			}
		}
		for _, m := range g.members {
			m.disk.fill(false)
		}
		g.write(g.leader(), 20)
		g.settle(g.members...)
		for _, m := range g.members {
			g.mustHaveAll(m)
		}
	})
}

// One server alone, over and over. What is proposed around the failure may be
// in the log or not; it is never applied twice.
func TestRebuiltAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		only := g.members[0]
		for round := range 8 {
			g.write(g.leader(), 5)
			if round == 3 {
				if err := only.current.Load().raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
			only.disk.fill(true)
			if err := only.Propose(entry(g.last + 1)).Error(); err == nil {
				t.Fatal("a write was acknowledged that is not on disk")
			}
			time.Sleep(time.Duration(round) * 100 * time.Millisecond)
			only.disk.fill(false)
		}
		g.write(g.leader(), 5)
		g.settle(only)
		g.mustHaveAll(only)
		if len(only.restored) > 0 {
			t.Errorf("its clients were disconnected for snapshots %v", only.restored)
		}
	})
}

// A write of the log fails that Raft does not make from its main loop: the
// deletion of old entries after a snapshot.
func TestFailedDeletionRebuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		only := g.leader()
		g.write(only, 20)
		only.disk.fill(true)
		if err := only.current.Load().raft.Snapshot().Error(); err == nil {
			t.Fatal("the deletion succeeded")
		}
		if only.Fault() == "" && !eventually(time.Second, func() bool { return only.Fault() != "" }) {
			t.Error("no fault is told")
		}
		only.disk.fill(false)
		g.write(g.leader(), 5)
		g.settle(only)
		g.mustHaveAll(only)
	})
}

// A snapshot was installed in the store, and Raft ended before it was restored:
// the next Raft has it restored, and the server is told.
func TestNewerSnapshotIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		leader := g.leader()
		g.write(leader, 20)
		sick := g.others(leader)[0]
		g.settle(g.members...)
		sick.disk.fill(true)
		g.write(leader, 30)
		if !eventually(time.Second, func() bool { return sick.Fault() != "" }) {
			t.Fatal("no fault")
		}
		if err := leader.current.Load().raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		copySnapshot(t, leader.disk.snaps, sick.disk.snaps)
		if last, _ := sick.disk.logs.LastIndex(); sick.disk.logs.DeleteRange(1, last) != nil {
			t.Fatal("cannot empty the log")
		}
		sick.disk.fill(false)
		g.settle(g.members...)
		if len(sick.restored) != 1 || sick.restored[0] != g.last {
			t.Errorf("restored %v, want [%d]", sick.restored, g.last)
		}
		sick.current.Load().fail(errDiskFull) // the next Raft must not restore it again
		if !eventually(5*time.Second, func() bool { return !sick.current.Load().isDown() }) || len(sick.restored) != 1 {
			t.Errorf("restored %v", sick.restored)
		}
		g.write(leader, 5)
		g.settle(g.members...)
		if told := len(sick.told()); told != 25 {
			t.Errorf("told of %d entries, want the 20 before and the 5 after the snapshot", told)
		}
	})
}

func copySnapshot(t *testing.T, from, to raft.SnapshotStore) {
	t.Helper()
	list, err := from.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("no snapshot: %v", err)
	}
	meta, rc, err := from.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	_, trans := raft.NewInmemTransport("copy")
	sink, err := to.Create(meta.Version, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, trans)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(sink, rc); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

// A Raft that has not yet passed what the state holds must not put the state
// into a snapshot: it would do so under too low an index, and entries would be
// applied twice. Once it has, its snapshots are right.
func TestSnapshotOfARebuiltReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		only := g.leader()
		g.write(only, 20)
		only.disk.fill(true)
		only.Propose(entry(500)).Error()
		only.disk.fill(false)
		if !eventually(5*time.Second, func() bool { return !only.current.Load().isDown() }) {
			t.Fatal("not rebuilt")
		}
		c := only.current.Load()
		if _, err := (&machineFSM{only.Replica, c}).Snapshot(); !errors.Is(err, errBehind) {
			t.Errorf("a snapshot before the first entry has passed: %v", err)
		}
		g.write(g.leader(), 1)
		if err := c.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		list, _ := only.disk.snaps.List()
		_, applied := only.Indexes()
		if len(list) != 1 || list[0].Index != applied {
			t.Errorf("snapshots %v, want one at %d", list, applied)
		}
		_, rc, err := only.disk.snaps.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		m, err := fsm.Restore(rc)
		if err != nil {
			t.Fatal(err)
		}
		if number, _, _ := m.Stream(counter); number != g.last {
			t.Errorf("the snapshot holds %d entries, want %d", number, g.last)
		}
	})
}

// Every method answers while there is no Raft.
func TestMethodsWhileRebuilding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		g.write(g.leader(), 5)
		stop := make(chan struct{})
		var callers sync.WaitGroup
		for _, m := range g.members {
			for _, call := range []func(){
				func() { m.View(func(*fsm.Machine) {}) },
				func() { m.Leader(); m.Leads(); m.Indexes(); m.Fault() },
				func() { m.Members(); m.Standing() },
				func() { m.SetJoining(0) },
				func() {
					if m.Down() {
						m.Propose(entry(1)).Error()
						m.Failover(t.Context(), 77, groupPeers{g, m})
					}
				},
			} {
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							call()
						}
					}
				})
			}
		}
		sick := g.others(g.leader())[0]
		for range 5 {
			sick.disk.fill(true)
			g.write(g.leader(g.others(sick)...), 3)
			time.Sleep(300 * time.Millisecond)
			if m := sick.Members(); len(m) != 3 {
				t.Errorf("members %v", m)
			}
			if err := sick.Demote(1); err == nil {
				t.Error("demoted by a server without Raft")
			}
			if err := sick.TransferLeadership(); err == nil {
				t.Error("leadership transferred by a server without Raft")
			}
			sick.disk.fill(false)
			g.settle(g.members...)
		}
		close(stop)
		callers.Wait()
	})
}

// Shutdown ends whatever is under way.
func TestShutdownWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1)
		only := g.leader()
		only.disk.fill(true)
		only.Propose(entry(1)).Error()
		time.Sleep(3 * time.Second)
		start := time.Now()
		if err := only.Shutdown(); err != nil || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A joining server finds itself the only voter in its log, and does not elect
// itself, neither at its first start nor when its stores are opened again.
func TestJoiningFromTheFirstMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 1, func(o *Options) { o.Joining = 1 })
		only := g.members[0]
		for range 2 {
			time.Sleep(20 * time.Second)
			if _, term := only.Leader(); only.Leads() || only.Standing().Voter {
				t.Fatalf("it leads: %v, voter: %v, term %d", only.Leads(), only.Standing().Voter, term)
			}
			only.current.Load().fail(errDiskFull)
		}
		if !eventually(5*time.Second, func() bool { return !only.current.Load().isDown() }) {
			t.Fatal("not rebuilt")
		}
		only.SetJoining(0)
		g.write(g.leader(), 1)
	})
}

func TestCheckRoom(t *testing.T) {
	dir := t.TempDir()
	if err := CheckRoom(dir); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
	if err := CheckRoom(filepath.Join(dir, "none")); err == nil {
		t.Error("there is room where there is no directory")
	}
}
