//go:build chaos

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// wipe empties the directories of a server that does not run.
func wipe(t *testing.T, s *zkprocess.Server) {
	t.Helper()
	if err := os.RemoveAll(s.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.DataDir, "myid"), fmt.Appendf(nil, "%d\n", s.ID), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, s *zkprocess.Server) {
	t.Helper()
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
}

// lose removes from s, which does not run, the files that the patterns name.
func lose(t *testing.T, s *zkprocess.Server, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		files, _ := filepath.Glob(filepath.Join(s.DataDir, pattern))
		if len(files) == 0 {
			t.Fatalf("server %d has no %s", s.ID, pattern)
		}
		for _, f := range files {
			if err := os.RemoveAll(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// joining reports whether s carries the mark of a server that must not vote.
func joining(s *zkprocess.Server) bool {
	_, err := os.Stat(filepath.Join(s.DataDir, "joining"))
	return err == nil
}

func create(t *testing.T, s *zkprocess.Server, path string) {
	t.Helper()
	c := dial(t, s, zkclient.Options{})
	defer c.Close()
	if _, err := c.Create(path, nil, protocol.Persistent, nil); err != nil {
		t.Fatalf("create %s: %v", path, err)
	}
}

func mustExist(t *testing.T, s *zkprocess.Server, path string) {
	t.Helper()
	c := dial(t, s, zkclient.Options{})
	defer c.Close()
	if err := c.Sync("/"); err != nil {
		t.Fatalf("sync: %v", err)
	}
	if _, err := c.Exists(path, false); err != nil {
		t.Fatalf("server %d lost an acknowledged write: %s: %v", s.ID, path, err)
	}
}

// TestWipedServerJoinsAgain wipes a server and has its vote count afterwards.
func TestWipedServerJoinsAgain(t *testing.T) {
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	leader, followers := roles(t, servers)
	wiped, other := followers[0], followers[1]
	create(t, leader, "/before")
	wiped.Kill()
	wipe(t, wiped)
	create(t, leader, "/meanwhile")
	run(t, wiped)
	await(t, patience, "the wiped server is admitted", func() bool { return wiped.Mode() == "follower" && !joining(wiped) })
	mustExist(t, wiped, "/meanwhile")

	leader.Kill()
	await(t, patience, "a leader by the vote of the wiped server", func() bool {
		return wiped.Mode() == "leader" || other.Mode() == "leader"
	})
	mustExist(t, other, "/before")
	mustExist(t, wiped, "/meanwhile")
}

// TestWipedServerElectsNobody leaves a wiped server and one that lags alone.
// Together they are a quorum, but one that lacks an acknowledged write.
func TestWipedServerElectsNobody(t *testing.T) {
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	leader, followers := roles(t, servers)
	wiped, lagging := followers[0], followers[1]
	lagging.Kill()
	create(t, leader, "/acknowledged")
	wiped.Kill()
	leader.Kill()
	wipe(t, wiped)
	run(t, lagging)
	run(t, wiped)
	await(t, patience, "the wiped server is marked", func() bool { return joining(wiped) })
	for restart := range 2 { // the mark outlives a restart, and a second loss
		for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if wiped.Mode() == "leader" || lagging.Mode() == "leader" {
				t.Fatal("a leader was elected without the acknowledged write")
			}
		}
		if !joining(wiped) {
			t.Fatal("the wiped server took its own mark away")
		}
		wiped.Kill()
		if restart == 1 {
			wipe(t, wiped)
		}
		run(t, wiped)
	}
	run(t, leader)
	roles(t, servers)
	for _, s := range servers {
		mustExist(t, s, "/acknowledged")
	}
	await(t, patience, "the wiped server is admitted", func() bool { return !joining(wiped) })
}

// rejoins waits until s follows or leads, without a mark.
func rejoins(t *testing.T, s *zkprocess.Server) {
	t.Helper()
	await(t, patience, fmt.Sprintf("server %d is admitted", s.ID), func() bool {
		mode := s.Mode()
		return (mode == "follower" || mode == "leader") && !joining(s)
	})
}

// TestWipedServerIsKilledAtAnyMoment kills, and sometimes wipes again, a server
// that joins, and at times the leader that brings it back.
func TestWipedServerIsKilledAtAnyMoment(t *testing.T) {
	random := newRandom(t)
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	leader, followers := roles(t, servers)
	wiped := followers[0]
	wiped.Kill()
	wipe(t, wiped)
	for round := range 10 {
		run(t, wiped)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		if round%4 == 3 { // together they could lose nothing but the service
			leader.Kill()
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			run(t, leader)
		}
		wiped.Kill()
		if random.IntN(3) == 0 {
			wipe(t, wiped)
		}
		leader, _ = roles(t, []*zkprocess.Server{leader, followers[1]})
		if leader == followers[1] {
			followers[1] = other(servers, wiped, leader)
		}
		create(t, leader, fmt.Sprintf("/round%d", round))
	}
	run(t, wiped)
	rejoins(t, wiped)
	leader.Kill()
	roles(t, []*zkprocess.Server{wiped, followers[1]})
	for round := range 10 {
		mustExist(t, wiped, fmt.Sprintf("/round%d", round))
	}
}

// other is the server that is none of these.
func other(servers []*zkprocess.Server, these ...*zkprocess.Server) *zkprocess.Server {
	for _, s := range servers {
		if !slices.Contains(these, s) {
			return s
		}
	}
	return nil
}

// TestServerLosesItsSnapshots has logs that begin at a snapshot: without it, or
// with an old one, they are of no use.
func TestServerLosesItsSnapshots(t *testing.T) {
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3, "coordd.snapshotThreshold=50", "coordd.trailingLogs=5")
	leader, followers := roles(t, servers)
	s := followers[0]
	old := filepath.Join(t.TempDir(), "old")
	for i, loss := range []func(){
		func() {
			if err := os.CopyFS(old, os.DirFS(filepath.Join(s.DataDir, "snapshots"))); err != nil {
				t.Fatal(err)
			}
			lose(t, s, "snapshots")
		},
		func() {
			lose(t, s, "snapshots")
			if err := os.CopyFS(filepath.Join(s.DataDir, "snapshots"), os.DirFS(old)); err != nil {
				t.Fatal(err)
			}
		},
		func() { // all but the old snapshot
			wipe(t, s)
			if err := os.CopyFS(filepath.Join(s.DataDir, "snapshots"), os.DirFS(old)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if i < 2 {
			writeUntilSnapshot(t, leader, s, i)
		}
		s.Kill()
		loss()
		create(t, leader, fmt.Sprintf("/meanwhile%d", i))
		run(t, s)
		await(t, patience, "it joins again", func() bool { return joining(s) })
		rejoins(t, s)
		mustExist(t, s, fmt.Sprintf("/meanwhile%d", i))
	}
}

// writeUntilSnapshot writes until s has taken a snapshot of its own and given up
// the log before it.
func writeUntilSnapshot(t *testing.T, leader, s *zkprocess.Server, n int) {
	t.Helper()
	newest := func() string {
		files, _ := filepath.Glob(filepath.Join(s.DataDir, "snapshots", "*", "meta.json"))
		if len(files) == 0 {
			return ""
		}
		return slices.Max(files)
	}
	before, i := newest(), 0
	c := dial(t, leader, zkclient.Options{})
	defer c.Close()
	await(t, patience, "a snapshot", func() bool {
		for range 100 {
			if _, err := c.Create(fmt.Sprintf("/snapshot%d-%d", n, i), nil, protocol.Persistent, nil); err != nil {
				t.Fatal(err)
			}
			i++
		}
		return newest() != before
	})
	time.Sleep(300 * time.Millisecond) // the log is cut after the snapshot is there
}
