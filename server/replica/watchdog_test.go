package replica

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A leader's disk stalls. Writes go on, since the others have them on disk, and
// another leads after little more than the limit. The old leader comes back as a
// follower.
func TestLeaderWithAStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		old := g.leader()
		g.write(old, 10)
		g.settle(g.members...)
		release := old.disk.stall()
		defer release()
		began := time.Now()
		g.write(old, 10)
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("writes took %v meanwhile", d)
		}
		next := g.leader(g.others(old)...)
		if d := time.Since(began); d < stallLimit || d > stallLimit+500*time.Millisecond {
			t.Errorf("another led after %v", d)
		}
		if id, _ := old.Leader(); old.Leads() || old.lastTerm() || id == old.id || old.Standing().Voter {
			t.Errorf("the old leader leads: %v, Terms say %v, it takes %d for the leader", old.Leads(), old.lastTerm(), id)
		}
		if old.gaveUps.Load() != 1 {
			t.Errorf("GaveUp was told %d times", old.gaveUps.Load())
		}
		if f := old.Fault(); !strings.Contains(f, "log store") {
			t.Errorf("fault %q", f)
		}
		g.write(next, 10)
		time.Sleep(2 * time.Second)
		if !next.Leads() || len(next.terms) != 1 {
			t.Errorf("the new leader was disturbed: %v", next.terms)
		}
		release()
		g.settle(g.members...)
		for _, m := range g.members {
			g.mustHaveAll(m)
		}
		if old.Fault() != "" {
			t.Errorf("fault %q", old.Fault())
		}
		// It can lead again.
		if err := next.TransferLeadership(); err != nil {
			t.Fatal(err)
		}
		g.write(g.leader(), 5)
		g.settle(g.members...)
	})
}

// Without a quorum that could take over, a stalled leader stays in office: the
// disk may be back any moment.
func TestStalledLeaderWithoutASuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3)
		old := g.leader()
		g.write(old, 10)
		releaseFollower := g.others(old)[0].disk.stall()
		defer releaseFollower()
		g.write(old, 1) // one of the followers hangs from now on
		time.Sleep(2 * stallLimit)
		release := old.disk.stall()
		defer release()
		hangs := make(chan error, 1)
		go func() { hangs <- old.Propose(entry(g.last + 1)).Error() }()
		time.Sleep(4 * time.Second)
		if !old.Leads() || old.gaveUps.Load() != 0 {
			t.Errorf("it gave up (%d times) although nobody can follow", old.gaveUps.Load())
		}
		release()
		if err := <-hangs; err != nil {
			t.Errorf("the write: %v", err)
		}
		g.last++
		releaseFollower()
		g.settle(g.members...)
	})
}

// The one that was told to stand cannot win. The old leader's heartbeats must
// not keep the others from an election of their own.
func TestSuccessorThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 5)
		old := g.leader()
		g.write(old, 10)
		g.settle(g.members...)
		chosen, rest := g.others(old)[0], g.others(old)[1:]
		g.cut(chosen, rest, true)
		defer g.cut(chosen, rest, false)
		release := old.disk.stall()
		defer release()
		began := time.Now()
		go old.Propose(entry(g.last + 1)).Error()
		next := g.leader(rest...)
		if d := time.Since(began); d < stallLimit || d > 5*time.Second {
			t.Errorf("another led after %v", d)
		}
		g.write(next, 10)
		release()
		g.cut(chosen, rest, false)
		g.settle(g.members...)
	})
}

// cut cuts or heals all links between m and others.
func (g *group) cut(m *member, others []*member, on bool) {
	for _, o := range others {
		for _, link := range [][2]uint8{{m.id, o.id}, {o.id, m.id}} {
			g.net.cut(fmt.Sprintf("n%d", link[0]), fmt.Sprintf("n%d", link[1]), on)
		}
	}
}

// candidate has m store a new term, cut off from the others: their heartbeats
// would wait for a lock meanwhile, which stops the clock of synctest.
func (g *group) candidate(m *member) (heal func()) {
	g.cut(m, g.others(m), true)
	time.Sleep(10 * time.Millisecond)
	if err := m.current.Load().transport.InjectTimeoutNow(); err != nil {
		g.t.Fatal(err)
	}
	return func() { g.cut(m, g.others(m), false) }
}

// A disk that hangs for good ends the process of a leader, or of anybody whose
// votes hang; not that of a server which has nobody to replace it, nor of a
// follower, nor for a disk that is full.
func TestDiskThatHangs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers int
		hang    func(g *group) (sick *member, release func())
		fatal   bool
		fault   string
	}{
		{name: "leader", servers: 3, fatal: true, fault: "log store", hang: func(g *group) (*member, func()) {
			sick := g.leader()
			release := sick.disk.stall()
			go sick.Propose(entry(g.last + 1)).Error()
			return sick, release
		}},
		{name: "alone", servers: 1, fault: "log store", hang: func(g *group) (*member, func()) {
			sick := g.leader()
			release := sick.disk.stall()
			go sick.Propose(entry(g.last + 1)).Error()
			return sick, release
		}},
		{name: "follower", servers: 3, fault: "log store", hang: func(g *group) (*member, func()) {
			sick := g.others(g.leader())[0]
			release := sick.disk.stall()
			g.write(g.leader(), 1)
			return sick, release
		}},
		{name: "votes", servers: 3, fatal: true, fault: "stable store", hang: func(g *group) (*member, func()) {
			sick := g.others(g.leader())[0]
			release := sick.disk.stall()
			sick.disk.set(func(d *disk) { d.votes = true })
			heal := g.candidate(sick)
			return sick, func() { release(); heal() }
		}},
		{name: "votes on a full disk", servers: 3, fault: errDiskFull.Error(), hang: func(g *group) (*member, func()) {
			sick := g.others(g.leader())[0]
			sick.disk.set(func(d *disk) { d.noTerm = true })
			heal := g.candidate(sick)
			return sick, func() {
				sick.disk.set(func(d *disk) { d.noTerm = false })
				time.Sleep(2 * termRetry)
				heal()
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, tt.servers)
				g.write(g.leader(), 3)
				g.settle(g.members...)
				sick, release := tt.hang(g)
				defer release()
				time.Sleep(5 * time.Second)
				if !strings.Contains(sick.Fault(), tt.fault) {
					t.Errorf("fault %q, want one of %q", sick.Fault(), tt.fault)
				}
				select {
				case err := <-sick.fatal:
					t.Fatalf("fatal after 5 s: %v", err)
				default:
				}
				time.Sleep(20 * time.Second)
				select {
				case err := <-sick.fatal:
					if !tt.fatal {
						t.Errorf("fatal: %v", err)
					}
				default:
					if tt.fatal {
						t.Error("not fatal")
					}
				}
				release()
				if !eventually(10*time.Second, func() bool { return sick.Fault() == "" }) {
					t.Errorf("fault %q after the disk is well", sick.Fault())
				}
				time.Sleep(5 * time.Second) // a candidate's term may depose the leader
				g.write(g.leader(), 1)
			})
		})
	}
}
