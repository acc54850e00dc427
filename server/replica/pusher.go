package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// pipeline is Raft's append pipeline to one follower, with guard D and a
// second sender that announces commits.
//
// Guard D (hashicorp/raft#611, #612): after one refused response the library
// stops reading a pipeline's answers, but may at that moment wait inside
// AppendEntries for room that only reading them would make; it then waits for
// good, while heartbeats keep the leader in office. Answers are therefore read
// here into a buffered channel until Close, each when its entries are on a
// quorum's disks (see ahead).
//
// An announcement is the message that Raft itself would send at its next
// CommitTimeout: no entries, the last entry sent on this pipeline as the
// previous one, and a new commit index. Its answer goes to Raft like any
// other, and means the same.
type pipeline struct {
	inner raft.AppendPipeline
	t     *Transport
	to    raft.ServerID

	answers   chan raft.AppendFuture
	wake      chan struct{} // buffered 1: look whether there is something to announce
	stop      chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error
	workers   sync.WaitGroup

	turn      patientLock               // held by whoever sends on inner
	last      raft.AppendEntriesRequest // header, term and leader of Raft's last request; no entries. Guarded by turn.
	lastIndex uint64                    // last entry sent, or that Raft says precedes what it sends; 0: unknown. Guarded by turn.
	lastTerm  uint64                    // its term. Guarded by turn.
	told      uint64                    // commit index that the follower has from this pipeline. Guarded by turn.
	broken    bool                      // a send failed; nothing more is sent. Guarded by turn.

	sent atomic.Uint64 // announcements sent, for tests
}

// AppendEntriesPipeline implements raft.Transport; DropAppends makes it fail.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.dropping.Load() {
		return nil, ErrAppendsDropped
	}
	queue := queueLen
	inner, err := t.wire.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	if planted(PlantNoGuardD) {
		queue = 0
	}
	p := &pipeline{
		inner:   inner,
		t:       t,
		to:      id,
		answers: make(chan raft.AppendFuture, queue),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipelines == nil {
		inner.Close()
		return nil, raft.ErrTransportShutdown
	}
	t.pipelines[p] = struct{}{}
	// Before the lock is given back: Close waits for whom it finds.
	p.workers.Go(p.forward)
	p.workers.Go(p.push)
	return p, nil
}

// announceLater is how long followers that wait for nothing are left without the
// news of a commit: most often Raft's next message carries it, and nothing has to
// be sent for it.
const announceLater = time.Millisecond

// AnnounceCommit tells the followers that the log is committed up to index, so
// that they apply it without waiting for Raft's next message: those that waits
// names at once, the others after announceLater. Call it with a committed index
// once it is applied here. It never blocks and does nothing on a server that
// leads nobody, nor when the log goes on past index: then Raft's next message is
// under way and carries the news.
func (t *Transport) AnnounceCommit(index uint64, waits func(raft.ServerID) bool) {
	r := t.raft.Load()
	if r == nil || r.LastIndex() != index {
		return
	}
	for old := t.announced.Load(); old < index; old = t.announced.Load() {
		if t.announced.CompareAndSwap(old, index) {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	later := false
	for p := range t.pipelines {
		if waits(p.to) {
			p.look()
		} else {
			later = true
		}
	}
	if later && !t.announcing {
		t.announcing = true
		time.AfterFunc(announceLater, t.announceToAll)
	}
}

// announceToAll tells those that nobody has told meanwhile.
func (t *Transport) announceToAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.announcing = false
	for p := range t.pipelines {
		p.look()
	}
}

// look wakes the pusher; a wake-up already waiting is enough.
func (p *pipeline) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// forward reads the answers until Close (guard D). The library reads nothing
// after an answer that is no success, so neither is anything kept then.
func (p *pipeline) forward() {
	refused := false
	for {
		if refused && planted(PlantNoGuardD) {
			return
		}
		select {
		case f := <-p.inner.Consumer():
			if refused {
				continue
			}
			// What the library looks at, no more: it never asks for the
			// future's error, as a failed call leaves an empty response.
			refused = !f.Response().Success || f.Response().Term > f.Request().Term
			if !refused && !p.t.backed(p.to, f.Request(), p.stop) {
				return
			}
			select {
			case p.answers <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

// push is the one sender of announcements to this follower.
func (p *pipeline) push() {
	for {
		select {
		case <-p.wake:
			p.announce()
		case <-p.stop:
			return
		}
	}
}

// announce sends the latest announced commit index, if the follower can use
// it: the entry was sent on this pipeline and its commit was not.
func (p *pipeline) announce() {
	defer p.turn.take()()
	commit := p.t.announced.Load()
	switch {
	case p.broken || p.t.dropping.Load():
		return
	case commit > p.lastIndex || commit <= p.told:
		return // too early (AppendEntries looks again) or no news
	}
	// So lastIndex >= commit > 0: a PrevLogEntry of 0 would skip the follower's
	// check of its log, and could commit a tail that differs from ours.
	req := p.last // Raft's own header and term: those of the pipeline's leadership
	req.PrevLogEntry, req.PrevLogTerm = p.lastIndex, p.lastTerm
	req.LeaderCommitIndex = commit
	if _, err := p.inner.AppendEntries(&req, new(raft.AppendEntriesResponse)); err != nil {
		p.broken = true // Raft's next send fails too and opens a new pipeline
		return
	}
	p.told = commit
	p.sent.Add(1)
}

// AppendEntries implements raft.AppendPipeline for Raft, the other sender.
func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	defer p.turn.take()()
	if p.t.dropping.Load() {
		return nil, ErrAppendsDropped
	}
	if p.broken {
		return nil, raft.ErrPipelineShutdown
	}
	f, err := p.inner.AppendEntries(req, resp)
	if err != nil {
		p.broken = true
		return nil, err
	}
	p.last = *req
	p.last.Entries = nil
	p.lastIndex, p.lastTerm = req.PrevLogEntry, req.PrevLogTerm
	if n := len(req.Entries); n > 0 {
		p.lastIndex, p.lastTerm = req.Entries[n-1].Index, req.Entries[n-1].Term
	}
	// The follower commits no further than its log goes.
	p.told = max(p.told, min(req.LeaderCommitIndex, p.lastIndex))
	if p.t.announced.Load() > p.told {
		p.look()
	}
	return f, nil
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close implements raft.AppendPipeline. It waits for no lock, so that it can
// free a sender held up in the inner pipeline.
func (p *pipeline) Close() error {
	p.closeOnce.Do(func() {
		close(p.stop)
		p.closeErr = p.inner.Close()
		p.t.mu.Lock()
		delete(p.t.pipelines, p)
		p.t.mu.Unlock()
	})
	p.workers.Wait()
	return p.closeErr
}
