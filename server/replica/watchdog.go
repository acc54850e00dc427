package replica

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// watchEvery is how often the disk's writes are looked at.
	watchEvery = 100 * time.Millisecond
	// stallLimit is how long a write may take before the disk is said to
	// stall, and a leader gives up its place.
	stallLimit = time.Second
	// stallFatal is how long it may take before the process ends: its clients
	// then find a server that works.
	stallFatal = 10 * time.Second
	// handOverTimeout bounds the wait for one server to take the leader's place.
	handOverTimeout = time.Second
)

// Fault says what keeps this server from writing its log or its votes, as a
// full or stalled disk; "" if nothing does. Reads go on meanwhile.
func (r *Replica) Fault() string {
	if f := r.fault.Load(); f != nil {
		return *f
	}
	c := r.current.Load()
	if err := c.storage.Stable.Refused(); err != nil {
		return "stable store: " + err.Error()
	}
	if store, d := c.stalled(); d > stallLimit {
		return fmt.Sprintf("%s: a write has been under way for %v", store, d.Round(time.Second))
	}
	return ""
}

// stalled returns which store's write has been under way for longer, and how
// long.
func (c *core) stalled() (store string, d time.Duration) {
	log, stable := c.storage.Logs.Stalled(), c.storage.Stable.Stalled()
	if log >= stable {
		return "log store", log
	}
	return "stable store", stable
}

// watch looks after writes that neither end nor fail, until Shutdown.
// hashicorp/raft stands still then, and a leader goes on with its heartbeats,
// so that nobody takes its place (hashicorp/raft#683).
func (r *Replica) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	said := "" // the fault as it was logged; "" for none
	for {
		select {
		case <-tick.C:
		case <-r.stop:
			return
		}
		c := r.current.Load()
		if c.isDown() {
			continue // rebuild tells of it
		}
		store, d := c.stalled()
		refused := c.storage.Stable.Refused()
		switch {
		case said == "" && d > stallLimit:
			said = store
			r.logger.Error("the disk does not take a write: no part in writes until it does, reads go on", "store", store, "for", d, "error", refused)
		case said != "" && d == 0:
			r.logger.Info("the disk takes writes again", "store", said)
			said = ""
		}
		r.giveUp(c, d)
		// A full disk refuses; only one that does not answer is given up.
		stuck := store == "stable store" || c.raft.State() == raft.Leader || c.storage.Logs.Taken() != 0
		if d > stallFatal && refused == nil && stuck && len(c.others()) > 0 {
			r.die(fmt.Errorf("%s: a write has been under way for %v: the disk hangs", store, d.Round(time.Second)))
		}
	}
}

// giveUp hands a leader's place over if its disk has stalled for d. From then
// on it must not reach its followers: Raft would go on where it stands once the
// disk is back. It steps down instead, for want of a quorum or for a higher
// term.
func (r *Replica) giveUp(c *core, d time.Duration) {
	leads := c.raft.State() == raft.Leader
	switch {
	case c.gaveUp.Load() && !leads:
		c.transport.DropAppends(false)
		c.gaveUp.Store(false)
	case leads && !c.gaveUp.Load() && d > stallLimit && r.handOver(c):
		c.gaveUp.Store(true)
		r.leaderChanged()
		r.tell(false)
		r.gaveUp()
	}
}

// others returns the other voters.
func (c *core) others() []raft.ServerID {
	var ids []raft.ServerID
	for _, s := range c.servers() {
		if s.Suffrage == raft.Voter && s.ID != c.transport.id {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (c *core) servers() []raft.Server {
	f := c.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// handOver has the most advanced of the other voters stand for election at
// once, and keeps this leader's entries and heartbeats from the others. It
// reports whether one took the word; if not, nothing has changed. This server's
// own vote is not to be had, so the others must be a quorum.
func (r *Replica) handOver(c *core) bool {
	if r.peers == nil {
		return false
	}
	voters := make(map[uint8]raft.Server)
	for _, s := range c.servers() {
		if s.Suffrage == raft.Voter {
			voters[memberID(s.ID)] = s
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var heard []Survivor
	for s := range r.peers.Ask(ctx, r.id) {
		if _, known := voters[s.ID]; known && s.Voter && s.ID != r.id {
			heard = append(heard, s)
		}
	}
	if len(heard) < len(voters)/2+1 {
		return false
	}
	slices.SortFunc(heard, func(a, b Survivor) int {
		return cmp.Or(cmp.Compare(b.LastTerm, a.LastTerm), cmp.Compare(b.LastIndex, a.LastIndex), cmp.Compare(a.ID, b.ID))
	})
	c.transport.DropAppends(true)
	for _, s := range heard {
		if err := c.askToStand(voters[s.ID]); err != nil {
			r.logger.Warn("could not hand leadership over", "peer", s.ID, "error", err)
			continue
		}
		r.logger.Info("leadership handed over for want of a disk", "peer", s.ID)
		return true
	}
	c.transport.DropAppends(false)
	return false
}

func (c *core) askToStand(s raft.Server) error {
	done := make(chan error, 1)
	go func() { done <- c.transport.SendTimeoutNow(s.ID, s.Address) }()
	select {
	case err := <-done:
		return err
	case <-time.After(handOverTimeout):
		return fmt.Errorf("no answer within %v", handOverTimeout)
	}
}
