package workload

import (
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/history"
)

func TestMeasure(t *testing.T) {
	const ms = time.Millisecond
	var h history.History
	add := func(client, server int, kind history.Kind, outcome history.Outcome, ended ...time.Duration) {
		for _, at := range ended {
			h.Ops = append(h.Ops, history.Op{Client: client, Server: server, Kind: kind, Outcome: outcome, Ended: at * ms})
		}
	}
	// Client 0 is at server 0, which fails at 100 ms, and goes to server 1;
	// client 1 is there from the start, and so is client 2, a
	// watcher; client 3 is one at server 0.
	add(0, 0, history.Write, history.OK, 10, 95)
	add(0, 0, history.Write, history.Unknown, 120)
	add(0, 1, history.Write, history.OK, 400, 490)
	add(0, 0, history.Read, history.OK, 50, 99)
	add(0, 1, history.Read, history.OK, 390, 450)
	add(1, 1, history.Write, history.OK, 20, 98, 150, 330, 480, 900)
	add(1, 1, history.Write, history.Failed, 200)
	add(1, 1, history.SyncRead, history.OK, 101)
	add(1, 1, history.Read, history.OK, 80, 180, 260, 350, 440)
	add(2, 1, history.Look, history.OK, 70, 199, 298, 397, 496)
	add(3, 0, history.Look, history.OK, 90, 391, 400, 500)
	add(-1, 0, history.NewEphemeral, history.OK, 110, 500)
	h.Losses = []history.Loss{{Client: 0, Server: 0, At: 120 * ms}, {Client: 1, Server: 1, At: 90 * ms}, {Client: 2, Server: 1, At: 300 * ms}}
	h.Sessions = []history.Session{
		{End: history.Expired, Ended: 300 * ms, Timeout: 50 * ms, Silent: 40 * ms},
		{End: history.Expired, Ended: 300 * ms, Timeout: 50 * ms, Silent: 60 * ms},
		{End: history.Expired, Ended: 600 * ms, Timeout: 50 * ms},
		{End: history.Closed, Ended: 300 * ms, Timeout: 50 * ms},
	}
	got := Measure(&h, 100*ms, 500*ms, func(server int) bool { return server == 0 })
	want := Figures{
		OK: 2 + 2 + 3 + 1 + 4 + 4 + 3, Failed: 1, Unknown: 1, Refused: 1,
		Write:          Gap{Failed: 305 * ms, Others: 180 * ms, All: 180 * ms},
		Read:           Gap{Failed: 301 * ms, Others: 129 * ms, All: 109 * ms},
		LossesAtFailed: 1, LossesAtOthers: 1, Expired: 2, WronglyExpired: 1,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCells(t *testing.T) {
	const ms = time.Millisecond
	rounds := []Figures{
		{OK: 10, Failed: 1, Unknown: 2, Write: Gap{Others: 30 * ms}, Read: Gap{Others: ms, Failed: 2500 * ms}, LossesAtOthers: 1},
		{OK: 20, Write: Gap{Others: 10 * ms}, WronglyExpired: 2},
		{OK: 30, Write: Gap{Others: 1999 * ms}, Read: Gap{Others: 3 * ms}},
	}
	want := []string{"3", "60, 1, 2", "30 ms, 2.0 s", "–", "1 ms, 3 ms", "0 ms, 2.5 s", "1", "2"}
	if got := Cells(rounds); !slices.Equal(got, want) || len(got) != len(Columns) {
		t.Errorf("%q, want %q", got, want)
	}
	if median, longest := Over(rounds[:2], func(f Figures) time.Duration { return f.Write.Others }); median != 20*ms || longest != 30*ms {
		t.Errorf("%v, %v", median, longest)
	}
}
