package replica

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func everybody(raft.ServerID) bool { return true }

// A follower applies a commit at once, long before the library would tell it.
func TestFollowersApplyBeforeCommitTimeout(t *testing.T) {
	for _, announce := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			pushed := 0
			c := startNet(t, 3, nodeOptions{
				announce: announce,
				conf:     func(c *raft.Config) { c.CommitTimeout = time.Hour },
				onAppend: func(req *raft.AppendEntriesRequest) {
					mu.Lock()
					defer mu.Unlock()
					if len(req.Entries) > 0 || req.LeaderCommitIndex == 0 {
						return
					}
					pushed++
					if req.PrevLogEntry == 0 || req.LeaderCommitIndex > req.PrevLogEntry {
						t.Errorf("commit %d announced behind entry %d", req.LeaderCommitIndex, req.PrevLogEntry)
					}
				},
			})
			leader := c.leader()
			apply := func(s string) {
				t.Helper()
				if err := leader.raft.Apply([]byte(s), 0).Error(); err != nil {
					t.Fatal(err)
				}
			}
			apply("open the pipelines")
			time.Sleep(30 * time.Second)
			for _, s := range []string{"a", "b", "c", "d", "e"} {
				apply(s)
				start, late := time.Now(), 0
				for _, f := range c.others(leader) {
					if eventually(20*time.Millisecond, func() bool { return f.fsm.has(s) }) {
						continue
					}
					if late++; announce {
						t.Errorf("follower %s has not applied %q %v after the leader", f.id, s, time.Since(start))
					}
				}
				// One follower may be sent the entry only after the other one
				// has made it a commit.
				if !announce && late == 0 {
					t.Errorf("both followers applied %q at once without being told: the test shows nothing", s)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if announce && pushed < 5 {
				t.Errorf("%d announcements for 5 writes", pushed)
			}
		})
	}
}

// A follower that nobody waits for is told a little later, and not at all if the
// next entry has told it.
func TestOnlyThoseThatWaitAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		pushed := 0
		c := startNet(t, 3, nodeOptions{
			conf: func(c *raft.Config) { c.CommitTimeout = time.Hour },
			onAppend: func(req *raft.AppendEntriesRequest) {
				mu.Lock()
				defer mu.Unlock()
				if len(req.Entries) == 0 && req.LeaderCommitIndex > 0 {
					pushed++
				}
			},
		})
		leader := c.leader()
		waits, other := c.others(leader)[0], c.others(leader)[1]
		apply := func(s string) {
			t.Helper()
			if err := leader.raft.Apply([]byte(s), 0).Error(); err != nil {
				t.Fatal(err)
			}
		}
		apply("open the pipelines")
		time.Sleep(30 * time.Second)
		apply("a")
		leader.trans.AnnounceCommit(leader.raft.LastIndex(), func(id raft.ServerID) bool { return id == waits.id })
		time.Sleep(announceLater / 2)
		synctest.Wait()
		if !waits.fsm.has("a") {
			t.Error("the follower that waits was not told at once")
		}
		time.Sleep(announceLater)
		synctest.Wait()
		if !other.fsm.has("a") {
			t.Error("the other follower was not told later")
		}
		nobody := func(raft.ServerID) bool { return false }
		mu.Lock()
		pushed = 0
		mu.Unlock()
		for range 10 {
			apply("b")
			leader.trans.AnnounceCommit(leader.raft.LastIndex(), nobody)
		}
		time.Sleep(10 * announceLater)
		mu.Lock()
		defer mu.Unlock()
		if pushed > 10 { // Raft sends some of that kind by itself
			t.Errorf("%d announcements for ten entries in a row to two followers", pushed)
		}
	})
}

// Under load the next entries carry the commit index; announcing it would only
// cost.
func TestNothingIsAnnouncedWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 1, nodeOptions{})
		r := c.leader().raft
		tr := c.nodes[0].trans
		last := r.LastIndex()
		tr.AnnounceCommit(last-1, everybody)
		if got := tr.announced.Load(); got != 0 {
			t.Errorf("index %d was announced although the log goes on to %d", got, last)
		}
		tr.AnnounceCommit(last, everybody)
		if got := tr.announced.Load(); got != last {
			t.Errorf("announced %d, want %d", got, last)
		}
	})
}

// sentPipeline keeps what is sent and answers nothing by itself.
type sentPipeline struct {
	mu   sync.Mutex
	sent []*raft.AppendEntriesRequest
	err  error
	ch   chan raft.AppendFuture
}

func (p *sentPipeline) AppendEntries(req *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	p.sent = append(p.sent, req)
	return nil, nil
}

func (p *sentPipeline) Consumer() <-chan raft.AppendFuture { return p.ch }
func (p *sentPipeline) Close() error                       { return nil }

