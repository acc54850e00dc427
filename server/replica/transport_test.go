package replica

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// scriptWire answers votes with a list of errors, one a call.
type scriptWire struct {
	*raft.InmemTransport
	errs  []error
	calls int
}

func (w *scriptWire) next() error {
	w.calls++
	if len(w.errs) == 0 {
		return nil
	}
	err := w.errs[0]
	w.errs = w.errs[1:]
	return err
}

func (w *scriptWire) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	return w.next()
}

func (w *scriptWire) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return w.next()
}

func (w *scriptWire) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	return w.next()
}

func repeat(err error, n int) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}

func TestVotesAreRepeatedOnDeadConnectionsOnly(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for _, tt := range []struct {
		name  string
		errs  []error
		calls int
		ok    bool
	}{
		{"first answer", nil, 1, true},
		{"whole pool dead", repeat(io.EOF, 3), 4, true},
		{"reset", repeat(reset, 1), 2, true},
		{"broken pipe, then cut off", []error{syscall.EPIPE, fmt.Errorf("decode: %w", io.ErrUnexpectedEOF)}, 3, true},
		{"dead for good", repeat(io.EOF, 100), 5, false},
		{"refused", repeat(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 100), 1, false},
		{"dead pool, then refused", append(repeat(io.EOF, 3), repeat(syscall.ECONNREFUSED, 9)...), 4, false},
		{"timeout", repeat(&net.OpError{Op: "read", Err: syscall.ETIMEDOUT}, 100), 1, false},
		{"the peer's own error", repeat(errors.New("EOF"), 100), 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, send := range []func(*Transport) error{
				func(tr *Transport) error { return tr.RequestVote("2", "n2", nil, nil) },
				func(tr *Transport) error { return tr.RequestPreVote("2", "n2", nil, nil) },
				func(tr *Transport) error { return tr.SendTimeoutNow("2", "n2") },
			} {
				_, inner := raft.NewInmemTransport("n1")
				wire := &scriptWire{InmemTransport: inner, errs: append([]error(nil), tt.errs...)}
				tr := NewTransport(wire, "1", 3, nil)
				err := send(tr)
				if wire.calls != tt.calls || (err == nil) != tt.ok {
					t.Errorf("%d calls, error %v; want %d calls, success %v", wire.calls, err, tt.calls, tt.ok)
				}
				tr.Close()
			}
		})
	}
}

// The real thing: a peer restarts, and every pooled connection to it is dead.
func TestVoteReachesARestartedPeer(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		serve := func(addr string) (*raft.NetworkTransport, func()) {
			tr, err := raft.NewTCPTransportWithLogger(addr, nil, 3, 5*time.Second, hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case rpc := <-tr.Consumer():
						time.Sleep(20 * time.Millisecond) // so that askers need a connection each
						rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
					case <-stop:
						return
					}
				}
			}()
			return tr, func() { close(stop); <-done; tr.Close(); tr.CloseStreams() }
		}
		peer, stopPeer := serve("127.0.0.1:0")
		addr := peer.LocalAddr()
		wire, stopWire := serve("127.0.0.1:0")
		defer stopWire()
		ask := wire.RequestVote
		if guarded {
			tr := NewTransport(wire, "1", 3, nil)
			defer tr.Close()
			ask = tr.RequestVote
		}
		var fill sync.WaitGroup
		for range 3 {
			fill.Go(func() {
				if err := ask("2", addr, &raft.RequestVoteRequest{}, new(raft.RequestVoteResponse)); err != nil {
					t.Error(err)
				}
			})
		}
		fill.Wait()
		// Close ends connections at their next message; a dead process ends
		// them at once. The message is not answered either way.
		stopPeer()
		_, stopPeer = serve(string(addr))
		defer stopPeer()
		var resp raft.RequestVoteResponse
		err := ask("2", addr, &raft.RequestVoteRequest{}, &resp)
		if guarded && (err != nil || !resp.Granted) {
			t.Errorf("guarded: %v, granted %v", err, resp.Granted)
		}
		if !guarded && err == nil {
			t.Error("the library's own vote request survived: is the guard still needed?")
		}
	}
}

