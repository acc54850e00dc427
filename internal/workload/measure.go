package workload

import (
	"slices"
	"time"

	"github.com/coordd/coordd/internal/history"
)

// Gap is the longest time without an answer: that of the client that waited
// longest, among the clients of servers that a fault was done to, and of the
// others. It is 0 where there are none.
type Gap struct {
	Failed, Others time.Duration
	// All is the longest time in which nobody had one.
	All time.Duration
}

// Figures say what a fault did to the clients.
type Figures struct {
	OK, Failed, Unknown int
	// Write is about acknowledged writes, Read about the reads of the watchers:
	// other clients' reads wait for the writes before them.
	Write, Read Gap
	// Losses are connections lost by clients of each kind.
	LossesAtFailed, LossesAtOthers int
	// Unanswered are the operations of clients of other servers with an
	// unknown outcome, and Refused those that failed.
	Unanswered, Refused int
	// Expired are sessions that expired though their clients wanted them, and
	// WronglyExpired those of them that had an answer within their timeout.
	Expired, WronglyExpired int
}

// Count adds one operation.
func (f *Figures) Count(o history.Outcome) {
	switch o {
	case history.OK:
		f.OK++
	case history.Failed:
		f.Failed++
	case history.Unknown:
		f.Unknown++
	}
}

// Measure looks at the time between from and to. A client belongs to the server
// that it had when it began; failed says which of them something was done to.
func Measure(h *history.History, from, to time.Duration, failed func(server int) bool) Figures {
	var f Figures
	home := map[int]int{}
	for i := range h.Ops {
		if op := &h.Ops[i]; op.Client >= 0 && op.Ended <= from {
			home[op.Client] = op.Server
		}
	}
	writes, reads := map[int][]time.Duration{}, map[int][]time.Duration{}
	var allWrites, allReads []time.Duration
	for i := range h.Ops {
		op := &h.Ops[i]
		server, counted := home[op.Client]
		if !counted || op.Ended > to {
			continue
		}
		if op.Ended > from {
			f.Count(op.Outcome)
			if !failed(server) && op.Outcome == history.Unknown {
				f.Unanswered++
			}
			if !failed(server) && op.Outcome == history.Failed {
				f.Refused++
			}
		}
		switch {
		case op.Outcome != history.OK:
		case op.Kind.Writes():
			writes[op.Client], allWrites = append(writes[op.Client], op.Ended), append(allWrites, op.Ended)
		case op.Kind == history.Look:
			reads[op.Client] = append(reads[op.Client], op.Ended)
		}
	}
	f.Write.All = gap(allWrites, from, to)
	for client, server := range home {
		g, answers := &f.Write, writes[client]
		if len(answers) == 0 { // a watcher
			g, answers = &f.Read, reads[client]
			allReads = append(allReads, answers...)
		}
		if failed(server) {
			g.Failed = max(g.Failed, gap(answers, from, to))
		} else {
			g.Others = max(g.Others, gap(answers, from, to))
		}
	}
	f.Read.All = gap(allReads, from, to)
	for _, loss := range h.Losses {
		server, counted := home[loss.Client]
		switch {
		case !counted || loss.At <= from || loss.At > to:
		case failed(server):
			f.LossesAtFailed++
		default:
			f.LossesAtOthers++
		}
	}
	for i := range h.Sessions {
		s := &h.Sessions[i]
		if s.End == history.Expired && from < s.Ended && s.Ended <= to {
			f.Expired++
			if s.WronglyExpired() {
				f.WronglyExpired++
			}
		}
	}
	return f
}

// gap is the longest time between two answers, of which the later one is behind
// from, or the end is to.
func gap(answers []time.Duration, from, to time.Duration) (longest time.Duration) {
	slices.Sort(answers)
	last := time.Duration(0)
	for _, at := range answers {
		if at > from {
			longest = max(longest, at-last)
		}
		last = at
	}
	return max(longest, to-last)
}