func (p *sentPipeline) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// pipeWire hands out one prepared pipeline.
type pipeWire struct {
	*raft.InmemTransport
	p raft.AppendPipeline
}

func (w pipeWire) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return w.p, nil
}

// openPipeline returns a pipeline over inner and its Transport.
func openPipeline(t testing.TB, inner raft.AppendPipeline) (*Transport, *pipeline) {
	_, wire := raft.NewInmemTransport("n1")
	tr := NewTransport(pipeWire{wire, inner}, "1", 3, nil)
	p, err := tr.AppendEntriesPipeline("2", "n2")
	if err != nil {
		t.Fatal(err)
	}
	return tr, p.(*pipeline)
}

// announce is AnnounceCommit on an idle leader, and its pusher's work.
func announce(tr *Transport, p *pipeline, index uint64) {
	tr.announced.Store(max(tr.announced.Load(), index))
	p.announce()
}

// entries are the entries lo to hi of one term.
func entries(term, lo, hi uint64) []*raft.Log {
	var out []*raft.Log
	for i := lo; i <= hi; i++ {
		out = append(out, &raft.Log{Index: i, Term: term})
	}
	return out
}

func TestAnnouncementRules(t *testing.T) {
	head := headerOf("1")
	request := func(prev, prevTerm uint64, logs []*raft.Log, commit uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{RPCHeader: head, Term: 7, PrevLogEntry: prev, PrevLogTerm: prevTerm, Entries: logs, LeaderCommitIndex: commit}
	}
	for _, tt := range []struct {
		name     string
		sent     []*raft.AppendEntriesRequest
		announce uint64
		want     bool
		prev     uint64
		prevTerm uint64
	}{
		{"nothing sent yet", nil, 5, false, 0, 0},
		{"sent, not told", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 5), 4)}, 5, true, 5, 7},
		{"several entries", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 9), 4)}, 7, true, 9, 7},
		{"not sent yet", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 5), 4)}, 6, false, 0, 0},
		{"told by Raft", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 5), 4), request(5, 7, nil, 5)}, 5, false, 0, 0},
		{"told with the entry", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 5), 5)}, 5, false, 0, 0},
		{"Raft's commit beyond what it sent", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 6), 9), request(6, 7, entries(7, 7, 7), 6)}, 7, true, 7, 7},
		{"only a probe sent", []*raft.AppendEntriesRequest{request(4, 6, nil, 3)}, 4, true, 4, 6},
		{"an empty log's probe", []*raft.AppendEntriesRequest{request(0, 0, nil, 0)}, 4, false, 0, 0},
		{"from the very start", []*raft.AppendEntriesRequest{request(0, 0, entries(7, 1, 1), 0)}, 1, true, 1, 7},
		{"commit 0", []*raft.AppendEntriesRequest{request(4, 6, entries(7, 5, 5), 0)}, 0, false, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner := &sentPipeline{}
			tr, p := openPipeline(t, inner)
			defer tr.Close()
			for _, req := range tt.sent {
				if _, err := p.AppendEntries(req, nil); err != nil {
					t.Fatal(err)
				}
			}
			announce(tr, p, tt.announce)
			announce(tr, p, tt.announce) // the second time it is no news
			extra := inner.sent[len(tt.sent):]
			if !tt.want {
				if len(extra) > 0 {
					t.Fatalf("sent %+v", extra[0])
				}
				return
			}
			if len(extra) != 1 {
				t.Fatalf("%d announcements, want 1", len(extra))
			}
			got := extra[0]
			if got.PrevLogEntry != tt.prev || got.PrevLogTerm != tt.prevTerm || got.LeaderCommitIndex != tt.announce ||
				got.Term != 7 || string(got.ID) != "1" || string(got.Addr) != "n1" || len(got.Entries) > 0 {
				t.Errorf("sent %+v", got)
			}
		})
	}
}

// A commit announced before its entry was sent goes out after that send.
func TestAnnouncementWaitsForItsEntry(t *testing.T) {
	inner := &sentPipeline{}
	tr, p := openPipeline(t, inner)
	defer tr.Close()
	p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 3, PrevLogTerm: 1, Entries: entries(2, 4, 4), LeaderCommitIndex: 3}, nil)
	announce(tr, p, 5)
	if len(inner.sent) != 1 {
		t.Fatal("announced before the entry was sent")
	}
	p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 4, PrevLogTerm: 2, Entries: entries(2, 5, 5), LeaderCommitIndex: 3}, nil)
	if !eventually(5*time.Second, func() bool { return p.sent.Load() == 1 }) {
		t.Fatal("never announced")
	}
	if got := inner.sent[2]; got.LeaderCommitIndex != 5 || got.PrevLogEntry != 5 {
		t.Errorf("sent %+v", got)
	}
}

