//go:build differential

package differential

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// answers counts what the two sides have answered: by the operation or the
// behaviour (row), then by the error code or the outcome (column).
type answers map[string]map[string]*[2]int

func (a answers) add(side int, row, column string) {
	if a[row] == nil {
		a[row] = map[string]*[2]int{}
	}
	if a[row][column] == nil {
		a[row][column] = &[2]int{}
	}
	a[row][column][side]++
}

// merge adds b to a.
func (a answers) merge(b answers) {
	for row, columns := range b {
		for column, n := range columns {
			if a[row] == nil {
				a[row] = map[string]*[2]int{}
			}
			if a[row][column] == nil {
				a[row][column] = &[2]int{}
			}
			a[row][column][0] += n[0]
			a[row][column][1] += n[1]
		}
	}
}

// both reports whether both sides have given an answer.
func (a answers) both(row, column string) bool {
	n := a[row][column]
	return n != nil && n[0] > 0 && n[1] > 0
}

// String is a table: a line for each row, with how often each column came
// from both sides, or from the one and the other where that differs.
func (a answers) String() string {
	var b strings.Builder
	for _, row := range slices.Sorted(maps.Keys(a)) {
		fmt.Fprintf(&b, "  %-26s", row)
		for _, column := range slices.Sorted(maps.Keys(a[row])) {
			n := a[row][column]
			if n[0] == n[1] {
				fmt.Fprintf(&b, " %s:%d", column, n[0])
			} else {
				fmt.Fprintf(&b, " %s:%d/%d", column, n[0], n[1])
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// closed is the column of requests that were answered by the end of the
// connection; moved that of those which a session sent where it is no more.
const (
	closed = "closed"
	moved  = "closed,SessionMoved"
)

// count adds what one side has made of a program.
func (a answers) count(side int, p *program, out *outcome) {
	for _, st := range out.streams {
		for _, e := range st.entries {
			switch {
			case e.note != "" && e.step >= 0:
				a.ended(side, p, out, e)
			case e.note != "":
			case e.hello:
				a.connected(side, p, e)
			case e.step >= 0:
				a.answered(side, &p.steps[e.step], e.frame)
			default:
				a.event(side, out, e.frame)
			}
		}
	}
}

func (a answers) ended(side int, p *program, out *outcome, e entry) {
	s := &p.steps[e.step]
	switch column := strings.ReplaceAll(e.note, " by server", ""); s.kind {
	case raw:
		a.add(side, "bytes that are no frame", column)
	case connect:
		a.hello(side, &s.hello, column)
	case wait:
		a.add(side, "a session that is silent", column)
	case request:
		if p.maxFrame > 0 && len(s.frame) > p.maxFrame {
			a.add(side, "a frame too long", column)
			return
		}
		if s.movedWrite {
			column = moved
		}
		a.add(side, s.row(), column)
	}
}

// row is where a request's answers are counted: the operations that nobody
// knows share one.
func (s *step) row() string {
	if op := protocol.Lookup(s.op()); op != nil {
		return op.Name
	}
	return "unknown operation"
}

func (a answers) connected(side int, p *program, e entry) {
	d := protocol.NewDecoder(e.frame)
	var r protocol.ConnectResponse
	r.Decode(&d)
	column := "Ok"
	if r.SessionID == 0 {
		column = "expired"
	} else if r.ReadOnly {
		column = "Ok,read-only"
	}
	a.hello(side, &p.steps[e.step].hello, column)
}

func (a answers) hello(side int, h *hello, column string) {
	from := "connect, taken up"
	switch h.from {
	case newSession:
		from = "connect, new"
	case noSession:
		from = "connect, unknown"
	}
	if h.cut > 0 {
		a.add(side, "connect, cut off", column)
		return
	}
	a.add(side, from, column)
	a.add(side, "connect, password "+[]string{"right", "wrong", "short", "empty", "null"}[h.password], column)
	a.add(side, "connect, last zxid "+[]string{"0", "seen", "negative", "ahead", "greatest"}[h.zxid], column)
	if h.timeout != longTimeout {
		a.add(side, "connect, odd timeout", column)
	}
}

func (a answers) answered(side int, s *step, frame []byte) {
	d := protocol.NewDecoder(frame)
	var h protocol.ReplyHeader
	h.Decode(&d)
	if d.Err() != nil {
		a.add(side, s.row(), "malformed reply")
		return
	}
	a.add(side, s.row(), h.Err.String())
	body := protocol.NewDecoder(s.frame[protocol.RequestHeaderSize:])
	switch s.op() {
	case protocol.OpMulti, protocol.OpMultiRead:
		var r protocol.MultiRequest
		if r.Decode(&body); h.Err == 0 && body.Err() == nil {
			a.multi(side, s.row(), r.Ops, &d)
		}
	case protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL:
		var r protocol.CreateRequest
		if r.Decode(&body); body.Err() == nil {
			a.schemes(side, r.ACL, h.Err)
		}
	case protocol.OpSetACL:
		var r protocol.SetACLRequest
		if r.Decode(&body); body.Err() == nil {
			a.schemes(side, r.ACL, h.Err)
		}
	}
}

// multi counts the results of a multi by operation and by the place of the one
// that failed.
func (a answers) multi(side int, row string, ops []protocol.MultiOp, d *protocol.Decoder) {
	failed := -1
	for i, op := range ops {
		var h protocol.MultiHeader
		if h.Decode(d); d.Err() != nil {
			return
		}
		code := protocol.OK
		if h.Type == protocol.OpError {
			if code = protocol.ErrCode(d.Int()); code != protocol.OK && failed < 0 {
				failed = i
			}
		} else {
			(&normaliser{out: &outcome{}, times: map[int64]int64{}}).body(h.Type, d) // only to get behind it
		}
		a.add(side, row+"/"+op.Type.String(), code.String())
	}
	if row != protocol.OpMulti.String() {
		return
	}
	if column := "succeeds"; failed < 0 {
		a.add(side, fmt.Sprintf("multi of %d", len(ops)), column)
	} else {
		a.add(side, fmt.Sprintf("multi of %d", len(ops)), fmt.Sprintf("fails at %d", failed+1))
	}
}

// schemes counts what became of lists, by the schemes in them.
func (a answers) schemes(side int, list []protocol.ACL, code protocol.ErrCode) {
	if code != protocol.OK && code != protocol.InvalidACL {
		return
	}
	for _, entry := range list {
		row := "ACL with another scheme"
		switch scheme := entry.ID.Scheme; scheme {
		case "world", "ip", "digest", "auth", "x509", "sasl", "super":
			row = "ACL with " + scheme
		case "", protocol.NullString:
			row = "ACL without a scheme"
		}
		a.add(side, row, code.String())
	}
}

var eventNames = map[int32]string{1: "created", 2: "deleted", 3: "changed", 4: "children"}

// removedKinds are the names of nodes that go by themselves, by what they are.
var removedKinds = []struct{ name, column string }{
	{"con", "container"}, {"ttl", "TTL"}, {"eph", "ephemeral"}, {"never", "never used container"},
}

func (a answers) event(side int, out *outcome, frame []byte) {
	d := protocol.NewDecoder(frame)
	var h protocol.ReplyHeader
	var e protocol.WatcherEvent
	h.Decode(&d)
	if e.Decode(&d); h.Xid != protocol.XidNotification || d.Err() != nil {
		return
	}
	column := "at once"
	if h.Zxid == -1 {
		column = "caught up with"
	}
	a.add(side, "event "+eventNames[int32(e.Type)], column)
	if eventNames[int32(e.Type)] != "deleted" || out.waited(h.Zxid) < 0 {
		return
	}
	last := e.Path[strings.LastIndexByte(e.Path, '/')+1:]
	for _, k := range removedKinds {
		if strings.HasPrefix(last, k.name) {
			a.add(side, "removed while waiting", k.column)
		}
	}
}

// unmet lists what is expected and was not answered so by both sides, and what
// was answered without being expected.
func (a answers) unmet() (missing, surprising []string) {
	for row, columns := range expected {
		for _, column := range strings.Fields(columns) {
			column = strings.ReplaceAll(column, "_", " ")
			if !a.both(row, column) {
				missing = append(missing, row+": "+column)
			}
		}
	}
	for row, columns := range a {
		want := strings.Fields(expected[row] + " " + seldom[row])
		for column := range columns {
			if !slices.Contains(want, strings.ReplaceAll(column, " ", "_")) {
				surprising = append(surprising, row+": "+column)
			}
		}
	}
	slices.Sort(missing)
	slices.Sort(surprising)
	return missing, surprising
}