// Guard A, case by case: which heartbeats take the library's fast path.
func TestHeartbeatFastPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{})
		leader := c.leader()
		follower := c.others(leader)[0]
		term := leader.raft.CurrentTerm()
		if !eventually(time.Second, func() bool { return follower.raft.CurrentTerm() == term }) {
			t.Fatal("the follower does not learn the term")
		}
		for _, tt := range []struct {
			name string
			raft *raft.Raft
			term uint64
			fast bool
		}{
			{"follower, its term", follower.raft, term, true},
			{"follower, next term", follower.raft, term + 1, false},
			{"follower, old term", follower.raft, term - 1, false},
			{"leader, its term", leader.raft, term, false},
			{"leader, next term", leader.raft, term + 1, false},
			{"before Attach", nil, term, false},
		} {
			_, inner := raft.NewInmemTransport("x")
			tr := NewTransport(inner, "1", 3, nil)
			if tt.raft != nil {
				tr.Attach(tt.raft, WrapLogStore(raft.NewInmemStore(), nil), func(error) {})
			}
			rpc := raft.RPC{Command: &raft.AppendEntriesRequest{Term: tt.term}, RespChan: make(chan raft.RPCResponse, 1)}
			fast := false
			if got := tr.fastHeartbeat(rpc, func(raft.RPC) { fast = true }); got != tt.fast || fast != tt.fast {
				t.Errorf("%s: fast path %v, want %v", tt.name, fast, tt.fast)
			}
			tr.Close()
		}
	})
}

// The fast path must stay in use where it is safe: a follower whose disk is
// slow would otherwise take its leader for dead.
func TestSlowFollowerKeepsItsLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(map[raft.ServerID]*slowLogs)
		c := startNet(t, 3, nodeOptions{logs: func(n *node) raft.LogStore {
			slow[n.id] = &slowLogs{LogStore: n.logs}
			return slow[n.id]
		}})
		leader := c.leader()
		term := leader.raft.CurrentTerm()
		for _, f := range c.others(leader) {
			slow[f.id].set(2 * time.Second)
		}
		if err := leader.raft.Apply([]byte("x"), 0).Error(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := leader.raft.CurrentTerm(); got != term || leader.raft.State() != raft.Leader {
			t.Errorf("term %d became %d, leader is %v", term, got, leader.raft.State())
		}
	})
}

type slowLogs struct {
	raft.LogStore
	mu sync.Mutex
	d  time.Duration
}

func (l *slowLogs) set(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d = d
}

func (l *slowLogs) StoreLogs(logs []*raft.Log) error {
	l.mu.Lock()
	d := l.d
	l.mu.Unlock()
	time.Sleep(d)
	return l.LogStore.StoreLogs(logs)
}

