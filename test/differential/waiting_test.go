//go:build differential

package differential

import (
	"fmt"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Containers, TTL nodes and the ephemerals of silent sessions go by themselves.
// A program with waits lets them go between its steps: servers look for them
// every checkInterval, and a wait ends just after such a look, with nothing
// left that could go. Until the next look there is time for some requests.
const (
	checkInterval = 500 * time.Millisecond
	expiryTick    = 250 * time.Millisecond
	// busyFor is how long requests may take between two waits: both the next
	// look and the end of a silent session must lie behind.
	busyFor = 400 * time.Millisecond
	// silence ends a session with shortTimeout that was busy before.
	silence = shortTimeout*time.Millisecond + 3*expiryTick
)

// lifeSettings are the lines that go with it. ZooKeeper takes those of the
// containers as JVM properties.
func lifeSettings(neverUsed string) []string {
	return []string{"tickTime=250", fmt.Sprintf("minSessionTimeout=%d", shortTimeout), "maxSessionTimeout=60000", "initLimit=60", "syncLimit=60",
		"znode.container.checkIntervalMs=500", "znode.container.maxPerMinute=600000", "znode.container.maxNeverUsedIntervalMs=" + neverUsed}
}

// wait lets go what goes by itself.
func (r *runner) wait(step int) error {
	began := time.Now()
	if began.Sub(r.resumed) > busyFor {
		r.out.stalled = true
	}
	err := r.between(func() error {
		for _, st := range r.streams { // their silence begins now
			r.drain(st, -1)
		}
		if r.brief {
			time.Sleep(silence)
			r.brief = false
		}
		if err := r.settle(); err != nil {
			return err
		}
		for _, st := range r.streams {
			r.drain(st, step)
		}
		return nil
	})
	r.resumed = time.Now()
	return err
}

// between does something that takes zxids in an order, or a number, of a
// server's own.
func (r *runner) between(do func() error) error {
	from, err := r.mark()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	to, err := r.mark()
	if err != nil {
		return err
	}
	r.out.windows = append(r.out.windows, window{from, to - 1})
	r.last = max(r.last, to)
	return nil
}

// mark takes a zxid and changes nothing: whatever comes later shows at least
// this one, on all sides.
func (s *side) mark() (int64, error) {
	h, err := s.super.ask(protocol.OpDelete, &protocol.DeleteRequest{Path: "/zookeeper/none", Version: protocol.AnyVersion})
	return h.Zxid, err
}

// settle returns just after the servers have looked for containers, and have
// found none but one of its own. A container inside another takes a look more
// than the one around it.
func (s *side) settle() error {
	const canary, child = "/zookeeper/canary", "/zookeeper/canary/x"
	for range 3 {
		for _, request := range []struct {
			op   protocol.OpCode
			body protocol.Record
		}{
			{protocol.OpCreateContainer, &protocol.CreateRequest{Path: canary, ACL: protocol.WorldAnyone, Mode: protocol.Container}},
			{protocol.OpCreate, &protocol.CreateRequest{Path: child, ACL: protocol.WorldAnyone}},
			{protocol.OpDelete, &protocol.DeleteRequest{Path: child, Version: protocol.AnyVersion}},
		} {
			h, err := s.super.ask(request.op, request.body)
			if h.Err == protocol.NoNode {
				break // it may go before it has its child
			}
			if err == nil && h.Err != 0 {
				err = h.Err
			}
			if err != nil {
				return fmt.Errorf("%v of a container to wait for: %w", request.op, err)
			}
		}
		for deadline := time.Now().Add(20 * checkInterval); ; {
			h, err := s.super.ask(protocol.OpExists, &protocol.PathWatchRequest{Path: canary})
			if err != nil {
				return err
			}
			if h.Err == protocol.NoNode {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("no look for containers within %v", 20*checkInterval)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// stallFor makes requests late where lateAfter is the limit; stopWithin is how
// long a process runs on after it was told to stop.
const (
	stopWithin = 100 * time.Millisecond
	stallFor   = 600 * time.Millisecond
	lateAfter  = 250 * time.Millisecond
)

// stall sends what is queued while the leader stands still, and reads the
// answers.
func (r *runner) stall(st *stream) error {
	resume, err := r.leader.Suspend()
	if err != nil {
		return err
	}
	time.Sleep(stopWithin)
	st.w.Flush() // an error shows below
	time.Sleep(stallFor)
	if err := resume(); err != nil {
		return err
	}
	r.collect(st)
	return nil
}
