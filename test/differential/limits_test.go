//go:build differential

package differential

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// TestLimits compares what becomes of connections and requests beyond a limit.
func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		do    func(addr string) []string
		want  []string // of both; they agree, and the limit has shown
	}{
		{"connections of an address", []string{"maxClientCnxns=3"}, connections, []string{"Ok", "Ok", "Ok", "closed", "closed", "room again"}},
		{"connections of all", []string{"maxCnxns=3"}, connections, []string{"Ok", "Ok", "Ok", "closed", "closed", "room again"}},
		{"handshakes", []string{"connection_throttle_tokens=3", "connection_throttle_fill_time=3600000"}, handshakes, []string{"Ok", "Ok", "Ok", "closed", "closed"}},
		{"large requests", []string{"largeRequestThreshold=1000", "largeRequestMaxBytes=2500"}, largeRequests, []string{"900: Ok", "2400: Ok", "3000: closed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			os.Unsetenv("SERVER_JVMFLAGS")
			lines := (&profile{lines: tc.lines}).allLines()
			for name, binary := range map[string]func(testing.TB) string{"ZooKeeper": zkprocess.ZooKeeper, "coordd": zkprocess.Coordd} {
				server := zkprocess.Start(t, binary(t), 1, lines...)[0]
				time.Sleep(300 * time.Millisecond) // the connections that have asked whether it serves are gone then
				if got := tc.do(server.Addr()); !slices.Equal(got, tc.want) {
					t.Errorf("%s: %q, want %q", name, got, tc.want)
				}
				server.Kill()
			}
		})
	}
}

// open dials and opens a session.
func open(addr string) (*stream, string) {
	st, err := dial(addr)
	if err != nil {
		return nil, closedOr(err) // closed as soon as it was there
	}
	hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true}
	if _, err := st.call(hello.AppendTo(nil)); err != nil {
		st.nc.Close()
		return nil, closedOr(err)
	}
	return st, "Ok"
}

func closedOr(err error) string {
	if ending(err) == "closed by server" {
		return "closed"
	}
	return err.Error()
}

// connections opens five, and a sixth when one of them has gone.
func connections(addr string) (outcomes []string) {
	var held []*stream
	for range 5 {
		st, outcome := open(addr)
		outcomes = append(outcomes, outcome)
		if st != nil {
			held = append(held, st)
			defer st.nc.Close()
		}
	}
	if len(held) == 0 {
		return outcomes
	}
	held[0].nc.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if st, _ := open(addr); st != nil {
			st.nc.Close()
			return append(outcomes, "room again")
		}
	}
	return append(outcomes, "no room any more")
}

func handshakes(addr string) (outcomes []string) {
	for range 5 {
		st, outcome := open(addr)
		outcomes = append(outcomes, outcome)
		if st != nil {
			st.nc.Close()
		}
	}
	return outcomes
}

func largeRequests(addr string) (outcomes []string) {
	st, outcome := open(addr)
	if st == nil {
		return []string{outcome}
	}
	defer st.nc.Close()
	for _, n := range []int{900, 2400, 3000} {
		r := protocol.SetDataRequest{Path: "/", Data: make([]byte, n), Version: -1}
		outcome := "Ok"
		h, err := st.ask(protocol.OpSetData, &r)
		if err != nil {
			outcome = fmt.Sprint(err)
			if cause := errors.Unwrap(err); cause != nil {
				outcome = closedOr(cause)
			}
		} else if h.Err != 0 {
			outcome = h.Err.String()
		}
		outcomes = append(outcomes, fmt.Sprintf("%d: %s", n, outcome))
	}
	return outcomes
}
