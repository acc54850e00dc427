// Package history judges what clients of a ZooKeeper were told: whether what
// they recorded can have come from one tree that every session sees in order.
//
// It guarantees that what it reports is wrong, with one exception that it names:
// a linearizability check that did not come to an end. It does not find
// everything: what no client saw, nobody judges. It makes no requests and knows
// no servers; package workload makes histories.
package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Kind is what an operation does.
type Kind string

// The kinds. A register is a znode that is there from the start to the end, at
// version 0 and without data when the history begins.
const (
	Write         Kind = "write"           // sets a register at whatever version
	CompareAndSet Kind = "compare-and-set" // sets a register if it has a version
	Read          Kind = "read"            // of a register, as the session's server has it
	SyncRead      Kind = "sync+read"       // of a register, behind a sync
	Append        Kind = "append"          // creates a sequential znode; one at a time in each client
	Multi         Kind = "multi"           // creates the znodes Names and sets the register Path and its twin
	AbortedMulti  Kind = "multi, refused"  // the same, with an operation that must fail
	PairRead      Kind = "pair"            // reads a register and then its twin
	NewEphemeral  Kind = "ephemeral"       // creates an ephemeral
	DropEphemeral Kind = "drop ephemeral"  // deletes it
	List          Kind = "list"            // lists, behind a sync, the directory of the ephemerals
	Claim         Kind = "lock"            // sees that its ticket is the first in the line
	Hold          Kind = "hold"            // a write that needs the ticket
	Release       Kind = "release"         // deletes the ticket
	Change        Kind = "change"          // creates, sets or deletes what a persistent watcher watches
	Look          Kind = "look"            // a read that is judged by its zxid alone
	Other         Kind = "other"           // counted, and judged by its zxid alone
)

// Writes reports whether an operation of the kind changes the tree.
func (k Kind) Writes() bool {
	switch k {
	case Read, SyncRead, PairRead, List, Claim, Look, Other:
		return false
	}
	return true
}

// Outcome is what became of an operation.
type Outcome int

// The outcomes.
const (
	// OK is an answer as it is meant to be; BadVersion, too, where a
	// compare-and-set asks for it.
	OK Outcome = iota
	// Failed is a refusal: it did not happen, and should have.
	Failed
	// Unknown is a lost connection: it may have happened, or happen still.
	Unknown
)

func (o Outcome) String() string {
	return [...]string{"ok", "failed", "unknown"}[o]
}

// Op is one operation of one client.
type Op struct {
	Client  int
	Session int64
	Server  int // that the session was connected to
	Kind    Kind
	Path    string // of the znode; a sequential one's with its number
	Asked   string // Append: the path without its number

	// Began and Ended are times since the history began.
	Began, Ended time.Duration
	// Call and Return are places in the order of all such moments, by which
	// operations are before, behind or beside each other. An unknown one's
	// Return is when its client gave up.
	Call, Return int64

	Outcome  Outcome
	Code     protocol.ErrCode
	Zxid     int64              // of the reply
	Mzxid    int64              // of the register that was read or set
	Value    string             // written or read
	Version  int32              // of the register, as read or after the write
	Expected int32              // CompareAndSet: the version that it asks for
	Second   int32              // PairRead: the version of the twin
	Event    protocol.EventType // Change: what a watcher is told
	Names    []string           // List: what was there; Multi: paths that it creates
}

func (o *Op) String() string {
	s := fmt.Sprintf("client %d, session 0x%x at server %d, %v to %v: %s %s", o.Client, o.Session, o.Server,
		o.Began.Round(time.Millisecond), o.Ended.Round(time.Millisecond), o.Kind, o.Path)
	if o.Kind == CompareAndSet {
		s += fmt.Sprintf(" expected %d", o.Expected)
	}
	if o.Outcome != OK {
		return s + ": " + o.Outcome.String()
	}
	if o.Code != protocol.OK {
		return fmt.Sprintf("%s: %v, zxid 0x%x", s, o.Code, o.Zxid)
	}
	return fmt.Sprintf("%s: version %d, %q, zxid 0x%x", s, o.Version, o.Value, o.Zxid)
}

// End is how a session ended.
type End int

// The ways a session ends.
const (
	Open    End = iota // it did not
	Closed             // by its client, which has the reply
	Expired            // its client was told so, and had wanted to keep it
	Left               // its client hung up and never came back
)

