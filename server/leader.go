package server

import (
	"sync"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/replica"
)

const (
	// entriesUnderWay is how many proposed entries the leader overlaps, each at
	// least overlapAfter behind the one before. Within that time batches gather:
	// an entry costs every server a write of its disk and some system calls,
	// whatever its size. Beyond, it is the way to the other servers that takes
	// long, and waiting for it again and again would only add to that.
	entriesUnderWay = 4
	overlapAfter    = 5 * time.Millisecond
	// entryBytes bounds one entry, but for a single batch that is larger.
	entryBytes = 512 << 10
	// maxEntryBytes is the largest batch that enters the log; a larger one is
	// logged as a refusal under its number.
	maxEntryBytes = 32 << 20
)

// reign is this server's leadership in one term. Whatever it carries is
// proposed by one goroutine, in order; any error of Apply ends it, and with it
// all its streams, whose origins then send again to whoever leads.
type reign struct {
	s    *Server
	term uint64

	mu    sync.Mutex
	queue []item // guarded by mu
	wake  chan struct{}
	done  chan struct{} // closed at the end

	origins map[uint8]bool // whose batches were proposed since commits were announced; run's own
	once    sync.Once

	digests comparison
}

// item is something to put into an entry, its size in bytes, and the server that
// waits for it; 0 for none.
type item struct {
	add  func(e *fsm.EntryBuilder)
	size int
	from uint8
}

// proposed is an entry under way.
type proposed struct {
	replica.Future
	at time.Time
}

func newReign(s *Server, term uint64) *reign {
	l := &reign{s: s, term: term, wake: make(chan struct{}, 1), done: make(chan struct{}), origins: make(map[uint8]bool)}
	for _, m := range s.cfg.Voters() {
		l.digests.voters = append(l.digests.voters, m.ID)
	}
	return l
}

// end ends the reign; its streams close by done.
func (l *reign) end() { l.once.Do(func() { close(l.done) }) }

