package replica

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestWhatIsAppliedIsNotTakenAgain sends a follower, in the leader's name, a
// snapshot and entries of what it has applied.
func TestWhatIsAppliedIsNotTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{conf: slowToElect})
		leader := c.elect()
		f := c.others(leader)[0]
		write := func(data string) uint64 {
			if err := leader.raft.Apply([]byte(data), 0).Error(); err != nil {
				t.Fatal(err)
			}
			return leader.raft.LastIndex()
		}
		all := []string{"a", "b", "c", "d"}
		var last uint64
		for _, data := range all {
			last = write(data)
		}
		applied := func(want ...string) {
			t.Helper()
			if !eventually(time.Minute, func() bool { return f.fsm.has(want[len(want)-1]) }) {
				t.Fatalf("%v is not applied", want[len(want)-1])
			}
			f.fsm.mu.Lock()
			defer f.fsm.mu.Unlock()
			if !slices.Equal(f.fsm.applied, want) {
				t.Fatalf("applied %v, want %v", f.fsm.applied, want)
			}
		}
		write("e")
		applied("a", "b", "c", "d", "e")

		impostor := c.stranger("n9")
		head := headerOf(string(leader.id))
		term := leader.raft.CurrentTerm()
		var entry raft.Log
		if err := leader.logs.GetLog(last-1, &entry); err != nil {
			t.Fatal(err)
		}
		configuration := leader.raft.GetConfiguration().Configuration()
		snapshot := &raft.InstallSnapshotRequest{
			RPCHeader: head, SnapshotVersion: 1, Term: term, LastLogIndex: entry.Index, LastLogTerm: entry.Term,
			Configuration: raft.EncodeConfiguration(configuration), ConfigurationIndex: 1, Size: 5,
		}
		var took raft.InstallSnapshotResponse
		if err := impostor.InstallSnapshot(f.id, raft.ServerAddress(f.addr), snapshot, &took, bytes.NewReader([]byte("state"))); err != nil || !took.Success {
			t.Fatalf("a snapshot of the past: success %v, error %v", took.Success, err)
		}
		if got := f.raft.AppliedIndex(); got < last {
			t.Errorf("set back to entry %d from %d", got, last)
		}

		// Entries behind one that is only in the follower's snapshot.
		if err := f.logs.DeleteRange(1, last); err != nil {
			t.Fatal(err)
		}
		var entries []*raft.Log
		for i := last - 2; i <= leader.raft.LastIndex(); i++ {
			l := &raft.Log{}
			if err := leader.logs.GetLog(i, l); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, l)
		}
		next := &raft.Log{Index: leader.raft.LastIndex() + 1, Term: term, Type: raft.LogCommand, Data: []byte("f")}
		for name, sent := range map[string][]*raft.Log{"all known": entries, "one new": append(entries, next)} {
			var resp raft.AppendEntriesResponse
			req := &raft.AppendEntriesRequest{RPCHeader: head, Term: term, PrevLogEntry: last - 3, PrevLogTerm: term, Entries: sent, LeaderCommitIndex: last}
			if err := impostor.AppendEntries(f.id, raft.ServerAddress(f.addr), req, &resp); err != nil || !resp.Success {
				t.Errorf("%s: success %v, error %v", name, resp.Success, err)
			}
		}
		if got := f.raft.LastIndex(); got != next.Index {
			t.Errorf("the log ends at %d, want %d", got, next.Index)
		}

		// A deposed leader is answered by Raft.
		snapshot.Term--
		took = raft.InstallSnapshotResponse{}
		impostor.InstallSnapshot(f.id, raft.ServerAddress(f.addr), snapshot, &took, bytes.NewReader([]byte("state")))
		if took.Success {
			t.Error("a deposed leader's snapshot was taken")
		}
		write("f") // at the index where the follower has it already
		applied("a", "b", "c", "d", "e", "f")

		// One that comes slowly holds up nothing.
		snapshot.Term++
		slow, end := io.Pipe()
		answered := make(chan error, 1)
		go func() {
			answered <- impostor.InstallSnapshot(f.id, raft.ServerAddress(f.addr), snapshot, &took, slow)
		}()
		time.Sleep(time.Second)
		write("g")
		write("h") // tells of the commit
		applied("a", "b", "c", "d", "e", "f", "g", "h")
		end.Write([]byte("state"))
		end.Close()
		if err := <-answered; err != nil || !took.Success {
			t.Errorf("a slow snapshot of the past: success %v, error %v", took.Success, err)
		}
	})
}

// TestSnapshotOfWhatTheLogHas sends a follower that knows of no commit a
// snapshot that ends within its log.
func TestSnapshotOfWhatTheLogHas(t *testing.T) {
	const term, end = 5, 12
	for _, tt := range []struct {
		name     string
		lastTerm uint64 // of the snapshot
		restart  bool
	}{
		{"the same log", term, false},
		{"a log that went on differently", term + 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &testNet{t: t, net: newMemnet()}
				t.Cleanup(c.stop)
				two := raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "n1"}, {ID: "9", Address: "n9"}}}
				f := c.start("1", two, nodeOptions{conf: func(c *raft.Config) { c.HeartbeatTimeout, c.ElectionTimeout = time.Hour, time.Hour }})
				c.nodes = append(c.nodes, f)
				leader, head := c.stranger("n9"), headerOf("9")
				var entries []*raft.Log
				var want []string
				for i := uint64(2); i <= end; i++ {
					data := fmt.Sprint(i)
					entries = append(entries, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: []byte(data)})
					want = append(want, data)
				}
				send := func(req *raft.AppendEntriesRequest) {
					t.Helper()
					var resp raft.AppendEntriesResponse
					if err := leader.AppendEntries(f.id, raft.ServerAddress(f.addr), req, &resp); err != nil || !resp.Success {
						t.Fatalf("entries: success %v, error %v", resp.Success, err)
					}
				}
				now := uint64(term)
				if tt.restart {
					now++
				}
				send(&raft.AppendEntriesRequest{RPCHeader: head, Term: term, PrevLogEntry: 1, PrevLogTerm: 1, Entries: entries})
				send(&raft.AppendEntriesRequest{RPCHeader: head, Term: now, PrevLogEntry: end, PrevLogTerm: term})
				snapshot := &raft.InstallSnapshotRequest{
					RPCHeader: head, SnapshotVersion: 1, Term: now, LastLogIndex: end - 2, LastLogTerm: tt.lastTerm,
					Configuration: raft.EncodeConfiguration(two), ConfigurationIndex: 1, Size: 5,
				}
				var took raft.InstallSnapshotResponse
				if err := leader.InstallSnapshot(f.id, raft.ServerAddress(f.addr), snapshot, &took, bytes.NewReader([]byte("state"))); err != nil || !took.Success {
					t.Fatalf("snapshot: success %v, error %v", took.Success, err)
				}
				synctest.Wait()
				if reason := f.restarts.Load(); tt.restart != (reason != nil) {
					t.Fatalf("asked for a restart: %v, want %v", reason != nil, tt.restart)
				}
				if tt.restart {
					return
				}
				send(&raft.AppendEntriesRequest{RPCHeader: head, Term: term, PrevLogEntry: end - 2, PrevLogTerm: term, Entries: entries[end-3:], LeaderCommitIndex: end})
				if !eventually(time.Minute, func() bool { return f.fsm.has(want[len(want)-1]) }) || !slices.Equal(f.fsm.applied, want) {
					t.Errorf("applied %v, want %v", f.fsm.applied, want)
				}
			})
		})
	}
}
