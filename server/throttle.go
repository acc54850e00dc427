package server

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/metrics"
)

// bucket holds the tokens that handshakes take (ZooKeeper's BlueThrottle): so
// many may come at once, and so many in a time. Before it is empty it may drop
// handshakes at random, so that those who always come late get their share.
type bucket struct {
	limits     config.ConnectionThrottle
	size, fill int // tokens when full, and those of each fill time
	metrics    *metrics.Set

	mu     sync.Mutex
	tokens int       // guarded by mu
	filled time.Time // when tokens last came in; guarded by mu
	frozen time.Time // when drop was last looked at; guarded by mu
	drop   float64   // probability; guarded by mu
}

// newBucket is a full bucket, or nil for no limit.
func newBucket(limits config.ConnectionThrottle, m *metrics.Set) *bucket {
	if limits.Tokens == 0 {
		return nil
	}
	b := &bucket{limits: limits, size: limits.Tokens, fill: limits.FillCount, metrics: m, filled: time.Now(), frozen: time.Now()}
	if limits.Weighted {
		b.size *= limits.GlobalWeight
		b.fill *= limits.GlobalWeight
	}
	b.tokens = b.size
	return b
}

// price is how many tokens a handshake takes that renews a session or makes a
// new one, of this server alone if local.
func (b *bucket) price(renews, local bool) int {
	switch {
	case !b.limits.Weighted:
		return 1
	case renews:
		return b.limits.RenewWeight
	case local:
		return b.limits.LocalWeight
	}
	return b.limits.GlobalWeight
}

// take reports whether there were n tokens, which are gone then.
func (b *bucket) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if d := now.Sub(b.filled); d > b.limits.FillTime {
		come := float64(d.Milliseconds()) * float64(b.fill) / float64(b.limits.FillTime.Milliseconds())
		b.tokens += int(math.Min(come, float64(b.size-b.tokens)))
		b.filled = now
	}
	if b.limits.FreezeTime >= 0 {
		b.adjustLocked(now)
		if rand.Float64() < b.drop {
			return false
		}
	}
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	b.metrics.TokenDeficit.Observe(int64(b.size - b.tokens))
	return true
}

// adjustLocked changes the probability of dropping, once in each freeze time.
func (b *bucket) adjustLocked(now time.Time) {
	if now.Sub(b.frozen) <= b.limits.FreezeTime {
		return
	}
	b.frozen = now
	missing := b.size - b.tokens
	switch {
	case missing == b.size:
		b.drop = min(b.drop+b.limits.DropIncrease, 1)
	case float64(missing) <= math.Round(float64(b.size)*b.limits.DecreaseRatio):
		b.drop = max(b.drop-b.limits.DropDecrease, 0)
	}
	b.metrics.DropProbability.Set(b.drop)
}

// largeRequests bounds the bytes of requests above a length that have no answer.
type largeRequests struct {
	threshold, most int64
	held            atomic.Int64
}

// newLargeRequests is nil without a limit.
func newLargeRequests(limits config.Throttle) *largeRequests {
	if limits.LargeThreshold < 0 {
		return nil
	}
	return &largeRequests{threshold: int64(limits.LargeThreshold), most: int64(limits.LargeMaxBytes)}
}

// fits reports whether a request of n bytes would be taken now.
func (l *largeRequests) fits(n int) bool {
	return int64(n) <= l.threshold || l.held.Load()+int64(n) <= l.most
}

// take counts a request of n bytes. It reports false when that is too much.
func (l *largeRequests) take(n int) bool {
	if int64(n) <= l.threshold {
		return true
	}
	if l.held.Add(int64(n)) > l.most {
		l.held.Add(-int64(n))
		return false
	}
	return true
}

// give takes back what take has counted.
func (l *largeRequests) give(n int) {
	if int64(n) > l.threshold {
		l.held.Add(-int64(n))
	}
}

// serveLocked is requestLocked with its bytes counted if it is a large one. As
// in ZooKeeper, only what follows the header counts here.
func (c *conn) serveLocked(m *fsm.Machine, frame []byte, late bool) error {
	l := c.s.large
	if l == nil {
		return c.requestLocked(m, frame, late)
	}
	n := len(frame) - protocol.RequestHeaderSize
	if !l.take(n) {
		c.s.metrics.LargeRejected.Inc()
		return errGone
	}
	c.large = n
	err := c.requestLocked(m, frame, late)
	if c.large != 0 { // nothing waits for it
		l.give(c.large)
		c.large = 0
	}
	return err
}

// throttle lets clients' requests in one by one, first come first served, and
// lets the next one wait while too many travel through the log (ZooKeeper's
// RequestThrottler).
type throttle struct {
	limits  config.Throttle
	metrics *metrics.Set
	stop    chan struct{} // the server's
	turn    chan struct{} // holds one while somebody is next
	landed  chan struct{} // holds one when an entry was applied
}

// newThrottle is nil without a limit.
func newThrottle(limits config.Throttle, m *metrics.Set, stop chan struct{}) *throttle {
	if limits.MaxRequests == 0 {
		return nil
	}
	return &throttle{limits: limits, metrics: m, stop: stop, turn: make(chan struct{}, 1), landed: make(chan struct{}, 1)}
}

// admission is what becomes of a request when its turn comes.
type admission uint8

const (
	admitted admission = iota // it runs; leave must follow
	late                      // it has waited too long to run; leave must follow
	dropped                   // nothing more of this connection runs
)

