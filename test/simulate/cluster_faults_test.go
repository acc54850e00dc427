//go:build simulate

package simulate

import (
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/internal/sim"
)

// fault is a kind of fault. do begins it at a machine and returns what ends it,
// nil if nothing has to, and ok false if it is not possible now.
type fault struct {
	name   string
	weight int
	// spell is how long it lasts at most.
	spell time.Duration
	do    func(c *cluster, m *machine) (detail string, end func(), ok bool)
}

var faults = []fault{
	{"process killed", 6, 4 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		m.crash(false)
		return "", m.start, true
	}},
	{"power cut", 6, 4 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		m.crash(true)
		return "", m.start, true
	}},
	{"power cut within a write", 10, 3 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		n := 1 + c.random.IntN(12)
		m.crashWithin(n)
		return fmt.Sprintf("in %d changes of the disk", n), func() {
			m.disarm()
			m.start()
		}, true
	}},
	{"power cut of all", 2, time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		for _, o := range c.machines {
			o.crash(true)
		}
		return "", c.startAll, true
	}},
	{"server stopped", 4, 2 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		m.stop()
		return "", m.start, true
	}},
	{"leader stopped", 3, 2 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		l := c.leader()
		if l == nil {
			return "", nil, false
		}
		l.stop()
		return fmt.Sprintf("server %d", l.id), l.start, true
	}},
	{"data lost", 2, 2 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		for _, o := range c.machines {
			if !o.whole() {
				return "", nil, false // the others must have it all
			}
		}
		m.wipe()
		return "", m.start, true
	}},
	{"freeze", 6, 6 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		p := m.current()
		if p == nil {
			return "", nil, false
		}
		p.net.Freeze(true)
		p.disk.Stall(true)
		return "", func() {
			p.disk.Stall(false)
			p.net.Freeze(false)
		}, true
	}},
	{"cut off", 8, 8 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		return c.partition([]*machine{m}, c.others(m), true, true)
	}},
	{"cut off one way", 8, 6 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		out := c.random.IntN(2) == 0
		return c.partition([]*machine{m}, c.others(m), out, !out)
	}},
	{"partition", 5, 6 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		all := slices.Clone(c.machines)
		c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		k := 1 + c.random.IntN(len(all)-1)
		return c.partition(all[:k], all[k:], true, true)
	}},
	{"link cut", 6, 6 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		o := c.other(m)
		return c.partition([]*machine{m}, []*machine{o}, true, c.random.IntN(2) == 0)
	}},
	{"connections reset", 10, 0, func(c *cluster, m *machine) (string, func(), bool) {
		o := c.other(m)
		c.net.Reset(m.ip, o.ip)
		return fmt.Sprintf("to server %d", o.id), nil, true
	}},
	{"clients reset", 5, 0, func(c *cluster, m *machine) (string, func(), bool) {
		for _, ip := range c.clients {
			c.net.Reset(ip, m.ip)
		}
		return "", nil, true
	}},
	{"clients cut off", 4, 3 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		for _, ip := range c.clients {
			c.link(ip, m.ip, func(l *sim.Link) { l.Cut = true })
		}
		return "", func() {
			for _, ip := range c.clients {
				c.link(ip, m.ip, func(l *sim.Link) { l.Cut = false })
			}
		}, true
	}},
	{"slow link", 6, 5 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		delay := time.Duration(c.random.Int64N(int64(300 * time.Millisecond)))
		return c.worsen(m, fmt.Sprintf("%v", delay), func(l *sim.Link) { l.Delay, l.Jitter = delay, delay })
	}},
	{"lossy link", 6, 5 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		loss := c.random.Float64() / 2
		return c.worsen(m, fmt.Sprintf("%.2f", loss), func(l *sim.Link) { l.Loss = loss })
	}},
	{"firewall", 5, 4 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		o := c.other(m)
		c.link(o.ip, m.ip, func(l *sim.Link) { l.Refuse = true })
		c.net.Reset(o.ip, m.ip)
		return fmt.Sprintf("against server %d", o.id), func() { c.link(o.ip, m.ip, func(l *sim.Link) { l.Refuse = false }) }, true
	}},
	{"slow disk", 6, 6 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		latency := time.Duration(c.random.Int64N(int64(500 * time.Millisecond)))
		return c.ail(m, fmt.Sprintf("%v", latency), func(f *sim.Faults) { f.Latency = latency })
	}},
	{"stalled disk", 6, 13 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		p := m.current()
		if p == nil {
			return "", nil, false
		}
		p.disk.Stall(true)
		return "", func() { p.disk.Stall(false) }, true
	}},
	{"failing disk", 5, 3 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		chance := c.random.Float64() / 3
		return c.ail(m, fmt.Sprintf("%.2f", chance), func(f *sim.Faults) { f.Failing = chance })
	}},
	{"full disk", 5, 4 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		return c.ail(m, "", func(f *sim.Faults) { f.Full = true })
	}},
	{"connections stall", 5, 0, func(c *cluster, m *machine) (string, func(), bool) {
		o := c.other(m)
		d := time.Duration(c.random.Int64N(int64(3 * time.Second)))
		c.net.Stall(m.ip, o.ip, d)
		return fmt.Sprintf("to server %d for %v", o.id, d.Round(time.Millisecond)), nil, true
	}},
	{"late answers", 4, 3 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		return c.lateAnswers()
	}},
	{"power cut at a vote", 4, 3 * time.Second, func(c *cluster, m *machine) (string, func(), bool) {
		return c.cutAtVote()
	}},
	{"clock jump", 5, 0, func(c *cluster, m *machine) (string, func(), bool) {
		by := time.Duration(c.random.Int64N(int64(2*time.Hour))) - time.Hour
		if c.random.IntN(2) == 0 {
			by /= 3600
		}
		drift := (c.random.Float64() - 0.5) / 5
		m.clock.adjust(by, drift)
		return fmt.Sprintf("by %v, then %+.2f", by.Round(time.Millisecond), drift), nil, true
	}},
}