func TestJoiningTakesNoPartInElections(t *testing.T) {
	for _, joining := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := &testNet{t: t, net: newMemnet()}
			t.Cleanup(c.stop)
			two := raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "n1"}, {ID: "9", Address: "n9"}}}
			n := c.start("1", two, nodeOptions{conf: func(c *raft.Config) { c.HeartbeatTimeout, c.ElectionTimeout = time.Hour, time.Hour }})
			c.nodes = append(c.nodes, n)
			if joining {
				n.trans.SetJoining(1)
			}
			peer := c.stranger("n9")
			check := func(what string, err error, granted bool) {
				t.Helper()
				if joining && (err == nil || granted || !strings.Contains(err.Error(), ErrJoining.Error())) {
					t.Errorf("%s of a joining server: granted %v, error %v", what, granted, err)
				}
				if !joining && (err != nil || !granted) {
					t.Errorf("%s: granted %v, error %v", what, granted, err)
				}
			}
			// In.
			var pre raft.RequestPreVoteResponse
			err := peer.RequestPreVote("1", "n1", &raft.RequestPreVoteRequest{RPCHeader: headerOf("9"), Term: 7, LastLogIndex: 9, LastLogTerm: 9}, &pre)
			check("pre-vote", err, pre.Granted)
			var vote raft.RequestVoteResponse
			err = peer.RequestVote("1", "n1", &raft.RequestVoteRequest{RPCHeader: headerOf("9"), Term: 7, LastLogIndex: 9, LastLogTerm: 9}, &vote)
			check("vote", err, vote.Granted)
			if term := n.raft.CurrentTerm(); joining && term != 1 {
				t.Errorf("a vote request reached a joining server's Raft: term %d", term)
			}
			var tn raft.TimeoutNowResponse
			err = peer.TimeoutNow("1", "n1", &raft.TimeoutNowRequest{RPCHeader: headerOf("9")}, &tn)
			check("TimeoutNow", err, err == nil)
			if s := n.raft.State(); joining && s != raft.Follower {
				t.Errorf("a joining server became %v", s)
			}
			// Out.
			peer.SetHeartbeatHandler(nil)
			go func() {
				for {
					select {
					case rpc := <-peer.Consumer():
						switch rpc.Command.(type) {
						case *raft.RequestVoteRequest:
							rpc.Respond(&raft.RequestVoteResponse{}, nil)
						case *raft.RequestPreVoteRequest:
							rpc.Respond(&raft.RequestPreVoteResponse{}, nil)
						default:
							rpc.Respond(&raft.TimeoutNowResponse{}, nil)
						}
					case <-t.Context().Done():
						return
					}
				}
			}()
			err = n.trans.RequestVote("9", "n9", &raft.RequestVoteRequest{}, new(raft.RequestVoteResponse))
			check("asking for a vote", err, err == nil)
			err = n.trans.RequestPreVote("9", "n9", &raft.RequestPreVoteRequest{}, new(raft.RequestPreVoteResponse))
			check("asking for a pre-vote", err, err == nil)
			err = n.trans.SendTimeoutNow("9", "n9")
			check("sending TimeoutNow", err, err == nil)
			if joining {
				if err := n.trans.InjectTimeoutNow(); !errors.Is(err, ErrJoining) {
					t.Errorf("InjectTimeoutNow on a joining server: %v", err)
				}
			}
		})
	}
}

// A wiped server that is sent the beginning of a log that began with itself
// alone would elect itself, asking nobody.
func TestJoiningServerDoesNotElectItself(t *testing.T) {
	for _, joining := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := startNet(t, 1, nodeOptions{stable: func(n *node) raft.StableStore {
				v, err := NewVoteStore(n.stable)
				if err != nil {
					t.Fatal(err)
				}
				if joining {
					v.SetJoining(1)
				}
				return v
			}})
			led := eventually(20*time.Second, func() bool { return c.nodes[0].raft.State() == raft.Leader })
			if led == joining {
				t.Errorf("joining %v: became leader %v", joining, led)
			}
		})
	}
}

func TestInjectTimeoutNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startNet(t, 3, nodeOptions{})
		leader := c.leader()
		if err := leader.trans.InjectTimeoutNow(); !errors.Is(err, ErrNotFollower) {
			t.Errorf("on the leader: %v", err)
		}
		heir := c.others(leader)[0]
		c.net.drop(leader.addr)
		leader.wire.Close()
		start, term := time.Now(), heir.raft.CurrentTerm()
		if err := heir.trans.InjectTimeoutNow(); err != nil {
			t.Fatal(err)
		}
		c.leader(heir)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("it took %v to lead, as if by timeout", took)
		}
		if got := heir.raft.CurrentTerm(); got != term+1 {
			t.Errorf("term %d became %d", term, got)
		}
	})
}

func TestInjectTimeoutNowNeedsAVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &testNet{t: t, net: newMemnet()}
		t.Cleanup(c.stop)
		conf := raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "n1"}, {ID: "2", Address: "n2", Suffrage: raft.Nonvoter}}}
		c.nodes = append(c.nodes, c.start("1", conf, nodeOptions{}))
		c.nodes = append(c.nodes, c.start("2", conf, nodeOptions{}))
		c.leader(c.nodes[0])
		term := c.nodes[1].raft.CurrentTerm()
		if err := c.nodes[1].trans.InjectTimeoutNow(); err == nil {
			t.Error("a nonvoter stands for election")
		}
		time.Sleep(time.Second)
		if got := c.nodes[0].raft.CurrentTerm(); got < term || c.nodes[0].raft.State() != raft.Leader {
			t.Errorf("the leader was disturbed: term %d became %d", term, got)
		}
	})
}