func TestNothingFollowsAFailedSend(t *testing.T) {
	inner := &sentPipeline{}
	tr, p := openPipeline(t, inner)
	defer tr.Close()
	p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 3, PrevLogTerm: 1, Entries: entries(2, 4, 4)}, nil)
	inner.fail(errors.New("gone"))
	announce(tr, p, 4)
	inner.fail(nil)
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 4, PrevLogTerm: 2}, nil); err == nil {
		t.Error("Raft goes on over a connection on which a message was lost")
	}
	announce(tr, p, 4)
	if len(inner.sent) != 1 {
		t.Errorf("%d messages sent, want 1", len(inner.sent))
	}
}

func TestNothingIsAnnouncedWhileAppendsAreDropped(t *testing.T) {
	inner := &sentPipeline{}
	tr, p := openPipeline(t, inner)
	defer tr.Close()
	p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 3, PrevLogTerm: 1, Entries: entries(2, 4, 4)}, nil)
	tr.DropAppends(true)
	announce(tr, p, 4)
	if len(inner.sent) != 1 {
		t.Error("a leader that gave up announces commits")
	}
	tr.DropAppends(false)
	announce(tr, p, 4)
	if len(inner.sent) != 2 {
		t.Error("nothing is announced after the switch is off")
	}
}

// Whatever Raft sends and is announced in whatever order: every announcement
// names the last entry sent, in the term of the pipeline's leadership, and a
// commit index that is news and covered by what was sent.
func TestAnnouncementsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inner := &sentPipeline{}
		tr, p := openPipeline(t, inner)
		defer tr.Close()
		term := rapid.Uint64Range(1, 5).Draw(rt, "term")
		next := rapid.Uint64Range(1, 4).Draw(rt, "next")
		prevTerm := term - 1
		if next == 1 {
			prevTerm = 0
		}
		ours := make(map[*raft.AppendEntriesRequest]bool)
		rt.Repeat(map[string]func(*rapid.T){
			"raft sends": func(rt *rapid.T) {
				n := rapid.Uint64Range(0, 3).Draw(rt, "entries")
				req := &raft.AppendEntriesRequest{Term: term, PrevLogEntry: next - 1, PrevLogTerm: prevTerm, Entries: entries(term, next, next+n-1)}
				if n == 0 {
					req.Entries = nil
				}
				req.LeaderCommitIndex = rapid.Uint64Range(0, next+n+3).Draw(rt, "commit")
				ours[req] = true
				p.AppendEntries(req, nil)
				if next += n; n > 0 {
					prevTerm = term
				}
			},
			"announced": func(rt *rapid.T) { announce(tr, p, rapid.Uint64Range(0, next+3).Draw(rt, "index")) },
		})
		p.Close() // no pusher runs any more
		var last, lastTerm, told uint64
		for _, req := range inner.sent {
			if ours[req] {
				last, lastTerm = req.PrevLogEntry, req.PrevLogTerm
				if n := len(req.Entries); n > 0 {
					last, lastTerm = req.Entries[n-1].Index, req.Entries[n-1].Term
				}
				told = max(told, min(req.LeaderCommitIndex, last))
				continue
			}
			if req.PrevLogEntry == 0 || req.PrevLogEntry != last || req.PrevLogTerm != lastTerm || req.Term != term ||
				len(req.Entries) > 0 || req.LeaderCommitIndex <= told || req.LeaderCommitIndex > last {
				rt.Fatalf("announced %+v after entry %d of term %d and commit %d", req, last, lastTerm, told)
			}
			told = req.LeaderCommitIndex
		}
	})
}

// oneFuture is a finished append.
type oneFuture struct {
	raft.AppendFuture
	resp raft.AppendEntriesResponse
}

func (f *oneFuture) Response() *raft.AppendEntriesResponse { return &f.resp }
func (f *oneFuture) Request() *raft.AppendEntriesRequest   { return &raft.AppendEntriesRequest{} }

// Guard D, alone: after a refusal nobody reads, and still the wire's pipeline
// never waits.
func TestPipelineAnswersAreReadAfterARefusal(t *testing.T) {
	inner := &sentPipeline{ch: make(chan raft.AppendFuture)}
	tr, p := openPipeline(t, inner)
	defer tr.Close()
	good := &oneFuture{resp: raft.AppendEntriesResponse{Success: true}}
	inner.ch <- good
	inner.ch <- &oneFuture{}
	for i := range 3 * queueLen {
		select {
		case inner.ch <- good:
		case <-time.After(10 * time.Second):
			t.Fatalf("answer %d after the refusal is not read", i)
		}
	}
	if f := <-p.Consumer(); f != raft.AppendFuture(good) {
		t.Error("answers out of order")
	}
	if f := <-p.Consumer(); f.Response().Success {
		t.Error("the refusal is lost")
	}
}
