//go:build chaos

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
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
