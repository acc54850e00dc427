//go:build differential

// Package differential holds the tests that send the same requests to a real
// ZooKeeper 3.9.4 and to coordd, and compare all that comes back: replies,
// Stats, errors, zxids, watch events and their place in the stream, closed
// connections, and the tree that is left. Programs of raw requests come from
// seeds; one that shows a difference is shrunk and printed.
//
//	COORDD_BIN=$PWD/bin/coordd go test -v -tags differential ./test/differential
//	... -timeout 24h -args -seeds 5000 -requests 200   longer
//	... -timeout 24h -args -for 2h                     until the time is over, always with fresh seeds
//	... -run TestProfiles -args -profile '^Standalone$' -seed 17 -seeds 1   one program again
//
// Each profile is a kind of servers with programs of its own (profiles). A run
// of all of them ends with a table of what both have answered, by operation
// and error code, which has to be the one that is expected (expected): so no
// answer goes untested. Requests that kill or wedge a real ZooKeeper are not
// sent, nor those whose answer is luck (leftOut).
//
// As it stands a run takes under five minutes on two cores.
package differential

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	firstSeed = flag.Uint64("seed", 1, "seed of the first program")
	seeds     = flag.Int("seeds", 0, "programs a profile; 0 takes the profile's own number")
	requests  = flag.Int("requests", 150, "requests a program, about")
	only      = flag.String("profile", "", "regular expression of the profiles to go through; empty is all")
	lasting   = flag.Duration("for", 0, "go through the profiles with fresh seeds until this time is over; 0 is once")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if _, err := os.Stat("/dev/shm"); err == nil && os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/dev/shm") // disks only make this slow
	}
	os.Exit(m.Run())
}

// TestItself: the tester finds nothing between two real servers.
func TestItself(t *testing.T) {
	for name, n := range map[string]int{"Standalone": 20, "StandaloneBursts": 20, "LifeCycles": 1, "RoamingBursts": 5} {
		t.Run(name, func(t *testing.T) {
			p := named(name)
			p.shape.requests = *requests
			sum := p.pair(t, realName, zkprocess.ZooKeeper).runSeeds(*firstSeed, n, p.shape, time.Time{})
			fmt.Printf("two real ones, %s: %v\n", name, sum)
		})
	}
}

func named(name string) profile {
	for _, p := range profiles {
		if p.name == name {
			return p
		}
	}
	panic("no profile " + name)
}

// TestProfiles compares a real server with coordd, in every profile.
func TestProfiles(t *testing.T) {
	var until time.Time
	if *lasting > 0 {
		until = time.Now().Add(*lasting)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-profile: %v", err)
	}
	sums := map[string]*tally{}
	for round := uint64(0); round == 0 || time.Now().Before(until); round++ {
		for _, p := range profiles {
			if !wanted.MatchString(p.name) {
				continue
			}
			n := p.programs
			if *seeds > 0 {
				n = *seeds
			}
			t.Run(p.name, func(t *testing.T) {
				p.shape.requests = *requests
				sum := p.pair(t, "coordd   ", zkprocess.Coordd).runSeeds(*firstSeed+round*uint64(n), n, p.shape, until)
				fmt.Printf("%s: %v\n", p.name, sum)
				if sums[p.name] == nil {
					sums[p.name] = &tally{answers: answers{}}
				}
				sums[p.name].add(sum)
			})
		}
		if t.Failed() || len(sums) == 0 {
			break
		}
	}
	total, enough := tally{answers: answers{}}, true
	fmt.Println("programs compared:")
	for _, p := range profiles {
		sum := sums[p.name]
		enough = enough && sum != nil && sum.programs >= p.programs
		if sum != nil {
			fmt.Printf("  %-18s %v\n", p.name, sum)
			total.add(*sum)
		}
	}
	fmt.Printf("  %-18s %v\n%v", "total", total, total.answers)
	for _, l := range leftOut {
		fmt.Printf("left out: %s: %s\n", l.what, l.why)
	}
	missing, surprising := total.answers.unmet()
	if len(surprising) > 0 {
		t.Errorf("answered, and not expected:\n  %s", strings.Join(surprising, "\n  "))
	}
	if enough && len(missing) > 0 { // of fewer programs not everything is to be had
		t.Errorf("expected of both, and not there:\n  %s", strings.Join(missing, "\n  "))
	}
}
