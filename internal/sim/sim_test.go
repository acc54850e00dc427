package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// pair is a network with two machines and a connection between them.
func pair(t *testing.T) (n *Network, a, b *Machine, mine, theirs net.Conn) {
	t.Helper()
	n = NewNetwork(Link{Delay: 10 * time.Millisecond}, random())
	a, b = n.Boot("10.0.0.1"), n.Boot("10.0.0.2")
	l, err := b.Listen("10.0.0.2:1")
	if err != nil {
		t.Fatal(err)
	}
	if mine, err = a.Dial(t.Context(), "10.0.0.2:1"); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return n, a, b, mine, theirs
}

func receive(c net.Conn, want int) (string, time.Duration, error) {
	began := time.Now()
	p := make([]byte, want)
	n, err := io.ReadFull(c, p)
	return string(p[:n]), time.Since(began), err
}

func TestBytesTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, _, mine, theirs := pair(t)
		mine.Write([]byte("one"))
		if got, took, err := receive(theirs, 3); got != "one" || took != 10*time.Millisecond || err != nil {
			t.Errorf("%q after %v: %v", got, took, err)
		}
		n.Set("10.0.0.1", "10.0.0.2", func(l *Link) { l.Cut = true })
		mine.Write([]byte("two"))
		theirs.SetReadDeadline(time.Now().Add(time.Minute))
		if got, took, err := receive(theirs, 3); got != "" || took != time.Minute || err == nil {
			t.Errorf("%q came through a cut after %v: %v", got, took, err)
		}
		theirs.SetReadDeadline(time.Time{})
		n.Heal()
		if got, _, err := receive(theirs, 3); got != "two" || err != nil {
			t.Errorf("%q: %v", got, err)
		}
		n.Stall("10.0.0.1", "10.0.0.2", time.Second)
		mine.Write([]byte("six"))
		if got, took, err := receive(theirs, 3); got != "six" || took != time.Second || err != nil {
			t.Errorf("%q after %v: %v", got, took, err)
		}
	})
}

// A process that dies has its connections reset and its port refuse; a machine
// that dies says nothing until it is back.
func TestDeathOfProcessAndMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b, mine, _ := pair(t)
		b.Kill(false)
		if _, _, err := receive(mine, 1); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read of a dead process: %v", err)
		}
		if _, err := a.Dial(t.Context(), "10.0.0.2:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial of a dead process: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, a, b, mine, _ := pair(t)
		b.Kill(true)
		mine.SetReadDeadline(time.Now().Add(time.Hour))
		mine.Write([]byte("x"))
		if _, took, _ := receive(mine, 1); took != time.Hour {
			t.Errorf("a machine without power answers after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Dial(ctx, "10.0.0.2:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial of a machine without power: %v", err)
		}
		n.Boot("10.0.0.2")
		mine.SetReadDeadline(time.Time{})
		mine.Write([]byte("x"))
		if _, _, err := receive(mine, 1); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read from a machine that is back: %v", err)
		}
	})
}

// A writer waits for a reader that does not read.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, _, mine, theirs := pair(t)
		mine.SetWriteDeadline(time.Now().Add(time.Second))
		wrote := 0
		for {
			n, err := mine.Write(make([]byte, 64<<10))
			if err != nil {
				break
			}
			wrote += n
		}
		if wrote != window {
			t.Errorf("%d bytes are on their way, want %d", wrote, window)
		}
		mine.SetWriteDeadline(time.Time{})
		done := make(chan error, 1)
		go func() {
			_, err := mine.Write([]byte("x"))
			done <- err
		}()
		receive(theirs, window)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func mustCreate(t *testing.T, d *Disk, name string) types.WritableFile {
	t.Helper()
	w, err := LogFiles{d}.Create("/log", name, 8*sector)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// What was synced is there after a power cut; of what was not, some sectors.
func TestPowerCutForgetsWhatWasNotSynced(t *testing.T) {
	d := NewDisk(random())
	w := mustCreate(t, d, "f")
	w.WriteAt([]byte("synced"), 0)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, d, "g").WriteAt([]byte("x"), 0)
	for s := range 8 {
		w.WriteAt([]byte{byte('0' + s)}, int64(s*sector+sector-1))
	}
	kept, named := 0, 0
	const cuts = 50
	for range cuts {
		after := d.Crash()
		b, err := after.ReadFile("/log/f")
		if err != nil || string(b[:6]) != "synced" {
			t.Fatalf("%q, %v", b[:6], err)
		}
		for s := range 8 {
			if b[s*sector+sector-1] != 0 {
				kept++
			}
		}
		if there, _ := after.Exists("/log/g"); there {
			named++
		}
	}
	if kept < cuts || kept > 7*cuts || named < cuts/5 || named > cuts*4/5 {
		t.Errorf("%d of %d sectors survived, and a name %d times of %d", kept, 8*cuts, named, cuts)
	}
	if b, _ := d.Kill().ReadFile("/log/f"); b[sector-1] != '0' {
		t.Error("the end of a process lost a write")
	}
}

// A trap springs before the change that it is set to, and the vote that is being
// written is then either there or not.
func TestTrap(t *testing.T) {
	d := NewDisk(random())
	d.Ail(func(f *Faults) { f.Latency = 0 })
	s := Stable{Disk: d, Path: "/log/stable.db"}
	var after *Disk
	d.Trap(2, func() { after = d.CrashLocked() })
	for i := range uint64(3) {
		if err := s.SetUint64([]byte("term"), i+1); err != nil {
			t.Fatal(err)
		}
	}
	if after == nil {
		t.Fatal("it did not spring")
	}
	if n, err := (Stable{Disk: after, Path: "/log/stable.db"}).GetUint64([]byte("term")); n != 1 || err != nil {
		t.Errorf("term %d, %v", n, err)
	}
}

func TestFaultsOfDisks(t *testing.T) {
	d := NewDisk(random())
	w := mustCreate(t, d, "f")
	d.Ail(func(f *Faults) { f.Full = true })
	if _, err := w.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	d.Ail(func(f *Faults) { f.Full, f.Failing = false, 1 })
	if err := w.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := NewDisk(random())
		d.Stall(true)
		time.AfterFunc(time.Hour, func() { d.Stall(false) })
		began := time.Now()
		d.Wait()
		if took := time.Since(began); took < time.Hour {
			t.Errorf("a stalled disk took %v", took)
		}
	})
}

// Snapshots are whole or not there, and old ones go.
func TestSnapshots(t *testing.T) {
	d := NewDisk(random())
	d.Ail(func(f *Faults) { f.Latency = 0 })
	s := Snapshots{Disk: d, Dir: "/data/snapshots", Keep: 2}
	for i := range uint64(4) {
		k, err := s.Create(1, i+1, 1, raft.Configuration{}, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		k.Write([]byte{byte(i)})
		if all, _ := s.List(); len(all) != min(int(i), 2) {
			t.Fatalf("%d snapshots while the one behind %d is written", len(all), i)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := s.List()
	if len(all) != 2 || all[0].Index != 4 {
		t.Fatalf("%d snapshots", len(all))
	}
	_, rc, err := s.Open(all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(rc); string(b) != "\x03" {
		t.Errorf("%q", b)
	}
}
