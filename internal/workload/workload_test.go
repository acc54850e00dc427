package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server"
)

func startServer(t *testing.T) string {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", zkprocess.FreePorts(t, "127.0.0.1", 1)[0])
	text := fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%s\nmaxClientCnxns=0\nadmin.enableServer=false\n", t.TempDir(), addr[len("127.0.0.1:"):])
	cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(cfg, hclog.NewNullLogger(), server.Build{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return addr
}

// cutter opens connections and cuts them.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) connect(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, nc)
	}
	return nc, err
}

func atHome(r *Run) bool {
	for _, c := range append(r.clients, r.watchers...) {
		if l := c.current(); l == nil || l.server != c.home {
			return false
		}
	}
	return true
}

func (c *cutter) cut(random *rand.Rand, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		if all || random.IntN(3) == 0 {
			nc.Close()
		}
	}
}

// A server that breaks nothing passes, however often connections are cut, and
// the load leaves nothing behind.
func TestLoad(t *testing.T) {
	addr := startServer(t)
	var network cutter
	r, err := Start(t.Context(), Options{
		Servers: []string{addr, addr, addr}, Root: "/a/load", Clients: 6, Timeout: 4 * time.Second, Pause: time.Millisecond, Seed: 1, Connect: network.connect,
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		time.Sleep(100 * time.Millisecond)
		network.cut(random, false)
	}
	network.cut(random, true)
	r.Calm()
	for deadline := time.Now().Add(5 * time.Second); !r.Connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the clients do not come back")
		}
	}
	losses := len(r.Snapshot().Losses)
	r.Home()
	for deadline := time.Now().Add(5 * time.Second); !atHome(r); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the clients do not go home")
		}
	}
	if n := len(r.Snapshot().Losses) - losses; n != 0 {
		t.Errorf("%d clients sent home count as connections lost", n)
	}
	time.Sleep(200 * time.Millisecond)
	if _, err := Start(t.Context(), Options{Servers: []string{addr}, Root: "/a/load"}); err == nil || !strings.Contains(err.Error(), "/a/load exists") {
		t.Errorf("a second load on the same tree: %v", err)
	}
	h, err := r.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range history.Check(h) {
		t.Error(v)
	}
	mustBeBusy(t, h)
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := zkclient.Dial(t.Context(), addr, zkclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Exists("/a", false); err != protocol.NoNode {
		t.Errorf("the tree is left behind: %v", err)
	}
}

// mustBeBusy checks that everything happened that the load is for.
func mustBeBusy(t *testing.T, h *history.History) {
	t.Helper()
	counts := map[history.Kind]int{}
	outcomes := map[history.Outcome]int{}
	for i := range h.Ops {
		counts[h.Ops[i].Kind]++
		outcomes[h.Ops[i].Outcome]++
	}
	for _, kind := range []history.Kind{history.Write, history.CompareAndSet, history.Read, history.SyncRead, history.Append, history.Multi, history.AbortedMulti,
		history.PairRead, history.NewEphemeral, history.DropEphemeral, history.List, history.Claim, history.Hold, history.Release, history.Change, history.Look} {
		if counts[kind] < 3 {
			t.Errorf("%d times %s", counts[kind], kind)
		}
	}
	events, fired, moved, closed := 0, 0, 0, 0
	for _, s := range h.Segments {
		events += len(s.Events)
	}
	for _, w := range h.Watches {
		if w.Fired {
			fired++
		}
		if w.Moved {
			moved++
		}
	}
	for _, s := range h.Sessions {
		if s.End == history.Closed {
			closed++
		}
		if s.End == history.Expired {
			t.Errorf("%+v", s)
		}
	}
	if events < 10 || fired < 10 || moved < 1 || closed < 9 || len(h.Losses) < 20 || outcomes[history.Unknown] < 20 || len(h.Replicas) != 3 {
		t.Errorf("%d events of persistent watches, %d of ordinary ones, %d moved, %d sessions closed, %d connections lost, %v, %d replicas: too little",
			events, fired, moved, closed, len(h.Losses), outcomes, len(h.Replicas))
	}
	t.Logf("%d operations: %v", len(h.Ops), counts)
}
