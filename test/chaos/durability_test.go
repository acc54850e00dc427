//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// TestDurability kills one, two and all three servers at once under load and
// brings them back. What was acknowledged must be there on every server, and
// ephemerals must live exactly as long as their sessions.
func TestDurability(t *testing.T) {
	random := newRandom(t)
	for _, n := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("kill %d", n), func(t *testing.T) {
			servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
			leader, followers := roles(t, servers)
			// The leader is always among them: it has the most to lose.
			victims := append([]*zkprocess.Server{leader}, followers...)[:n]

			setUp := dial(t, leader, zkclient.Options{})
			for _, path := range []string{"/durable", "/live", "/dead"} {
				if _, err := setUp.Create(path, nil, protocol.Persistent, nil); err != nil {
					t.Fatalf("create %s: %v", path, err)
				}
			}
			if err := setUp.Close(); err != nil {
				t.Fatal(err)
			}
			if err := syncAll(servers, "/"); err != nil {
				t.Fatal(err)
			}
			var alive []*survivor
			var loads []*load
			for _, s := range servers {
				alive = append(alive, startSurvivor(t, s, servers))
				loads = append(loads, startLoad(t, s, 0))
			}
			deadTimeout := startDead(t, servers)

			time.Sleep(200*time.Millisecond + time.Duration(random.IntN(400_000))*time.Microsecond)
			killAll(victims)
			for _, s := range victims {
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
			}
			roles(t, servers)
			served := time.Now()
			for _, l := range loads {
				close(l.stop)
				<-l.ended
			}
			checkDurable(t, servers, loads)

			limit := deadTimeout + 2*tick
			for _, s := range servers {
				await(t, time.Until(served.Add(limit)), fmt.Sprintf("server %d: ephemerals of dead sessions gone", s.ID), func() bool {
					return len(childrenAt(t, s, "/dead")) == 0
				})
			}
			t.Logf("ephemerals of dead sessions gone %v after service was back, limit %v", time.Since(served).Round(time.Millisecond), limit)
			for _, a := range alive {
				close(a.stop)
				<-a.ended
				if a.lost.Load() {
					t.Errorf("session of %s expired", a.path)
				}
			}
			for _, s := range servers {
				names := childrenAt(t, s, "/live")
				for _, a := range alive {
					if !slices.Contains(names, strings.TrimPrefix(a.path, "/live/")) {
						t.Errorf("server %d: %s is gone, its session lives", s.ID, a.path)
					}
				}
			}
		})
	}
}

// startDead leaves one ephemeral of a hung-up session at each server and
// returns their session timeout. Each session's last sign of life precedes the
// kill, so the time it has left is that which the new leader gives it.
func startDead(t *testing.T, servers []*zkprocess.Server) (timeout time.Duration) {
	t.Helper()
	for _, s := range servers {
		c := dial(t, s, zkclient.Options{Timeout: 2 * tick})
		if _, err := c.Create(fmt.Sprintf("/dead/%d", s.ID), nil, protocol.Ephemeral, nil); err != nil {
			t.Fatalf("server %d: create ephemeral: %v", s.ID, err)
		}
		timeout = c.Timeout()
		c.HangUp()
	}
	return timeout
}

// survivor is a client with an ephemeral that takes its session up again,
// wherever it can, each time it loses its server.
type survivor struct {
	path  string
	stop  chan struct{}
	ended chan struct{}
	lost  atomic.Bool // the session expired
}

func startSurvivor(t *testing.T, s *zkprocess.Server, servers []*zkprocess.Server) *survivor {
	t.Helper()
	a := &survivor{path: fmt.Sprintf("/live/%d", s.ID), stop: make(chan struct{}), ended: make(chan struct{})}
	opts := zkclient.Options{Timeout: 5 * tick}
	c := dial(t, s, opts)
	if _, err := c.Create(a.path, nil, protocol.Ephemeral, nil); err != nil {
		t.Fatalf("create %s: %v", a.path, err)
	}
	opts.SessionID, opts.Password = c.SessionID(), c.Password()
	go func() {
		defer close(a.ended)
		for next := s.ID; ; next++ {
			if c != nil {
				select {
				case <-c.Done():
				case <-a.stop:
					c.HangUp()
					return
				}
				opts.LastZxid = c.LastZxid()
			}
			select {
			case <-a.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			var err error
			c, err = zkclient.Dial(context.Background(), servers[next%len(servers)].Addr(), opts)
			if strings.Contains(fmt.Sprint(err), zkclient.ErrSessionExpired.Error()) {
				a.lost.Store(true)
				return
			}
		}
	}()
	return a
}

// load is a client that creates children of /durable, with a pause after each,
// until it loses its server or is told to stop.
type load struct {
	stop     chan struct{}
	ended    chan struct{}
	answered []string // children acknowledged; of the load until ended is closed
	refused  []string
}

func startLoad(t *testing.T, s *zkprocess.Server, pause time.Duration) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), ended: make(chan struct{})}
	c := dial(t, s, zkclient.Options{Timeout: longSession, Window: window})
	type create struct {
		name string
		call *zkclient.Call
	}
	creates := make(chan create, 2*window)
	go func() {
		defer close(creates)
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case <-c.Done():
				return
			default:
			}
			time.Sleep(pause)
			name := fmt.Sprintf("%d-%d", s.ID, i)
			creates <- create{name, c.Go(protocol.OpCreate, &protocol.CreateRequest{Path: "/durable/" + name, ACL: protocol.WorldAnyone})}
		}
	}()
	go func() {
		defer close(l.ended)
		defer c.HangUp()
		for r := range creates {
			select {
			case <-r.call.Done():
			case <-time.After(patience): // no acknowledgement, nothing promised
				c.HangUp()
			}
			h, _, err := r.call.Wait()
			switch {
			case err == nil && h.Err == protocol.OK:
				l.answered = append(l.answered, r.name)
			case err == nil:
				l.refused = append(l.refused, fmt.Sprintf("%s: %v", r.name, h.Err))
			}
		}
	}()
	return l
}

// checkDurable looks for every acknowledged create on every server.
func checkDurable(t *testing.T, servers []*zkprocess.Server, loads []*load) {
	t.Helper()
	total := 0
	for _, l := range loads {
		if len(l.answered) == 0 {
			t.Error("a client was not served at all")
		}
		if len(l.refused) > 0 {
			t.Errorf("%d creates refused, the first: %s", len(l.refused), l.refused[0])
		}
		total += len(l.answered)
	}
	for _, s := range servers {
		present := map[string]bool{}
		for _, name := range childrenAt(t, s, "/durable") {
			present[name] = true
		}
		missing := 0
		for _, l := range loads {
			for _, name := range l.answered {
				if !present[name] {
					missing++
				}
			}
		}
		if missing > 0 {
			t.Errorf("server %d lacks %d of %d acknowledged creates", s.ID, missing, total)
		}
	}
	t.Logf("%d creates acknowledged", total)
}

// childrenAt lists what one server itself has, brought up to date.
func childrenAt(t *testing.T, s *zkprocess.Server, parent string) []string {
	t.Helper()
	c := dial(t, s, zkclient.Options{})
	defer c.HangUp()
	names, err := listed(c, parent)
	if err != nil {
		t.Fatalf("server %d: list %s: %v", s.ID, parent, err)
	}
	if err := c.Close(); err != nil {
		t.Fatalf("server %d: %v", s.ID, err)
	}
	return names
}
