//go:build chaos

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/replica"
)

const (
	// diskMiB is the size of a server's disk. The log's first file takes 64 MiB
	// of it at once.
	diskMiB = 200
	// pace keeps the loads from filling it for good.
	pace = 200 * time.Microsecond
	// bigValue and bigWrites are more than one log file holds.
	bigValue  = 700 << 10
	bigWrites = 110
	// longerThanHeld is more than a server without a leader keeps its clients
	// (syncLimit ticks), and than the reader's session lives without a sign of it.
	longerThanHeld = 13 * time.Second
)

// TestFullDisk fills up the disk of a server. It must go on serving reads, and
// the others everything; with the room it is back by itself, without a restart,
// and nothing that was acknowledged is missing.
func TestFullDisk(t *testing.T) {
	for _, leads := range []bool{false, true} {
		for _, kind := range []string{"write", "next file"} {
			t.Run(fmt.Sprintf("%s of %s", kind, map[bool]string{false: "a follower", true: "the leader"}[leads]), func(t *testing.T) {
				servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
				leader, _ := roles(t, servers)
				create(t, leader, "/durable")
				sick := servers[2]
				if leads {
					sick = servers[0] // the first to stand when a leader dies
				}
				onSmallDisk(t, sick, kind == "next file")
				moveLeader(t, servers, sick, leads)
				others := without(servers, sick)

				readers := startReader(t, sick)
				free := fill(t, sick)
				full := 3 * time.Second
				if kind == "next file" {
					writeMuch(t, others)
				} else {
					full = longerThanHeld
				}
				var loads []*load
				for _, s := range others {
					loads = append(loads, startLoad(t, s, pace))
				}
				await(t, patience, "the full disk is noticed", func() bool { return logged(t, sick, "the log cannot be written") })
				await(t, patience, "the others have a leader", func() bool {
					return others[0].Mode() == "leader" || others[1].Mode() == "leader"
				})
				// The others serve, and the sick one serves what it has.
				for _, s := range others {
					create(t, s, fmt.Sprintf("/while-full-%d", s.ID))
				}
				before := readers.reads.Load()
				time.Sleep(full)
				if n := readers.reads.Load() - before; n < int64(full/time.Second) {
					t.Errorf("%d reads in %v from the server with the full disk", n, full)
				}
				if !logged(t, sick, "no space left on device") {
					t.Error("its log does not say why")
				}
				free()
				await(t, patience, "the server is back", func() bool { return logged(t, sick, "the log can be written again") })
				for _, l := range loads {
					close(l.stop)
					<-l.ended
				}
				readers.finish(t)
				roles(t, servers)
				checkDurable(t, servers, loads)
				for _, s := range others {
					mustExist(t, sick, fmt.Sprintf("/while-full-%d", s.ID))
				}
			})
		}
	}
}

// TestAllDisksFull fills up all three disks. Nothing is acknowledged then, and
// service is back with the room.
func TestAllDisksFull(t *testing.T) {
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	leader, _ := roles(t, servers)
	create(t, leader, "/durable")
	for _, s := range servers {
		onSmallDisk(t, s, false)
	}
	roles(t, servers)
	var loads []*load
	for _, s := range servers {
		loads = append(loads, startLoad(t, s, pace))
	}
	time.Sleep(300 * time.Millisecond)
	var free []func()
	for _, s := range servers {
		free = append(free, fill(t, s))
	}
	// The third has nobody to write for any more.
	await(t, patience, "two full disks are noticed", func() bool {
		n := 0
		for _, s := range servers {
			if logged(t, s, "the log cannot be written") {
				n++
			}
		}
		return n >= 2
	})
	time.Sleep(3 * time.Second)
	for _, s := range servers {
		if s.Mode() == "leader" {
			t.Errorf("server %d leads", s.ID)
		}
	}
	for _, f := range free {
		f()
	}
	roles(t, servers)
	create(t, servers[0], "/again")
	for _, l := range loads {
		close(l.stop)
		<-l.ended
	}
	checkDurable(t, servers, loads)
	for _, s := range servers {
		mustExist(t, s, "/again")
	}
}

