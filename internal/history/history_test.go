package history

import (
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

// step is an operation that was called and answered at two places in the order;
// the zxid is 10 times the second unless it says otherwise.
func step(call, ret int64, op Op) Op {
	op.Call, op.Return = call, ret
	op.Began, op.Ended = time.Duration(call)*time.Second, time.Duration(ret)*time.Second
	if op.Zxid == 0 && op.Outcome == OK {
		op.Zxid = 10 * ret
	}
	if op.Session == 0 {
		op.Session = 1
	}
	return op
}

func write(version int32, value string) Op {
	return Op{Kind: Write, Path: "/r", Version: version, Value: value}
}

func read(kind Kind, version int32, value string) Op {
	return Op{Kind: kind, Path: "/r", Version: version, Value: value}
}

func cas(expected, version int32, value string, code protocol.ErrCode) Op {
	return Op{Kind: CompareAndSet, Path: "/r", Expected: expected, Version: version, Value: value, Code: code}
}

func unknown(op Op) Op {
	op.Outcome, op.Version, op.Zxid = Unknown, 0, 0
	return op
}

func at(zxid int64, op Op) Op {
	op.Zxid = zxid
	return op
}

func in(session int64, op Op) Op {
	op.Session = session
	return op
}

// Every check accepts what may be and refuses what may not: found is a part of
// what it says, or "" where nothing is wrong.
type example struct {
	name  string
	h     History
	found string
}

func check(t *testing.T, run func(*History) []Violation, examples []example) {
	t.Helper()
	refused := 0
	for _, e := range examples {
		violations := run(&e.h)
		var text strings.Builder
		for _, v := range violations {
			text.WriteString(v.String() + "\n")
		}
		switch {
		case e.found == "" && len(violations) > 0:
			t.Errorf("%s: refused: %s", e.name, &text)
		case e.found != "" && !strings.Contains(text.String(), e.found):
			t.Errorf("%s: found %q, want %q", e.name, &text, e.found)
		}
		if e.found != "" {
			refused++
			if all := Check(&e.h); len(all) == 0 {
				t.Errorf("%s: Check has not run the check", e.name)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing that the check has to refuse")
	}
}

func ops(list ...Op) History { return History{Ops: list} }

func TestRegisters(t *testing.T) {
	check(t, func(h *History) []Violation { return Registers(h, time.Minute) }, []example{
		{"in turn", ops(step(1, 2, write(1, "a")), step(3, 4, read(SyncRead, 1, "a")), step(5, 6, cas(1, 2, "b", 0)), step(7, 8, read(SyncRead, 2, "b"))), ""},
		{"a stale read", ops(step(1, 2, write(1, "a")), step(3, 4, write(2, "b")), step(5, 6, read(SyncRead, 1, "a"))), "no order of its 3 operations"},
		{"a plain read may be stale", ops(step(1, 2, write(1, "a")), step(3, 4, read(Read, 0, ""))), ""},
		{"read beside the write", ops(step(1, 4, write(1, "a")), step(2, 3, read(SyncRead, 1, "a"))), ""},
		{"seen, and then not", ops(step(1, 8, write(1, "a")), step(2, 3, read(SyncRead, 1, "a")), step(4, 5, read(SyncRead, 0, ""))), "no order"},
		{"unknown, and it happened", ops(step(1, 2, unknown(write(0, "a"))), step(3, 4, read(SyncRead, 1, "a"))), ""},
		{"unknown, and it did not", ops(step(1, 2, unknown(write(0, "a"))), step(3, 4, write(1, "b")), step(5, 6, read(SyncRead, 1, "b"))), ""},
		{"unknown, and it happened late", ops(step(1, 2, unknown(write(0, "a"))), step(3, 4, write(1, "b")), step(5, 6, read(SyncRead, 2, "a"))), ""},
		{"unknown, and it happened twice", ops(step(1, 2, unknown(write(0, "a"))), step(3, 4, write(2, "b")), step(5, 6, read(SyncRead, 3, "a"))), "no order"},
		{"refused, and it happened", ops(step(1, 2, Op{Kind: Write, Path: "/r", Value: "a", Outcome: Failed}), step(3, 4, read(SyncRead, 1, "a"))), "no order"},
		{"lost", ops(step(1, 2, write(1, "a")), step(3, 4, write(1, "b"))), "no order"},
		{"two winners", ops(step(1, 4, cas(0, 1, "a", 0)), step(2, 5, cas(0, 1, "b", 0))), "no order"},
		{"one winner", ops(step(1, 4, cas(0, 1, "a", 0)), step(2, 5, cas(0, 0, "b", protocol.BadVersion))), ""},
		{"no winner", ops(step(1, 4, cas(0, 0, "a", protocol.BadVersion)), step(2, 5, cas(0, 0, "b", protocol.BadVersion))), "no order"},
		{"a compare-and-set at another version", ops(step(1, 2, write(1, "a")), step(3, 4, cas(0, 2, "b", 0))), "no order"},
		{"an unknown one that cannot have happened", ops(step(1, 2, write(1, "a")), step(3, 4, unknown(cas(0, 0, "b", 0))), step(5, 6, read(SyncRead, 2, "b"))), "no order"},
	})
}

func TestUndecidedIsSaid(t *testing.T) {
	var list []Op
	for i := range int64(40) { // unknown writes in any order, and a read of none
		list = append(list, step(1, 2+i, unknown(write(0, string(rune('a'+i))))))
	}
	h := ops(append(list, step(100, 101, read(SyncRead, 39, "nobody's")))...)
	if v := Registers(&h, 10*time.Millisecond); len(v) != 1 || !strings.Contains(v[0].What, "undecided") {
		t.Errorf("%v", v)
	}
}

func TestOrder(t *testing.T) {
	check(t, Order, []example{
		{"in turn", ops(step(1, 2, write(1, "a")), step(3, 4, write(2, "b"))), ""},
		{"side by side", ops(step(1, 3, at(20, write(2, "a"))), step(2, 4, at(10, write(1, "b")))), ""},
		{"backwards", ops(step(1, 2, at(20, write(1, "a"))), step(3, 4, at(10, write(2, "b")))), "behind the answer to"},
		{"one zxid", ops(step(1, 3, at(20, write(1, "a"))), step(2, 4, at(20, write(2, "b")))), "one zxid"},
		{"a refused one", ops(step(1, 2, at(20, write(1, "a"))), step(3, 4, at(10, cas(0, 0, "b", protocol.BadVersion)))), ""},
	})
}

func TestSessionOrder(t *testing.T) {
	late := step(5, 6, at(60, read(Read, 1, "a")))
	late.Mzxid = 61
	check(t, SessionOrder, []example{
		{"forwards", ops(step(1, 2, at(20, write(1, "a"))), step(3, 4, at(20, read(Read, 1, "a")))), ""},
		{"backwards", ops(step(1, 2, at(20, write(1, "a"))), step(3, 4, at(19, read(Read, 1, "a")))), "behind client 0"},
		{"backwards on another server", ops(step(1, 2, at(20, Op{Kind: Look, Server: 1})), step(3, 4, at(19, Op{Kind: Look, Server: 2}))), "behind client 0"},
		{"another session", ops(step(1, 2, at(20, write(1, "a"))), step(3, 4, at(10, in(2, read(Read, 0, ""))))), ""},
		{"its own write unseen", ops(step(1, 2, write(1, "a")), step(3, 4, read(Read, 0, ""))), "had seen version 1"},
		{"an older version than read", ops(step(1, 2, read(Read, 2, "b")), step(3, 4, read(Read, 1, "a"))), "had seen version 2"},
		{"the same version written twice", ops(step(1, 2, write(1, "a")), step(3, 4, write(1, "b"))), "had seen version 1"},
		{"side by side", ops(step(1, 4, read(Read, 2, "b")), step(2, 3, at(30, read(Read, 1, "a")))), ""},
		{"the future", ops(late), "shows the change of 0x3d"},
	})
}

func TestValues(t *testing.T) {
	check(t, Values, []example{
		{"as written", ops(step(1, 2, write(1, "a")), step(3, 4, read(Read, 1, "a"))), ""},
		{"by somebody unknown", ops(step(1, 2, unknown(write(0, "a"))), step(3, 4, read(Read, 1, "a"))), ""},
		{"by nobody", ops(step(1, 2, read(Read, 1, "a"))), "nobody wrote"},
		{"one version, two values", ops(step(1, 2, write(1, "a")), step(1, 3, write(2, "b")), step(4, 5, in(2, read(Read, 1, "b")))), "two values"},
	})
}

func TestRefusals(t *testing.T) {
	failed := func(code protocol.ErrCode) Op { return Op{Kind: Write, Outcome: Failed, Code: code} }
	check(t, Refusals, []example{
		{"an expired session", ops(step(1, 2, failed(protocol.SessionExpired)), step(3, 4, failed(protocol.SessionMoved))), ""},
		{"no reason", ops(step(1, 2, failed(protocol.NoNode))), "NoNode"},
	})
}

func replica(paths ...string) History {
	nodes := map[string]Node{}
	for _, p := range paths {
		nodes[p] = Node{}
	}
	return History{Replicas: []Replica{{Nodes: nodes}}}
}

func with(h History, list ...Op) History {
	h.Ops = list
	return h
}

func TestAppends(t *testing.T) {
	asks := func(name, got string) Op { return Op{Kind: Append, Asked: "/a/" + name, Path: "/a/" + got} }
	refused := asks("x-", "x-")
	refused.Outcome = Failed
	check(t, Appends, []example{
		{"all there", with(replica("/a/x-0", "/a/y-1"), step(1, 2, asks("x-", "x-0")), step(3, 4, asks("y-", "y-1"))), ""},
		{"unknown, and there", with(replica("/a/x-0"), step(1, 2, unknown(asks("x-", "x-")))), ""},
		{"unknown, and not", with(replica("/a"), step(1, 2, unknown(asks("x-", "x-")))), ""},
		{"lost", with(replica("/a/x-0"), step(1, 2, asks("x-", "x-0")), step(3, 4, asks("y-", "y-1"))), "y-1: answered, and lost"},
		{"twice", with(replica("/a/x-0", "/a/x-1"), step(1, 2, asks("x-", "x-0"))), "applied twice"},
		{"out of order", with(replica("/a/x-1", "/a/y-0"), step(1, 2, unknown(asks("x-", "x-"))), step(3, 4, asks("y-", "y-0"))), "out of order"},
		{"by nobody", with(replica("/a/x-0", "/a/z-1"), step(1, 2, asks("x-", "x-0"))), "nobody asked"},
		{"one number twice", with(replica("/a/x-0", "/a/y-0"), step(1, 2, asks("x-", "x-0")), step(3, 4, asks("y-", "y-0"))), "given twice"},
		{"a hole", with(replica("/a/x-0", "/a/y-2"), step(1, 2, asks("x-", "x-0")), step(3, 4, asks("y-", "y-2"))), "number 1 of 2 missing"},
		{"another answer", with(replica("/a/x-0"), step(1, 2, asks("x-", "x-5"))), "answered as x-5"},
		{"refused, and there", with(replica("/a/x-0"), step(1, 2, refused)), "refused, and there"},
	})
}

func TestMultis(t *testing.T) {
	multi := func(kind Kind, outcome Outcome, code protocol.ErrCode) Op {
		return Op{Kind: kind, Path: "/x", Names: []string{"/m/a", "/m/b"}, Outcome: outcome, Code: code}
	}
	check(t, Multis, []example{
		{"all there", with(replica("/m/a", "/m/b"), step(1, 2, multi(Multi, OK, 0))), ""},
		{"unknown, all", with(replica("/m/a", "/m/b"), step(1, 2, multi(Multi, Unknown, 0))), ""},
		{"unknown, nothing", with(replica("/m"), step(1, 2, multi(Multi, Unknown, 0))), ""},
		{"unknown, half", with(replica("/m/b"), step(1, 2, multi(Multi, Unknown, 0))), "1 of the 2"},
		{"lost", with(replica("/m"), step(1, 2, multi(Multi, OK, 0))), "is lost"},
		{"half", with(replica("/m/a"), step(1, 2, multi(Multi, OK, 0))), "1 of the 2"},
		{"refused", with(replica("/m"), step(1, 2, multi(AbortedMulti, OK, protocol.BadVersion))), ""},
		{"refused, and there", with(replica("/m/a", "/m/b"), step(1, 2, multi(AbortedMulti, OK, protocol.BadVersion))), "refused multi happened"},
		{"not refused", with(replica("/m"), step(1, 2, multi(AbortedMulti, OK, 0))), "must fail succeeded"},
		{"seen whole", ops(step(1, 2, Op{Kind: PairRead, Version: 2, Second: 3})), ""},
		{"seen by half", ops(step(1, 2, Op{Kind: PairRead, Version: 3, Second: 2})), "half of a multi"},
	})
}

func TestLocks(t *testing.T) {
	of := func(kind Kind, ticket string) Op { return Op{Kind: kind, Path: ticket} }
	gone := of(Hold, "/l/1")
	gone.Code = protocol.NoNode
	check(t, Locks, []example{
		{"in turn", ops(step(1, 2, of(Claim, "/l/1")), step(3, 4, of(Hold, "/l/1")), step(5, 6, of(Release, "/l/1")), step(7, 8, at(60, of(Claim, "/l/2")))), ""},
		{"both", ops(step(1, 2, of(Claim, "/l/1")), step(3, 4, of(Claim, "/l/2")), step(5, 6, of(Release, "/l/1"))), "/l/1 was held at zxid 0x14"},
		{"held still", ops(step(1, 2, of(Claim, "/l/1")), step(3, 4, at(50, of(Claim, "/l/2"))), step(5, 6, at(51, of(Hold, "/l/1")))), "and /l/2 at 0x32"},
		{"at one zxid", ops(step(1, 2, at(20, of(Claim, "/l/1"))), step(1, 3, at(20, of(Claim, "/l/2")))), "was held at zxid"},
		{"expired", ops(step(1, 2, of(Claim, "/l/1")), step(3, 4, of(Claim, "/l/2")), step(5, 6, gone)), ""},
	})
}

func TestEphemerals(t *testing.T) {
	made := step(1, 2, at(20, Op{Kind: NewEphemeral, Path: "/e/1"}))
	list := func(zxid int64, names ...string) Op { return at(zxid, Op{Kind: List, Names: names, Session: 2}) }
	alive := step(7, 8, at(80, Op{Kind: Look}))
	drop := step(5, 6, at(60, Op{Kind: DropEphemeral, Path: "/e/1"}))
	ended := func(s Session, list ...Op) History {
		s.ID, s.Timeout = 1, 4*time.Second
		return History{Ops: append([]Op{made}, list...), Sessions: []Session{s}, Slack: 2 * time.Second}
	}
	closed := Session{End: Closed, Ended: 6 * time.Second, Return: 6, Zxid: 60}
	left := Session{End: Left, Ended: 6 * time.Second, Return: 6}
	calmLater := ended(left, step(14, 15, list(90, "1")))
	calmLater.Calm = 10 * time.Second
	check(t, Ephemerals, []example{
		{"there", ops(made, step(3, 4, list(30, "1")), alive), ""},
		{"not there yet", ops(made, step(3, 4, list(19)), alive), ""},
		{"gone while its session lives", ops(made, step(3, 4, list(30)), alive), "is missing at 0x1e"},
		{"deleted", ops(made, drop, step(7, 8, list(60)), alive), ""},
		{"deleted, and there", ops(made, drop, step(7, 8, list(60, "1"))), "was deleted at zxid 0x3c"},
		{"gone before it was deleted", ops(made, alive, step(9, 10, unknown(drop)), step(3, 4, list(30))), "is missing"},
		{"closed", ended(closed, step(7, 8, list(60))), ""},
		{"closed, and there", ended(closed, step(3, 8, list(60, "1"))), "was deleted at zxid 0x3c"},
		{"expired", ended(Session{End: Expired, Return: 6}, step(7, 8, list(80))), ""},
		{"expired, and there", ended(Session{End: Expired, Return: 6}, step(7, 8, list(80, "1"))), "after its session 0x1 had ended"},
		{"left", ended(left, step(11, 12, list(80, "1"))), ""},
		{"left for too long", ended(left, step(13, 14, list(80, "1"))), "7s after its client had gone"},
		{"in the care of a new leader", calmLater, ""},
	})
}

func TestWatchers(t *testing.T) {
	change := func(event protocol.EventType, path string) Op { return Op{Kind: Change, Event: event, Path: path} }
	changes := []Op{step(1, 2, at(20, change(1, "/w/a"))), step(3, 4, at(40, change(3, "/w/a"))), step(5, 6, unknown(change(2, "/w/b")))}
	told := func(from, to int64, events ...Event) Segment {
		return Segment{Session: 1, From: from, To: to, Events: events}
	}
	a, b := Event{20, 1, "/w/a"}, Event{40, 3, "/w/a"}
	segments := func(s ...Segment) History { return History{Ops: changes, Segments: s} }
	check(t, Watchers, []example{
		{"all", segments(told(10, 50, a, b)), ""},
		{"what nobody knows", segments(told(10, 50, a, Event{30, 2, "/w/b"}, b)), ""},
		{"set later", segments(told(20, 50, b)), ""},
		{"none", segments(told(10, 50, a)), "was not told: /w/a changed at zxid 0x28"},
		{"the last reply was before", segments(told(10, 39, a)), ""},
		{"twice", segments(told(10, 50, a, a, b)), "told twice"},
		{"twice, on two connections", segments(told(10, 39, a), told(39, 50, a, b)), "told twice"},
		{"between two connections", segments(told(10, 30, a), told(45, 50)), ""},
		{"out of order", segments(told(10, 50, b, a)), "behind"},
		{"before it watched", segments(told(20, 50, a, b)), "the watch was set at 0x14"},
		{"another event", segments(told(10, 50, a, Event{40, 2, "/w/a"})), "nobody has done"},
	})
}

func TestWatches(t *testing.T) {
	writes := []Op{step(1, 2, at(20, write(1, "a"))), step(3, 4, at(40, write(2, "b")))}
	watches := func(w Watch) History {
		w.Path, w.Session = "/r", 1
		return History{Ops: writes, Watches: []Watch{w}}
	}
	check(t, Watches, []example{
		{"told", watches(Watch{Version: 1, Set: 30, Fired: true, Event: Event{40, 3, "/r"}}), ""},
		{"nothing to tell", watches(Watch{Version: 2, Set: 50, Last: 2}), ""},
		{"not told", watches(Watch{Version: 1, Set: 30, Last: 2}), "was told nothing"},
		{"nobody has looked", watches(Watch{Version: 1, Set: 30, Last: -1}), ""},
		{"expired", watches(Watch{Version: 1, Set: 30, Last: 2, Gone: true}), ""},
		{"of the next change", watches(Watch{Version: 0, Set: 10, Fired: true, Event: Event{40, 3, "/r"}}), "changed at zxid 0x14"},
		{"of the next change, elsewhere", watches(Watch{Version: 0, Set: 10, Moved: true, Fired: true, Event: Event{-1, 3, "/r"}}), ""},
		{"of the one before", watches(Watch{Version: 1, Set: 30, Moved: true, Fired: true, Event: Event{20, 3, "/r"}}), "watched /r from zxid 0x1e"},
		{"unasked", History{Unasked: []Unasked{{Session: 1, Event: Event{40, 3, "/r"}}}}, "had not asked for"},
	})
}

func TestReplicas(t *testing.T) {
	two := func(a, b map[string]Node) History {
		return History{Replicas: []Replica{{0, a}, {1, b}}}
	}
	one := map[string]Node{"/a": {Data: "x"}}
	check(t, Replicas, []example{
		{"the same", two(one, map[string]Node{"/a": {Data: "x"}}), ""},
		{"missing", two(one, nil), "/a is at server 0, but not at server 1"},
		{"too much", two(nil, one), "/a is at server 1, but not at server 0"},
		{"data", two(one, map[string]Node{"/a": {Data: "y"}}), "/a is {Data:x"},
		{"stat", two(one, map[string]Node{"/a": {Data: "x", Stat: protocol.Stat{Mzxid: 1}}}), "/a is {Data:x"},
	})
}

func TestWronglyExpired(t *testing.T) {
	for silent, want := range map[time.Duration]bool{3 * time.Second: true, 4 * time.Second: false} {
		s := Session{End: Expired, Timeout: 4 * time.Second, Silent: silent}
		if got := s.WronglyExpired(); got != want {
			t.Errorf("silent for %v: %v, want %v", silent, got, want)
		}
	}
}

// A check reports a few of many.
func TestFindsAreBounded(t *testing.T) {
	var list []Op
	for i := range int64(100) {
		list = append(list, step(2*i, 2*i+1, Op{Kind: Write, Outcome: Failed, Code: protocol.NoNode}))
	}
	h := ops(list...)
	if v := Refusals(&h); len(v) != maxShown {
		t.Errorf("%d violations are shown", len(v))
	}
}
