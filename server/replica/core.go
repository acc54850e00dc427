package replica

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// core is one life of Raft, from the opening of its stores to their closing. A
// failed write of the log ends it: the library's idea of its last index is then
// wrong (hashicorp/raft#612). What it knew can still be asked of it.
type core struct {
	raft      *raft.Raft
	transport *Transport
	storage   Storage
	notify    chan bool             // Raft's word on this server's leadership
	leaders   chan raft.Observation // that Raft knows another leader than before, or none
	down      chan struct{}         // closed when this life ends
	gaveUp    atomic.Bool           // it leads by Raft's word alone: the disk stalls, and another was told to stand

	// passed is the index of the last entry or snapshot that this Raft has
	// given to the machine. Guarded by Replica.mu.
	passed uint64

	mu       sync.Mutex
	failed   error       // the write that ended it; nil at a shutdown. Guarded by mu.
	led      bool        // it led when that write failed; guarded by mu
	shutdown raft.Future // Raft's end; nil while it runs. Guarded by mu.

	closing  sync.Once
	closeErr error
}

// start opens the wire and starts Raft on s, which it closes if it fails.
func (r *Replica) start(s Storage) error {
	wire, pool, err := r.openWire()
	if err != nil {
		return errors.Join(fmt.Errorf("open raft's transport: %w", err), s.Close())
	}
	c := &core{
		transport: NewTransport(wire, serverID(r.id), pool, s.Stable),
		storage:   s,
		notify:    make(chan bool, 1),
		leaders:   make(chan raft.Observation, 1),
		down:      make(chan struct{}),
	}
	s.Logs.OnFailure(c.fail)
	c.transport.OnSnapshotSent(func(took time.Duration, err error) { r.snapshot(SnapshotSent, took, err) })
	r.joinMu.Lock()
	c.setJoining(r.joining)
	r.latest = c
	r.joinMu.Unlock()
	conf := r.config
	conf.NotifyCh = c.notify
	library, err := raft.NewRaft(&conf, &machineFSM{r, c}, s.Logs, s.Stable, indexedSnapshots{s.Snapshots, s.Logs, c.down}, c.transport)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), c.transport.Close(), s.Close())
	}
	library.RegisterObserver(raft.NewObserver(c.leaders, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	c.mu.Lock()
	c.raft = library
	if c.failed != nil {
		c.shutdown = library.Shutdown()
	}
	c.mu.Unlock()
	c.transport.Attach(library, s.Logs, c.fail)
	s.Logs.RunAhead(func() []raft.ServerID {
		if library.State() != raft.Leader || planted(PlantNoGuardD) {
			return nil
		}
		return c.others()
	})
	r.current.Store(c)
	r.workers.Go(func() { r.tellTerms(c) })
	return nil
}

// fail ends Raft for a failed write of the log. It runs before Raft hears of
// the error, so that Raft does nothing more on a last index that is wrong.
func (c *core) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDown() {
		return
	}
	c.failed = err
	// Nobody's log is to grow while one is asked to take over.
	c.transport.DropAppends(true)
	if c.raft != nil {
		c.led = c.raft.State() == raft.Leader
		c.shutdown = c.raft.Shutdown()
	}
	close(c.down)
}

// end ends Raft for good; it does not wait for it.
func (c *core) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDown() {
		return
	}
	c.shutdown = c.raft.Shutdown()
	close(c.down)
}

// isDown reports whether this life is over.
func (c *core) isDown() bool {
	select {
	case <-c.down:
		return true
	default:
		return false
	}
}

// close waits for the end of Raft and closes transport and stores. Raft may
// take its time: as long as a write takes, or as a full disk refuses its term.
func (c *core) close() error {
	c.closing.Do(func() {
		c.end()
		// First the transport: the others need not wait for an answer, nor
		// Raft for theirs.
		err := c.transport.Close()
		c.mu.Lock()
		shutdown := c.shutdown
		c.mu.Unlock()
		c.closeErr = errors.Join(err, shutdown.Error(), c.storage.Close())
	})
	return c.closeErr
}

// Close closes log and stable store.
func (s Storage) Close() error { return errors.Join(s.Logs.Close(), s.Stable.Close()) }

func (c *core) setJoining(number uint64) {
	c.transport.SetJoining(number)
	c.storage.Stable.SetJoining(number)
}

// leads reports whether Raft leads and has not given up.
func (c *core) leads() bool {
	return !c.isDown() && !c.gaveUp.Load() && c.raft.State() == raft.Leader
}

// run asks Raft for something and waits for its answer.
func (c *core) run(ask func(*raft.Raft) raft.Future, limit time.Duration) error {
	if c.isDown() {
		return raft.ErrRaftShutdown
	}
	return c.await(ask(c.raft), limit)
}

// await waits for f, but no longer than this life: the library forgets some of
// its futures when it shuts down. limit 0 means no other limit.
func (c *core) await(f raft.Future, limit time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	var late <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	select {
	case err := <-done:
		return err
	case <-c.down:
		return raft.ErrRaftShutdown
	case <-late:
		return raft.ErrEnqueueTimeout
	}
}

// proposal is a Future.
type proposal struct {
	c *core
	f raft.ApplyFuture // nil: it was not taken
}

// Error implements Future.
func (p proposal) Error() error {
	if p.f == nil {
		return raft.ErrRaftShutdown
	}
	return p.c.await(p.f, 0)
}

// tellTerms passes on what c says of this server's leadership, until c ends,
// and with it its leadership.
func (r *Replica) tellTerms(c *core) {
	leads := false
	for {
		select {
		case leads = <-c.notify:
			r.tell(leads)
		case <-c.leaders:
			r.leaderChanged()
		case <-c.down:
			r.leaderChanged()
			if leads {
				r.tell(false)
			}
			return
		}
	}
}

func (r *Replica) tell(leads bool) {
	select {
	case r.terms <- leads:
	case <-r.stop:
	}
}
