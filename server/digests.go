package server

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coordd/coordd/fsm"
)

// compareInterval is how often the leader lets the servers compare their
// states, if there was anything to change them.
const compareInterval = 10 * time.Second

// comparison is what the leader hears of the voters' states at one mark. Safe
// for concurrent use.
type comparison struct {
	voters []uint8

	mu   sync.Mutex
	at   uint64           // the mark's number; 0 before the first. Guarded by mu.
	said map[uint8]uint64 // the voters' digests there; guarded by mu
}

// begin starts over at a new mark.
func (c *comparison) begin(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.said = number, map[uint8]uint64{}
}

// hear takes a server's digest in. Once most voters agree and one differs it
// returns what they agree on. It reports a tie when all have spoken and there
// is no majority.
func (c *comparison) hear(server uint8, at fsm.Mark) (most uint64, decided, tied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A server whose state a snapshot has replaced may speak of no mark.
	if at.Number == 0 || at.Number != c.at || !slices.Contains(c.voters, server) {
		return 0, false, false
	}
	c.said[server] = at.Digest
	agree := map[uint64]int{}
	for _, d := range c.said {
		agree[d]++
	}
	for d, n := range agree {
		if n > len(c.voters)/2 {
			return d, len(agree) > 1, false
		}
	}
	return 0, false, len(c.said) == len(c.voters)
}

// compare logs a mark now and then while l lasts.
func (l *reign) compare() {
	tick := time.NewTicker(compareInterval)
	defer tick.Stop()
	marked := uint64(0) // index applied when the last mark was logged
	for {
		select {
		case <-tick.C:
		case <-l.done:
			return
		}
		_, applied := l.s.replica.Indexes()
		if applied <= marked+1 {
			continue // there was nothing but that mark
		}
		marked = applied
		number := max(randomNumber(), 1)
		l.digests.begin(number)
		l.add(0, 16, func(e *fsm.EntryBuilder) { e.Mark(number) })
	}
}

// hear takes in what server's state was at a mark. The servers that differ from
// most find out by the entry that follows, and end.
func (l *reign) hear(server uint8, at fsm.Mark) {
	most, decided, tied := l.digests.hear(server, at)
	switch {
	case decided:
		l.s.log.Error("the servers' states differ: the minority ends", "digest", fmt.Sprintf("%016x", most))
		l.add(0, 32, func(e *fsm.EntryBuilder) { e.Verdict(at.Number, most) })
	case tied:
		l.s.metrics.DigestMismatches.Inc()
		l.s.log.Error("the servers' states differ, and there is no majority: compare their data, and empty the directories of those that are wrong")
	}
}

// compare tells the leader of this server's state at a new mark, and ends this
// server when the others have found it to be wrong. It runs in apply.
func (k *sink) compare(m *fsm.Machine) {
	if at := m.Mark(); at != k.mark {
		k.mark = at
		k.s.forwarder.digest(at)
	}
	if v := m.Verdict(); v != k.verdict {
		k.verdict = v
		k.s.metrics.DigestMismatches.Inc()
		if k.mark.Number == v.Number && k.mark.Digest != v.Digest {
			k.s.fail(fmt.Errorf("this server's state differs from that of the others (digest %016x, theirs %016x): if it does so again after a restart, empty its data and log directories and start it; it then joins again as a new member", k.mark.Digest, v.Digest))
		}
	}
}