// leader is a machine whose server takes itself for the leader; nil without one.
func (c *cluster) leader() *machine {
	for _, m := range c.machines {
		if m.leads() {
			return m
		}
	}
	return nil
}

func (c *cluster) others(m *machine) []*machine {
	return slices.DeleteFunc(slices.Clone(c.machines), func(o *machine) bool { return o == m })
}

func (c *cluster) other(m *machine) *machine {
	others := c.others(m)
	return others[c.random.IntN(len(others))]
}

func (c *cluster) link(from, to string, change func(*sim.Link)) { c.net.Set(from, to, change) }

// partition cuts what goes from some machines to others, or comes from them.
func (c *cluster) partition(some, others []*machine, out, in bool) (string, func(), bool) {
	set := func(cut bool) {
		for _, a := range some {
			for _, b := range others {
				if out {
					c.link(a.ip, b.ip, func(l *sim.Link) { l.Cut = cut })
				}
				if in {
					c.link(b.ip, a.ip, func(l *sim.Link) { l.Cut = cut })
				}
			}
		}
	}
	set(true)
	detail := ""
	for _, a := range some {
		detail += fmt.Sprintf("%d ", a.id)
	}
	detail += map[bool]string{true: "<", false: ""}[in] + "-" + map[bool]string{true: ">", false: ""}[out]
	for _, b := range others {
		detail += fmt.Sprintf(" %d", b.id)
	}
	return detail, func() { set(false) }, true
}

// worsen changes the links of a machine to some of the others.
func (c *cluster) worsen(m *machine, detail string, change func(*sim.Link)) (string, func(), bool) {
	some := c.others(m)
	c.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	some = some[:1+c.random.IntN(len(some))]
	out, in := c.random.IntN(3) > 0, c.random.IntN(3) > 0
	set := func(change func(*sim.Link)) {
		for _, o := range some {
			if out {
				c.link(m.ip, o.ip, change)
			}
			if in || !out {
				c.link(o.ip, m.ip, change)
			}
		}
	}
	set(change)
	return detail, func() {
		set(func(l *sim.Link) { l.Delay, l.Jitter, l.Loss = standard.Delay, standard.Jitter, 0 })
	}, true
}