func (l *reign) over() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// add queues something of size bytes for the next entry; server from, or nobody
// if that is 0, waits for it.
func (l *reign) add(from uint8, size int, fn func(e *fsm.EntryBuilder)) {
	l.mu.Lock()
	l.queue = append(l.queue, item{fn, size, from})
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// batch queues a batch's bytes. One that cannot be taken is refused under its
// number, so that it blocks nothing. It reports false for bytes that are no
// batch of member.
func (l *reign) batch(member uint8, p []byte) bool {
	id, n, err := fsm.PeekBatch(p)
	if id.Server != member {
		return false
	}
	if err != nil || len(p) > maxEntryBytes {
		l.s.metrics.BatchesRefused.Inc()
		l.s.metrics.Proposals.Add(int64(n))
		l.add(member, 32, func(e *fsm.EntryBuilder) { e.Refuse(id, n, protocol.MarshallingError) })
		return true
	}
	l.s.metrics.Proposals.Add(int64(n))
	l.add(member, len(p), func(e *fsm.EntryBuilder) { e.Batch(p) })
	return true
}

// run proposes what is queued until the reign ends.
func (l *reign) run() {
	slots := make(chan struct{}, entriesUnderWay)
	futures := make(chan proposed, entriesUnderWay)
	landed := make(chan struct{}, 1)
	defer close(futures)
	go func() {
		for f := range futures {
			if err := f.Error(); err != nil {
				l.s.log.Info("leadership ends", "term", l.term, "reason", err)
				l.end()
			} else {
				l.s.metrics.QuorumAckLatency.ObserveSince(f.at)
			}
			<-slots
			select {
			case landed <- struct{}{}:
			default:
			}
		}
	}()
	patience := time.NewTimer(0)
	defer patience.Stop()
	for {
		select {
		case <-l.wake:
		case <-landed:
		case <-l.done:
			return
		}
		for {
			if len(slots) > 0 {
				select {
				case <-landed:
				case <-patience.C:
				case <-l.done:
					return
				}
			}
			select {
			case slots <- struct{}{}:
			case <-l.done:
				return
			}
			entry := l.take(l.s.host.Now().UnixMilli())
			if entry == nil {
				<-slots
				break
			}
			l.s.metrics.ProposalSize.Observe(len(entry))
			futures <- proposed{l.s.replica.Propose(entry), time.Now()}
			patience.Reset(overlapAfter)
		}
		// No next entry tells the others soon of the last one's commit.
		l.s.replica.AnnounceCommit(func(id uint8) bool { return l.origins[id] })
		clear(l.origins)
	}
}

// take makes an entry of what is queued, at a time in milliseconds since the
// Unix epoch; nil when nothing is.
func (l *reign) take(timeMs int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	e := fsm.NewEntry(timeMs)
	n, size := 0, 0
	for n < len(l.queue) && (n == 0 || size+l.queue[n].size <= entryBytes) {
		l.queue[n].add(e)
		size += l.queue[n].size
		l.origins[l.queue[n].from] = true
		l.queue[n].add = nil
		n++
	}
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return e.Bytes()
}

// sendBatch, sendBegin and sendTouch make the reign the upstream of this
// server's own clients.
func (l *reign) sendBatch(p []byte) { l.batch(l.s.id, p) }

func (l *reign) sendBegin(incarnation, nonce uint64) {
	l.add(l.s.id, 32, func(e *fsm.EntryBuilder) { e.Begin(l.s.id, incarnation, nonce) })
}

func (l *reign) sendTouch(seq uint64, sessions []int64) {
	l.s.tracker.Touch(sessions)
	go l.s.touchAcked(seq)
}

func (l *reign) sendDigest(at fsm.Mark) { l.hear(l.s.id, at) }

// lead follows Raft's word on this server's leadership.
func (s *Server) lead() {
	var current *reign
	var last uint64 // term of the last reign
	stop := func() {
		if current != nil {
			current.end()
			s.setReign(nil)
			s.forwarder.closed(current)
			if s.outage != nil {
				s.outage.lost()
			}
			s.tracker.Stop()
			current = nil
		}
	}
	for leads := false; ; {
		var ended chan struct{}
		var again <-chan time.Time
		switch {
		case current != nil:
			ended = current.done
		case leads:
			// Apply failed while Raft still calls us leader: a transfer was
			// given up, or the term is about to end.
			again = time.After(10 * time.Millisecond)
		}
		select {
		case leads = <-s.replica.Terms():
			stop()
			if leads {
				current = s.beginReign(&last)
			}
		case <-again:
			if s.replica.Leads() {
				current = s.beginReign(&last)
			}
		case <-ended:
			stop()
		case <-s.stop:
			stop()
			return
		}
	}
}

// beginReign logs the term's first entry and, once it is applied, opens for
// streams and starts the expiry clock. last is the term of the reign before. It
// returns nil when leadership is gone.
func (s *Server) beginReign(last *uint64) *reign {
	if err := s.replica.Propose(s.firstEntry(s.host.Now().UnixMilli())).Error(); err != nil {
		s.log.Info("did not become leader", "reason", err)
		return nil
	}
	_, term := s.replica.Leader()
	l := newReign(s, term)
	s.log.Info("leading", "term", term)
	s.replica.AnnounceCommit(func(uint8) bool { return true })
	var stored uint64
	// A leader that served has an entry of its term in the log.
	s.startTracker(*last != 0 && s.replica.PreviousTerm() == *last)
	*last = term
	s.replica.View(func(m *fsm.Machine) { stored, _, _ = m.Stream(s.id) })
	go l.run()
	s.setReign(l)
	s.forwarder.open(l, stored)
	if s.outage != nil {
		s.outage.over(true)
	}
	go s.reap(l)
	if !s.cfg.Standalone {
		go s.readmit(l)
		go l.compare()
	}
	return l
}

// firstEntry is what a leader logs first, at a time in milliseconds since the
// Unix epoch.
func (s *Server) firstEntry(timeMs int64) []byte {
	first := fsm.NewEntry(timeMs)
	var fresh bool
	s.replica.View(func(m *fsm.Machine) { fresh = m.ClusterID() == [16]byte{} })
	if fresh {
		first.Cluster(randomID(), s.cfg.DynamicText(s.cfg.ConfigVersion))
	}
	first.Settings(s.settings())
	return first.Bytes()
}

// expire is the tracker's word that a session's time is over.
func (s *Server) expire(id int64, epoch uint32) {
	if l := s.currentReign(); l != nil {
		s.metrics.SessionsExpired.Inc()
		l.add(0, 16, func(e *fsm.EntryBuilder) { e.Expire(id, epoch) })
	}
}

// reap removes containers and TTL nodes that are due, while l lasts
// (ContainerManager).
func (s *Server) reap(l *reign) {
	c := s.cfg.Container
	if c.CheckInterval <= 0 {
		return
	}
	tick := time.NewTicker(c.CheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.done:
			return
		}
		most := max(1, int(float64(c.MaxPerMinute)*c.CheckInterval.Minutes()))
		var due []fsm.Reap
		s.replica.View(func(m *fsm.Machine) {
			due = m.Reapable(s.host.Now().UnixMilli(), c.MaxNeverUsedInterval.Milliseconds(), most)
		})
		for _, r := range due {
			l.add(0, len(r.Path)+32, func(e *fsm.EntryBuilder) { e.Reap(r.Path, r.Czxid, r.Mzxid, r.Pzxid) })
		}
	}
}

func (s *Server) settings() fsm.Settings {
	return fsm.Settings{SkipACL: s.cfg.SkipACL, EnforceQuota: s.cfg.EnforceQuota, ExtendedTypes: s.cfg.ExtendedTypesEnabled}
}
