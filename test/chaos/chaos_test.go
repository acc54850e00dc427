//go:build chaos

// Package chaos holds the tests that kill server processes: three coordd from
// COORDD_BIN, kill -9 under load, and a look at what the clients were told. It
// takes minutes, so the build tag chaos keeps it out of `go test ./...`:
//
//	COORDD_BIN=$PWD/bin/coordd go test -tags chaos ./test/chaos -rounds 50
//
// The moments of the kills come from -seed, which a failed run prints. They are
// not repeatable to the write: the operating system has its say.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	rounds = flag.Int("rounds", 10, "kills of the leader in TestExactlyOnce")
	seed   = flag.Uint64("seed", 0, "seed of the random moments; 0 takes one from the clock")
)

const (
	// tick is the tickTime of zkprocess's configuration.
	tick = 2 * time.Second
	// patience bounds every wait for the ensemble: to elect, to answer, to
	// take a restarted server back.
	patience = 30 * time.Second
	// longSession outlives any failover that is within patience.
	longSession = 40 * time.Second
)

// newRandom is the test's source of random moments.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// await polls until the condition holds.
func await(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// roles waits until the ensemble has one leader and all others follow it.
func roles(t *testing.T, servers []*zkprocess.Server) (leader *zkprocess.Server, followers []*zkprocess.Server) {
	t.Helper()
	await(t, patience, "one leader and its followers", func() bool {
		leader, followers = nil, nil
		for _, s := range servers {
			switch s.Mode() {
			case "leader":
				leader = s
			case "follower":
				followers = append(followers, s)
			}
		}
		return leader != nil && len(followers) == len(servers)-1
	})
	return leader, followers
}

// killAll ends the servers with kill -9, all at once.
func killAll(servers []*zkprocess.Server) {
	var gone sync.WaitGroup
	for _, s := range servers {
		gone.Go(s.Kill)
	}
	gone.Wait()
}

// suspend stops a server's process until the returned function is called.
func suspend(t *testing.T, s *zkprocess.Server) (resume func()) {
	t.Helper()
	cont, err := s.Suspend()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := cont(); err != nil {
			t.Fatal(err)
		}
	}
}

// dial opens a session; the caller ends it.
func dial(t *testing.T, s *zkprocess.Server, opts zkclient.Options) *zkclient.Client {
	t.Helper()
	c, err := zkclient.Dial(context.Background(), s.Addr(), opts)
	if err != nil {
		t.Fatalf("server %d: %v", s.ID, err)
	}
	return c
}

// metric reads one number of a server's mntr.
func metric(s *zkprocess.Server, name string) (int64, error) {
	answer, err := s.FourLetterWord("mntr")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(answer) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "\t"); key == name {
			v, err := strconv.ParseFloat(value, 64)
			return int64(v), err
		}
	}
	return 0, fmt.Errorf("server %d: mntr has no %s", s.ID, name)
}