// Session is one session of a client.
type Session struct {
	ID      int64
	Client  int
	Timeout time.Duration
	End     End
	Ended   time.Duration // when that happened
	Return  int64         // its place in the order
	Zxid    int64         // of the reply, when closed
	// Silent is how long an expired session had had no reply.
	Silent time.Duration
}

// WronglyExpired reports whether the session expired though it had a reply
// within its timeout.
func (s *Session) WronglyExpired() bool {
	return s.End == Expired && s.Silent < s.Timeout
}

// Event is what a watcher was told.
type Event struct {
	Zxid int64 // -1 where the server does not say
	Type protocol.EventType
	Path string
}

// Segment is the time of a persistent recursive watch on one connection: every
// change behind From and not behind To was told on it.
type Segment struct {
	Session  int64
	Server   int
	From, To int64 // zxids of the replies when it was set, and of the last one
	Events   []Event
}

// Watch is an ordinary data watch.
type Watch struct {
	Session int64
	Path    string
	Version int32 // that the znode had
	Set     int64 // zxid of the reply that set it
	Moved   bool  // the session has taken it to another connection
	Fired   bool
	Event   Event // what it was told
	// Last is the version that the znode had, for the same session, at the
	// end; -1: it is deleted or nobody has looked.
	Last int32
	// Gone: the session ended before anybody could look.
	Gone bool
}

// Unasked is an event that came without a watch.
type Unasked struct {
	Session int64
	Server  int
	At      time.Duration
	Event   Event
}

// Loss is a connection that ended while its client wanted it.
type Loss struct {
	Client, Server int
	At             time.Duration
}

// Node is a znode as a server has it.
type Node struct {
	Data string
	Stat protocol.Stat
}

// Replica is the tree of a server, brought up to date, at the end. Paths begin
// at the server's root.
type Replica struct {
	Server int
	Nodes  map[string]Node
}

// History is everything that was recorded.
type History struct {
	Ops      []Op
	Sessions []Session
	Segments []Segment
	Watches  []Watch
	Losses   []Loss
	// Unasked are events that came without a watch.
	Unasked []Unasked
	// Replicas are the trees in the end.
	Replicas []Replica
	// Calm is since when nothing was done to the servers, and Slack how much
	// longer than its timeout a session may live then.
	Calm, Slack time.Duration
	Length      time.Duration
}

// Violation is something that must not be.
type Violation struct {
	Check string // the name of the check
	What  string
}

func (v Violation) String() string { return v.Check + ": " + v.What }

// maxShown bounds what one check reports: what is wrong once is often wrong in
// all that follows.
const maxShown = 5

// finds gathers the violations of one check.
type finds struct {
	check string
	list  []Violation
}

func (f *finds) add(format string, args ...any) {
	if len(f.list) < maxShown {
		f.list = append(f.list, Violation{f.check, fmt.Sprintf(format, args...)})
	}
}

// Check runs every check.
func Check(h *History) []Violation {
	return slices.Concat(Refusals(h), Registers(h, registerLimit), Order(h), SessionOrder(h), Values(h), Appends(h), Multis(h),
		Locks(h), Ephemerals(h), Watchers(h), Watches(h), Replicas(h))
}

// Refusals checks that nothing was refused that had to succeed, but for what a
// session that expires or moves may be told.
func Refusals(h *History) []Violation {
	found := finds{check: "refusals"}
	for i := range h.Ops {
		op := &h.Ops[i]
		if op.Outcome == Failed && op.Code != protocol.SessionExpired && op.Code != protocol.SessionMoved {
			found.add("%v: %v", op, op.Code)
		}
	}
	return found.list
}

// byCall and byReturn are two orders of operations.
func byCall(a, b *Op) int   { return cmp.Compare(a.Call, b.Call) }
func byReturn(a, b *Op) int { return cmp.Compare(a.Return, b.Return) }

// choose returns pointers to the operations for which keep holds.
func choose(ops []Op, keep func(*Op) bool) (chosen []*Op) {
	for i := range ops {
		if keep(&ops[i]) {
			chosen = append(chosen, &ops[i])
		}
	}
	return chosen
}

// inOrder calls before(a) for each operation a, and then check(b), when all
// that had returned before b was called has been passed to before.
func inOrder(ops []*Op, before, check func(*Op)) {
	called, returned := slices.Clone(ops), slices.Clone(ops)
	slices.SortStableFunc(called, byCall)
	slices.SortStableFunc(returned, byReturn)
	next := 0
	for _, op := range called {
		for ; next < len(returned) && returned[next].Return < op.Call; next++ {
			before(returned[next])
		}
		check(op)
	}
}