// onSmallDisk moves the data of s to a small disk of its own. Unless whole, the
// log's file has no room of its own there, so that each write needs some.
func onSmallDisk(t *testing.T, s *zkprocess.Server, whole bool) {
	t.Helper()
	s.Kill()
	kept := filepath.Join(t.TempDir(), "kept")
	sparse := "--sparse=always"
	if whole {
		sparse = "--sparse=never"
	}
	shell(t, "cp", "-a", s.DataDir, kept)
	shell(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", diskMiB), "coordd-test", s.DataDir)
	t.Cleanup(func() {
		s.Kill()
		shell(t, "umount", s.DataDir)
	})
	shell(t, "cp", "-a", sparse, kept+"/.", s.DataDir)
	run(t, s)
}

func shell(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s (this test mounts disks, and so needs root): %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// moveLeader has s lead the ensemble, or not, by restarting who leads.
func moveLeader(t *testing.T, servers []*zkprocess.Server, s *zkprocess.Server, leads bool) {
	t.Helper()
	for range 20 {
		leader, _ := roles(t, servers)
		if (leader == s) == leads {
			return
		}
		leader.Kill()
		await(t, patience, "another leader", func() bool {
			for _, o := range without(servers, leader) {
				if o.Mode() == "leader" {
					return true
				}
			}
			return false
		})
		run(t, leader)
	}
	t.Fatalf("server %d: leader %v: not in 20 attempts", s.ID, leads)
}

func without(servers []*zkprocess.Server, s *zkprocess.Server) (others []*zkprocess.Server) {
	for _, o := range servers {
		if o != s {
			others = append(others, o)
		}
	}
	return others
}

// fill takes all room on the disk of s, until the result is called.
func fill(t *testing.T, s *zkprocess.Server) (free func()) {
	t.Helper()
	path := filepath.Join(s.DataDir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1<<9; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatalf("fill the disk: %v", err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// writeMuch writes more than the log's present file holds.
func writeMuch(t *testing.T, servers []*zkprocess.Server) {
	t.Helper()
	create(t, servers[0], "/much")
	c := dial(t, servers[0], zkclient.Options{Timeout: longSession})
	defer c.Close()
	value := bytes.Repeat([]byte("coordd"), bigValue/6)
	for i := range bigWrites {
		if _, err := c.Set("/much", value, protocol.AnyVersion); err != nil {
			t.Fatalf("write %d of %d: %v", i, bigWrites, err)
		}
	}
}

// logged reports whether s has logged text.
func logged(t *testing.T, s *zkprocess.Server, text string) bool {
	t.Helper()
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(log, []byte(text))
}

// reader reads from one server, on one connection, until it is told to stop.
type reader struct {
	reads atomic.Int64
	stop  chan struct{}
	ended chan error
}

func startReader(t *testing.T, s *zkprocess.Server) *reader {
	t.Helper()
	r := &reader{stop: make(chan struct{}), ended: make(chan error, 1)}
	c := dial(t, s, zkclient.Options{Timeout: 3 * tick})
	go func() {
		defer c.HangUp()
		for {
			select {
			case <-r.stop:
				r.ended <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := c.Exists("/durable", false); err != nil {
				r.ended <- err
				return
			}
			r.reads.Add(1)
		}
	}()
	return r
}

func (r *reader) finish(t *testing.T) {
	t.Helper()
	close(r.stop)
	if err := <-r.ended; err != nil {
		t.Errorf("a client of the server with the full disk lost its connection after %d reads: %v", r.reads.Load(), err)
	}
}

// TestLogOnASmallDisk opens and closes a log on a disk that is full, whatever
// it is that does not fit, and looks for what was acknowledged.
func TestLogOnASmallDisk(t *testing.T) {
	for _, store := range []string{replica.WALStore, replica.BoltStore} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			shell(t, "mount", "-t", "tmpfs", "-o", "size=12m", "coordd-test", dir)
			t.Cleanup(func() { shell(t, "umount", dir) })
			o := replica.LogOptions{Logger: hclog.NewNullLogger(), SegmentBytes: 4 << 20}
			acked, refused := uint64(0), 0
			for round := range 12 {
				ballast := filepath.Join(dir, "ballast")
				if err := os.WriteFile(ballast, make([]byte, round*300<<10), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				s, err := replica.OpenLogStore(store, dir, o)
				if err != nil {
					refused++
				} else {
					acked = useLog(t, s, acked, &refused)
				}
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
				if s, err = replica.OpenLogStore(store, dir, o); err != nil {
					t.Fatalf("round %d, with room: %v", round, err)
				}
				first, _ := s.FirstIndex()
				last, _ := s.LastIndex()
				if last < acked {
					t.Fatalf("round %d: the log ends with entry %d, %d was acknowledged", round, last, acked)
				}
				acked = last
				// Make room as snapshots do.
				if last > first+100 {
					if err := s.DeleteRange(first, last-100); err != nil {
						t.Fatalf("round %d: delete: %v", round, err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if refused == 0 {
				t.Error("the disk was never full: the test shows nothing")
			}
		})
	}
}

// useLog stores entries until the disk is full and returns the last one that
// was acknowledged.
func useLog(t *testing.T, s *replica.LogStore, acked uint64, refused *int) uint64 {
	t.Helper()
	defer s.Close()
	for range 3000 {
		entry := &raft.Log{Index: acked + 1, Term: 1, Data: bytes.Repeat([]byte{byte(acked + 1)}, 5000)}
		if err := s.StoreLog(entry); err != nil {
			*refused++
			return acked
		}
		acked++
	}
	return acked
}
