package server

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/server/peer"
	"github.com/coordd/coordd/server/replica"
)

// joiner is a server of three, as far as startJoining needs it.
func joiner(t *testing.T, dir string) *Server {
	t.Helper()
	text := "dataDir=" + dir + "\nclientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.2:1:2\nserver.3=127.0.0.3:1:2\n"
	if err := os.WriteFile(filepath.Join(dir, "myid"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{id: 1, cfg: cfg, host: Host{}.filled(), log: hclog.NewNullLogger(), stop: make(chan struct{})}
}

// begin starts joining on dir's stores, with entries in the log if asked to,
// and reports the mark's number and whether a vote can be given.
func (s *Server) begin(t *testing.T, entries, present bool) (number uint64, votes bool) {
	t.Helper()
	dir := s.cfg.DataDir
	storage, err := replica.OpenStorage("wal", dir, dir, 3, replica.LogOptions{Logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Stable.Close()
	defer storage.Logs.Close()
	if last, _ := storage.Logs.LastIndex(); entries && last == 0 {
		if err := storage.Logs.StoreLogs([]*raft.Log{{Index: 1, Term: 1, Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.startJoining(storage, present); err != nil {
		t.Fatal(err)
	}
	if err := storage.Stable.SetUint64([]byte("LastVoteTerm"), 9); err != nil {
		t.Fatal(err)
	}
	return s.joining.number.Load(), storage.Stable.Set([]byte("LastVoteCand"), []byte("2")) == nil
}

func TestWhoCarriesTheJoiningMark(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		entries, present, cluster bool
		marked, lost              bool
	}{
		{"empty", false, false, false, true, false},
		{"empty, stores made by a start that went no further", false, true, false, true, false},
		{"empty, but of a cluster", false, false, true, true, true},
		{"complete", true, true, true, false, false},
		{"a store is gone", true, false, true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := joiner(t, t.TempDir())
			if tt.cluster {
				s.cluster[0] = 1
			}
			number, votes := s.begin(t, tt.entries, tt.present)
			if (number != 0) != tt.marked || votes == tt.marked || s.joining.lost.Load() != tt.lost {
				t.Errorf("number %d, votes %t, lost %t", number, votes, s.joining.lost.Load())
			}
			if on, _, err := readJoining(osDisk{}, s.cfg.DataLogDir); on != number || err != nil {
				t.Errorf("the disk says %d, the server %d", on, number)
			}
		})
	}
}

// A log that continues a snapshot which is gone says nothing, and Raft could
// not start on it.
func TestLogWithoutItsSnapshot(t *testing.T) {
	s := joiner(t, t.TempDir())
	dir := s.cfg.DataDir
	open := func() replica.Storage {
		t.Helper()
		storage, err := replica.OpenStorage("wal", dir, dir, 3, replica.LogOptions{Logger: hclog.NewNullLogger()})
		if err != nil {
			t.Fatal(err)
		}
		return storage
	}
	storage := open()
	for i := uint64(5); i < 8; i++ {
		if err := storage.Logs.StoreLogs([]*raft.Log{{Index: i, Term: 2, Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
	}
	storage.Stable.Close()
	storage.Logs.Close()
	storage = open()
	s.cfg.Standalone = true
	if err := s.checkLog(storage); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a server that runs alone: %v", err)
	}
	s.cfg.Standalone = false
	storage.Stable.Close()
	storage.Logs.Close()
	if number, votes := s.begin(t, false, true); number == 0 || votes || !s.joining.lost.Load() {
		t.Errorf("number %d, votes %t, lost %t", number, votes, s.joining.lost.Load())
	}
	storage = open()
	defer storage.Stable.Close()
	defer storage.Logs.Close()
	if missing, err := replica.SnapshotMissing(storage); missing != nil || err != nil {
		t.Errorf("still missing: %v, %v", missing, err)
	}
	if err := storage.Logs.StoreLogs([]*raft.Log{{Index: 1, Term: 3, Data: []byte("y")}}); err != nil {
		t.Errorf("the log does not begin anew: %v", err)
	}
}

// The two directories of a server are of one cluster.
func TestClusterIDsOfBothDirectories(t *testing.T) {
	one, two := [16]byte{1}, [16]byte{2}
	for _, tt := range []struct {
		name       string
		data, logs [16]byte
		want       [16]byte
		refused    bool
	}{
		{name: "new"},
		{name: "both", data: one, logs: one, want: one},
		{name: "new dataDir", logs: one, want: one},
		{name: "new dataLogDir", data: one, want: one},
		{name: "of two clusters", data: one, logs: two, refused: true},
	} {
		s := joiner(t, t.TempDir())
		s.cfg.DataLogDir = t.TempDir()
		for dir, id := range map[string][16]byte{s.cfg.DataDir: tt.data, s.cfg.DataLogDir: tt.logs} {
			if id == [16]byte{} {
				continue
			}
			if err := writeDurably(osDisk{}, dir, clusterFile, hex.EncodeToString(id[:])); err != nil {
				t.Fatal(err)
			}
		}
		s.cluster = tt.data
		err := s.matchClusterIDs()
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, dir := range []string{s.cfg.DataDir, s.cfg.DataLogDir} {
			if id, err := readClusterID(osDisk{}, dir); !tt.refused && (id != tt.want || err != nil || s.cluster != tt.want) {
				t.Errorf("%s: %s says %x, %v; the server %x", tt.name, dir, id, err, s.cluster)
			}
		}
	}
}

func TestJoiningMarkOutlivesRestartsOnly(t *testing.T) {
	dir := t.TempDir()
	first, _ := joiner(t, dir).begin(t, true, false) // found by a leader
	again, votes := joiner(t, dir).begin(t, true, true)
	if again != first || votes {
		t.Errorf("after a restart: number %d, was %d; votes %t", again, first, votes)
	}
	if fresh, _ := joiner(t, t.TempDir()).begin(t, false, false); fresh == first {
		t.Errorf("a wiped server draws number %d again", fresh)
	}
	if err := removeDurably(osDisk{}, dir, joiningFile); err != nil {
		t.Fatal(err)
	}
	if number, votes := joiner(t, dir).begin(t, true, true); number != 0 || !votes {
		t.Errorf("once admitted: number %d, votes %t", number, votes)
	}
}

func TestIllegibleJoiningMarkStands(t *testing.T) {
	for _, text := range []string{"", "0\n", "x\n", "18446744073709551616\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, joiningFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if number, votes := joiner(t, dir).begin(t, true, true); number == 0 || votes {
			t.Errorf("mark %q: number %d, votes %t", text, number, votes)
		}
	}
}

func TestQuorumWithoutTheJoiner(t *testing.T) {
	has, joins := peer.State{Data: peer.HasData}, peer.State{Data: peer.Joining, JoinNumber: 1}
	group := func(voters int) (ms []replica.Member) {
		for id := 1; id <= voters; id++ {
			ms = append(ms, replica.Member{ID: uint8(id), Voter: true})
		}
		return append(ms, replica.Member{ID: 9})
	}
	for _, tt := range []struct {
		name   string
		voters int
		states map[uint8]peer.State
		want   bool
	}{
		{"three, the third sound", 3, map[uint8]peer.State{2: joins, 3: has}, true},
		{"three, the third dead; a nonvoter is no help", 3, map[uint8]peer.State{2: joins, 9: has}, false},
		{"three, two of them wiped", 3, map[uint8]peer.State{2: joins, 3: joins}, false},
		{"four, one dead", 4, map[uint8]peer.State{2: joins, 3: has}, true},
		{"five, two wiped", 5, map[uint8]peer.State{2: joins, 3: joins, 4: has, 5: has}, true},
		{"five, two wiped and one dead", 5, map[uint8]peer.State{2: joins, 3: joins, 4: has}, false},
	} {
		if got := quorumWithout(2, 1, group(tt.voters), tt.states); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