// A leader whose disk stalls hands over past its own main loop.
func TestStalledLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(map[raft.ServerID]*slowLogs)
		c := startNet(t, 3, nodeOptions{logs: func(n *node) raft.LogStore {
			slow[n.id] = &slowLogs{LogStore: n.logs}
			return slow[n.id]
		}})
		old := c.leader()
		if err := old.raft.Apply([]byte("before"), 0).Error(); err != nil {
			t.Fatal(err)
		}
		slow[old.id].set(time.Minute)
		stuck := old.raft.Apply([]byte("stuck"), 0)
		time.Sleep(time.Second)
		heir := c.others(old)[0]
		start := time.Now()
		old.trans.DropAppends(true)
		if err := old.trans.SendTimeoutNow(heir.id, raft.ServerAddress(heir.addr)); err != nil {
			t.Fatal(err)
		}
		c.leader(heir)
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("handing over took %v", took)
		}
		if err := heir.raft.Apply([]byte("after"), 0).Error(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if heir.raft.State() != raft.Leader {
			t.Error("the stalled leader took its place back")
		}
		slow[old.id].set(0)
		if err := stuck.Error(); err == nil {
			t.Error("the write that stalled was acknowledged after the handover")
		}
		old.trans.DropAppends(false)
		if !eventually(5*time.Second, func() bool { return old.fsm.has("after") }) {
			t.Error("the old leader does not follow")
		}
		if old.fsm.has("stuck") {
			t.Error("the stalled entry was applied")
		}
	})
}

func TestDropAppendsStopsEveryKindOfEntry(t *testing.T) {
	_, inner := raft.NewInmemTransport("n1")
	tr := NewTransport(inner, "1", 3, nil)
	defer tr.Close()
	_, peer := raft.NewInmemTransport("n2")
	inner.Connect("n2", peer)
	p, err := tr.AppendEntriesPipeline("2", "n2")
	if err != nil {
		t.Fatal(err)
	}
	tr.DropAppends(true)
	_, openErr := tr.AppendEntriesPipeline("2", "n2")
	_, pipeErr := p.AppendEntries(&raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
	for what, err := range map[string]error{
		"AppendEntries":   tr.AppendEntries("2", "n2", &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}),
		"InstallSnapshot": tr.InstallSnapshot("2", "n2", &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader("")),
		"a new pipeline":  openErr,
		"an open one":     pipeErr,
	} {
		if !errors.Is(err, ErrAppendsDropped) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What waits in the queue when the transport closes is answered, with a
// response of its type.
func TestCloseAnswersWhatWaits(t *testing.T) {
	_, inner := raft.NewInmemTransport("n1")
	_, peer := raft.NewInmemTransport("n2")
	peer.Connect("n1", inner)
	tr := NewTransport(inner, "1", 3, nil)
	calls := []func() error{
		func() error {
			return peer.AppendEntries("1", "n1", &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
		},
		func() error {
			return peer.RequestVote("1", "n1", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		},
		func() error {
			return peer.RequestPreVote("1", "n1", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		},
		func() error {
			return peer.TimeoutNow("1", "n1", &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{})
		},
	}
	errs := make(chan error, len(calls))
	for _, call := range calls {
		go func() { errs <- call() }()
	}
	// A snapshot does not wait for a Raft that has not started.
	err := peer.InstallSnapshot("1", "n1", &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader(""))
	if !errors.Is(err, ErrNotStarted) {
		t.Errorf("snapshot: %v", err)
	}
	for len(tr.toRaft) < len(calls) {
		time.Sleep(time.Millisecond)
	}
	tr.Close()
	for range calls {
		if err := <-errs; !errors.Is(err, raft.ErrTransportShutdown) {
			t.Errorf("answer %v", err)
		}
	}
	if err := tr.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
