package server

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/watch"
)

// sink is the Server as the state machine's listener. Its methods run on the
// apply goroutine, under the replica's write lock; the fields are its own.
type sink struct {
	s       *Server
	writes  []*write // of the batch being applied
	dirty   []*conn  // have something to send once the entry is applied
	closing []*conn  // to be closed then

	mark, verdict fsm.Mark // the last ones seen
	begun         bool     // this process's begin is applied
}

// Batch implements fsm.Sink.
func (k *sink) Batch(id fsm.BatchID, n int, v fsm.Verdict, code protocol.ErrCode) bool {
	k.writes = nil
	if v == fsm.Accepted || v == fsm.RefusedBatch {
		k.committed(n)
	}
	if id.Server != k.s.id {
		return false
	}
	switch v {
	case fsm.Duplicate:
		k.s.metrics.BatchesDuplicate.Add(1)
	case fsm.Gap:
		k.s.metrics.BatchesGap.Add(1)
		k.s.forwarder.gap(id)
	case fsm.Accepted:
		k.writes = k.s.forwarder.applied(id)
		return k.writes != nil
	case fsm.RefusedBatch:
		zxid := k.s.replica.Machine().Zxid()
		for _, w := range k.s.forwarder.applied(id) {
			w.done(&fsm.Result{Zxid: zxid, Err: code})
		}
	}
	return false
}

// Result implements fsm.Sink.
func (k *sink) Result(i int, r *fsm.Result) {
	if i < len(k.writes) {
		k.writes[i].done(r)
	}
}

// Event implements fsm.Sink.
func (k *sink) Event(e *fsm.Event) {
	watchers := k.s.watches.Dispatch(&watch.Event{Type: e.Type, Path: e.Path, Zxid: e.Zxid, ACL: e.ACL})
	k.countEvent(e, int64(watchers))
}

// countEvent counts a change and who watched it. What is written is counted on
// every server, as in ZooKeeper (DataTree.updateWriteStat).
func (k *sink) countEvent(e *fsm.Event, watchers int64) {
	s := k.s.metrics
	fired := &s.NodeChildrenWatches
	switch e.Type {
	case protocol.NodeCreated:
		fired = &s.NodeCreatedWatches
	case protocol.NodeDeleted:
		fired = &s.NodeDeletedWatches
	case protocol.NodeDataChanged:
		fired = &s.NodeChangedWatches
	}
	if watchers > 0 {
		fired.Observe(watchers)
	}
	if e.Type == protocol.NodeChildrenChanged {
		return // there is another event for what was written
	}
	if name := namespace(e.Path); name != "" {
		s.WritePerNamespace.Observe(name, int64(len(e.Path)+e.Written))
	}
}

// committed counts n writes of a batch.
func (k *sink) committed(n int) {
	s := k.s.metrics
	s.CommitsQueued.Add(int64(n))
	if k.s.currentReign() != nil {
		s.Commits.Add(int64(n))
	} else {
		s.CommitsAsFollower.Add(int64(n))
	}
}

// SessionOpened implements fsm.Sink: a session was made or attached, here or
// elsewhere. A connection that held it before loses it, without a reply.
func (k *sink) SessionOpened(id int64, timeoutMs int32, owner uint8, epoch uint32) {
	k.s.tracker.Open(id, time.Duration(timeoutMs)*time.Millisecond, epoch)
	if epoch > 1 && k.s.currentReign() != nil {
		k.s.metrics.Revalidations.Inc()
	}
	if c := k.s.owner(id); c != nil && epoch > 1 { // at 1 it was a local session until now
		c.mu.Lock()
		c.finishLocked()
		c.mu.Unlock()
		k.closing = append(k.closing, c)
	}
}

// SessionClosed implements fsm.Sink. The connection ends once the entry is
// applied: if it asked for this, its reply is still to come.
func (k *sink) SessionClosed(id int64) {
	k.s.tracker.Close(id)
	if c := k.s.owner(id); c != nil {
		k.closing = append(k.closing, c)
	}
}

// Began implements fsm.Sink.
func (k *sink) Began(server uint8, incarnation, nonce uint64, taken bool) {
	if server != k.s.id {
		return
	}
	stored, _, _ := k.s.replica.Machine().Stream(server)
	k.begun = k.begun || taken && nonce == k.s.forwarder.nonce
	if !k.s.forwarder.began(incarnation, nonce, taken, stored) {
		k.s.fail(fmt.Errorf("another process has started as server %d: two servers have the same myid", server))
	}
}

// Admitted implements fsm.Sink. The server itself looks at the state, which a
// snapshot may have brought.
func (k *sink) Admitted(server uint8, number uint64) {
	k.s.log.Info("server admitted", "peer", server, "number", number)
}

// ClusterID implements fsm.Sink.
func (k *sink) ClusterID(id [16]byte) { k.s.learnCluster(id) }

// Entry implements replica.Sink.
func (k *sink) Entry(m *fsm.Machine) {
	k.s.metrics.Entries.Inc()
	if ms := k.s.host.Now().UnixMilli() - m.TimeMs(); ms >= 0 && k.begun { // what a restart replays is old
		k.s.metrics.PropagationLatency.Observe(ms)
	}
	for _, c := range k.closing {
		c.mu.Lock()
		c.finishLocked()
		c.mu.Unlock()
		k.s.markDirty(c)
	}
	k.closing = k.closing[:0]
	k.compare(m)
}

// Restored implements replica.Sink: events and results are lost, so every
// client connects again and catches up by setWatches.
func (k *sink) Restored(m *fsm.Machine) {
	k.resume(m)
	k.s.learnCluster(m.ClusterID())
	conns := k.s.connections()
	go func() {
		for _, c := range conns {
			c.close()
		}
	}()
}

// resume lets the forwarder go on from a restored state.
func (k *sink) resume(m *fsm.Machine) {
	incarnation, nonce, last := m.Stream(k.s.id)
	k.s.forwarder.restored(incarnation, nonce, last)
}

// Applied implements replica.Sink: what was queued goes to the sockets, off
// the apply goroutine, and what gathered meanwhile to the leader.
func (k *sink) Applied() {
	k.s.forwarder.flush()
	if t := k.s.throttle; t != nil {
		t.wake()
	}
	for i, c := range k.dirty {
		c.dirty = false
		go c.flush()
		k.dirty[i] = nil
	}
	k.dirty = k.dirty[:0]
}

// markDirty notes that c has something to send when the entry is applied. It
// runs in apply.
func (s *Server) markDirty(c *conn) {
	if !c.dirty {
		c.dirty = true
		s.sink.dirty = append(s.sink.dirty, c)
	}
}