// enter waits for the turn of a request that came at some time.
func (t *throttle) enter(c *conn, op protocol.OpCode, came time.Time) admission {
	select {
	case t.turn <- struct{}{}:
	case <-t.stop:
		return dropped
	}
	select {
	case <-t.landed: // of another's turn
	default:
	}
	for {
		stale := t.stale(c, op, came)
		if stale && t.limits.DropStale {
			t.metrics.StaleDropped.Inc()
			t.leave()
			c.close()
			return dropped
		}
		// In read-only mode those under way wait for a leader, and no others come.
		if t.metrics.OutstandingRequests.Load() < int64(t.limits.MaxRequests) || c.s.ReadOnly() {
			return t.admit(op, came, stale)
		}
		t.metrics.ThrottleWaits.Inc()
		stall := time.NewTimer(t.limits.StallTime)
		select {
		case <-t.landed:
			stall.Stop()
		case <-stall.C:
		case <-t.stop:
			t.leave()
			return dropped
		}
	}
}

func (t *throttle) admit(op protocol.OpCode, came time.Time, stale bool) admission {
	if stale {
		t.metrics.StaleRequests.Inc()
	}
	waited := time.Since(came)
	t.metrics.ThrottleTime.Observe(waited.Milliseconds())
	row := protocol.Lookup(op)
	valid := row != nil && row.Class != protocol.Refused && op != protocol.OpPing && op != protocol.OpCloseSession
	if most := t.limits.OpWait; valid && most > 0 && waited.Milliseconds() > most.Milliseconds() {
		t.metrics.ThrottledOps.Inc()
		return late
	}
	return admitted
}

// leave lets the next one in.
func (t *throttle) leave() { <-t.turn }

// wake has the next one look again. It never blocks.
func (t *throttle) wake() {
	select {
	case t.landed <- struct{}{}:
	default:
	}
}

// stale is Request.isStale: a session may be closed by whoever is gone already.
func (t *throttle) stale(c *conn, op protocol.OpCode, came time.Time) bool {
	if op == protocol.OpCloseSession {
		return false
	}
	return t.limits.StaleByConnection && c.dead.Load() || t.limits.StaleByLatency && time.Since(came) > c.timeout()
}

// openInTurn is openSession when its turn comes. It reports false for a
// connection that must end.
func (c *conn) openInTurn(req *protocol.ConnectRequest) bool {
	t := c.s.throttle
	if t != nil && t.enter(c, protocol.OpCreateSession, time.Now()) == dropped {
		return false
	}
	c.openSession(req)
	if t != nil {
		t.leave()
	}
	return true
}

// arrival is some frames of a connection that wait for their turns. They wait
// beside the socket, so that its end is seen meanwhile.
type arrival struct {
	frames []byte // complete ones
	at     time.Time
}

// arrivalsAhead bounds what is read of a connection ahead of its turns: each
// arrival is what one read has completed.
const arrivalsAhead = 16

// handOver puts all complete frames of data into the line of this connection,
// and returns the rest.
func (c *conn) handOver(data []byte) (rest []byte, err error) {
	whole := 0
	for {
		frame, _, err := c.s.cut(data[whole:])
		if err != nil {
			return nil, err
		}
		if frame == nil {
			break
		}
		if l := c.s.large; l != nil && !l.take(len(frame)-protocol.RequestHeaderSize) {
			c.s.metrics.LargeRejected.Inc()
			return nil, errGone
		}
		whole += 4 + len(frame)
	}
	if whole > 0 {
		c.s.touch(c)
		c.arrivals <- arrival{append([]byte{}, data[:whole]...), time.Now()}
	}
	return data[whole:], nil
}

// takeTurns serves what was handed over until the connection's reader ends.
func (c *conn) takeTurns() {
	over := false
	for a := range c.arrivals {
		for len(a.frames) > 0 {
			n := binary.BigEndian.Uint32(a.frames)
			frame := a.frames[4 : 4+n]
			a.frames = a.frames[4+n:]
			if !over && !c.takeTurn(frame, a.at) {
				over = true
				c.finish()
			} else if over {
				c.unhold(frame)
			}
		}
	}
}

// unhold takes a frame that waited for its turn off the large ones.
func (c *conn) unhold(frame []byte) {
	if l := c.s.large; l != nil {
		l.give(len(frame) - protocol.RequestHeaderSize)
	}
}

// takeTurn serves one frame in its turn. It reports false when nothing more of
// this connection is to be served.
func (c *conn) takeTurn(frame []byte, came time.Time) bool {
	defer c.flush()
	c.awaitRoom(frame) // a connection that has ended needs none
	verdict, waits := admitted, len(frame) >= protocol.RequestHeaderSize
	if waits {
		op := protocol.OpCode(int32(binary.BigEndian.Uint32(frame[4:])))
		row := protocol.Lookup(op)
		if waits = row == nil || row.Class != protocol.Immediate; waits {
			verdict = c.s.throttle.enter(c, op, came)
		}
	}
	c.unhold(frame)
	if verdict == dropped {
		return false
	}
	var err error
	c.s.replica.View(func(m *fsm.Machine) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fenced = false
		c.now = time.Now()
		err = c.serveLocked(m, frame, verdict == late)
	})
	c.sendGathered()
	if waits {
		c.s.throttle.leave()
	}
	return err == nil
}
