//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
)

// TestExactlyOnce kills the leader under clients of the followers, again and
// again. They must not notice: each write is answered once, in order, on the
// connection it was sent on, and has happened once.
func TestExactlyOnce(t *testing.T) {
	random := newRandom(t)
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	var resent, duplicate int64
	count := func(s *zkprocess.Server) {
		for name, sum := range map[string]*int64{"zk_coordd_requests_resent": &resent, "zk_coordd_batches_duplicate": &duplicate} {
			v, err := metric(s, name)
			if err != nil {
				t.Error(err)
			}
			*sum += v
		}
	}
	for round := range *rounds {
		// A server's counters end with it, so the leader is counted first.
		violations := failover(t, random, servers, round, count)
		if len(violations) > 0 {
			t.Fatalf("round %d: %d violations, logged above", round, len(violations))
		}
	}
	for _, s := range servers {
		count(s)
	}
	t.Logf("%d rounds: %d requests sent again, %d duplicate batches", *rounds, resent, duplicate)
	// Without these the kills missed what they were to hit.
	if want := int64(max(1, *rounds*10)); resent < want && *rounds >= 50 || resent == 0 {
		t.Errorf("%d requests sent again, want %d", resent, want)
	}
	if duplicate == 0 && *rounds >= 50 {
		t.Error("no batch had been applied before it was sent again")
	}
}

// TestExactlyOnceNeedsItsTable tests the test: servers that apply every batch
// they see, as the build tag plant makes them, must not pass it.
func TestExactlyOnceNeedsItsTable(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "coordd")
	if out, err := exec.Command("go", "build", "-tags", "plant", "-o", planted, "github.com/coordd/coordd/cmd/coordd").CombinedOutput(); err != nil {
		t.Fatalf("build coordd without its table: %v\n%s", err, out)
	}
	random := newRandom(t)
	servers := zkprocess.Start(t, planted, 3)
	const bound = 60
	for round := range bound {
		for _, v := range failover(t, random, servers, round, func(*zkprocess.Server) {}) {
			if strings.Contains(v, "applied twice") {
				return
			}
		}
	}
	t.Errorf("no write was applied twice in %d rounds", bound)
}

// failover is one round: it kills the leader under load, after passing it to
// dying, brings it back, and returns what was not as it must be. In every
// other round a follower stands still meanwhile.
func failover(t *testing.T, random *rand.Rand, servers []*zkprocess.Server, round int, dying func(*zkprocess.Server)) []string {
	t.Helper()
	leader, followers := roles(t, servers)
	parent := fmt.Sprintf("/round-%d", round)
	reader := dial(t, followers[0], zkclient.Options{Timeout: longSession})
	defer reader.HangUp()
	if _, err := reader.Create(parent, nil, 0, nil); err != nil {
		t.Fatalf("create %s: %v", parent, err)
	}
	if err := syncAll(followers, parent); err != nil {
		t.Fatal(err)
	}
	var writers []*writer
	for i := range 4 {
		w := startWriter(t, fmt.Sprintf("w%d", i), parent, followers[i%len(followers)])
		defer w.client.HangUp()
		writers = append(writers, w)
	}

	dying(leader)
	time.Sleep(time.Duration(random.IntN(400_000)) * time.Microsecond)
	// A new leader serves once a majority has its log. With only two left that
	// is everyone, and nobody has a batch to send again that is in the log and
	// not about to be applied. So in every other round a follower stands still
	// while the others elect and go on, with the killed server back.
	resume, stalled := func() {}, -1
	if round%2 == 1 {
		stalled = random.IntN(len(followers))
		resume = suspend(t, followers[stalled])
		time.Sleep(time.Duration(5+random.IntN(45)) * time.Millisecond)
	}
	atKill := make([]int64, len(writers))
	await(t, patience, "enough writes in flight", func() bool {
		for i, w := range writers {
			atKill[i] = w.sent.Load()
			if atKill[i]-w.answered.Load() < inFlight && !isClosed(w.ended) {
				return false
			}
		}
		return true
	})
	leader.Kill()
	killed := time.Now()
	if stalled >= 0 {
		if err := leader.Run(); err != nil {
			t.Fatal(err)
		}
	}
	// On past the requests that the dead leader may have seen.
	pastKill := func(i int) {
		await(t, patience, writers[i].name+" served by the next leader", func() bool {
			return writers[i].answered.Load() > atKill[i]+window || isClosed(writers[i].ended)
		})
	}
	for i := range writers {
		if i%len(followers) != stalled {
			pastKill(i)
		}
	}
	resume()
	for i := range writers {
		pastKill(i)
	}
	took := time.Since(killed)
	for _, w := range writers {
		close(w.stop)
	}
	var violations []string
	for _, w := range writers {
		<-w.ended // within patience of the last request
		violations = append(violations, w.violations...)
	}
	children, found := checkChildren(reader, parent, writers)
	violations = append(violations, found...)
	t.Logf("round %d: server %d killed, %d children, served again after %v", round, leader.ID, children, took.Round(time.Millisecond))
	for _, w := range writers {
		if err := w.client.Close(); err != nil {
			violations = append(violations, fmt.Sprintf("%s: close: %v", w.name, err))
		}
	}
	if err := reader.Close(); err != nil {
		violations = append(violations, fmt.Sprintf("reader: close: %v", err))
	}
	if stalled < 0 {
		if err := leader.Run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range violations {
		t.Logf("round %d: %s", round, v) // before the wait below can end the test
	}
	roles(t, servers)
	return violations
}

// syncAll makes each server have what was committed before.
func syncAll(servers []*zkprocess.Server, path string) error {
	for _, s := range servers {
		c, err := zkclient.Dial(context.Background(), s.Addr(), zkclient.Options{})
		if err != nil {
			return fmt.Errorf("sync server %d: %w", s.ID, err)
		}
		err = c.Sync(path)
		if closing := c.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return fmt.Errorf("sync server %d: %w", s.ID, err)
		}
	}
	return nil
}

// listed are the children of parent, after all that is committed now.
func listed(c *zkclient.Client, parent string) ([]string, error) {
	if err := c.Sync(parent); err != nil {
		return nil, err
	}
	names, _, err := c.Children(parent, false)
	return names, err
}

// checkChildren compares what the writers were told with what is there.
func checkChildren(reader *zkclient.Client, parent string, writers []*writer) (children int, violations []string) {
	names, err := listed(reader, parent)
	if err != nil {
		return 0, []string{fmt.Sprintf("list %s: %v", parent, err)}
	}
	var requests []history.Request
	for _, w := range writers {
		requests = append(requests, w.created...)
	}
	for _, v := range history.Sequence(requests, names) {
		violations = append(violations, v.What)
	}
	return len(names), violations
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