// lateAnswers keeps a leader in office by answers that the others gave long ago,
// while they do not hear from it any more: they elect another, of whom it hears
// by new connections, by one of them sooner than by the other.
func (c *cluster) lateAnswers() (string, func(), bool) {
	l := c.leader()
	if l == nil {
		return "", nil, false
	}
	late := time.Second + time.Duration(c.random.Int64N(int64(800*time.Millisecond)))
	deaf := time.Second + time.Duration(c.random.Int64N(int64(time.Second)))
	c.later(0, func() {
		// Each step is shorter than a leader's lease.
		for d := time.Duration(0); d < late; d += 50 * time.Millisecond {
			for _, o := range c.others(l) {
				c.net.Lag(o.ip, l.ip, d)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, o := range c.others(l) {
			c.net.Stall(l.ip, o.ip, deaf)
			c.link(o.ip, l.ip, func(l *sim.Link) { l.Jitter = 300 * time.Millisecond })
		}
		time.Sleep(deaf)
		for _, o := range c.others(l) {
			c.net.Lag(o.ip, l.ip, 0)
			c.link(o.ip, l.ip, func(l *sim.Link) { l.Jitter = standard.Jitter })
		}
	})
	return fmt.Sprintf("to the leader, %d, by %v, then it is not heard for %v", l.id, late, deaf), func() {}, true
}

// cutAtVote kills the leader, of which another server has written little lately,
// and cuts the power of a third while it writes its vote.
func (c *cluster) cutAtVote() (string, func(), bool) {
	l := c.leader()
	if l == nil {
		return "", nil, false
	}
	others := c.others(l)
	c.random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	behind, voter := others[0], others[1]
	n := 2 + c.random.IntN(2)
	lag := time.Duration(c.random.Int64N(int64(500 * time.Millisecond)))
	back := time.Duration(c.random.Int64N(int64(400 * time.Millisecond)))
	behind.onDisk(func(d *sim.Disk) { d.Ail(func(f *sim.Faults) { f.Latency = 2 * lag }) })
	c.later(lag, func() {
		l.crash(false)
		voter.crashWithin(n)
		behind.onDisk((*sim.Disk).Heal)
		time.Sleep(back)
		voter.start()
		time.Sleep(1500 * time.Millisecond) // the others elect one of themselves
		voter.disarm()
		voter.start()
		l.start()
	})
	return fmt.Sprintf("the leader, %d, is killed after %v, server %d being behind; server %d in %d changes, for %v", l.id, lag, behind.id, voter.id, n, back), func() {}, true
}

// ail gives the disk of a machine something.
func (c *cluster) ail(m *machine, detail string, change func(*sim.Faults)) (string, func(), bool) {
	m.onDisk(func(d *sim.Disk) { d.Ail(change) })
	return detail, func() { m.onDisk((*sim.Disk).Heal) }, true
}

// disarm takes a trap away that has not sprung.
func (m *machine) disarm() { m.onDisk(func(d *sim.Disk) { d.Trap(0, nil) }) }

func (m *machine) onDisk(do func(*sim.Disk)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(m.disk)
}

// strike makes one fault, by chance at the leader.
func (c *cluster) strike() {
	total := 0
	for _, f := range c.faults {
		total += f.weight
	}
	for {
		at := c.random.IntN(total)
		i := slices.IndexFunc(c.faults, func(f fault) bool {
			at -= f.weight
			return at < 0
		})
		f := c.faults[i]
		m := c.machines[c.random.IntN(len(c.machines))]
		if l := c.leader(); l != nil && c.random.IntN(3) == 0 {
			m = l
		}
		detail, end, ok := f.do(c, m)
		if !ok {
			continue
		}
		c.struck(f.name)
		if end == nil {
			c.say("%s: server %d %s", f.name, m.id, detail)
			return
		}
		// Most are short: two of a kind of chance.
		spell := time.Duration(float64(f.spell) * c.random.Float64() * c.random.Float64())
		c.say("%s: server %d %s, for %v", f.name, m.id, detail, spell.Round(time.Millisecond))
		c.later(spell, end)
		return
	}
}
