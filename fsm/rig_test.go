package fsm

import (
	"fmt"

	"github.com/coordd/coordd/protocol"
)

// recorder is a Sink that writes down what it is told.
type recorder struct {
	results []Result
	verdict Verdict
	lines   []string // everything but results and batches, in order
	events  []Event
}

func (r *recorder) Batch(_ BatchID, _ int, v Verdict, code protocol.ErrCode) bool {
	r.verdict = v
	if v == RefusedBatch {
		r.say("refused %s", code.String())
	}
	return true
}

func (r *recorder) Result(i int, res *Result) {
	if i != len(r.results) {
		panic("results out of order")
	}
	kept := *res
	if res.Body != nil {
		kept.Body = append([]byte{}, res.Body...)
	}
	r.results = append(r.results, kept)
	r.say("result %s", res.Err.String())
}

func (r *recorder) Event(e *Event) {
	r.events = append(r.events, *e)
	word := map[protocol.EventType]string{1: "created", 2: "deleted", 3: "data", 4: "children"}[e.Type]
	r.say("%s %s", word, e.Path)
}

func (r *recorder) SessionOpened(id int64, _ int32, owner uint8, epoch uint32) {
	r.say("opened %#x owner %d epoch %d", id, owner, epoch)
}
func (r *recorder) SessionClosed(id int64) { r.say("closed %#x", id) }
func (r *recorder) Began(server uint8, incarnation, _ uint64, taken bool) {
	r.say("began %d %d %v", server, incarnation, taken)
}
func (r *recorder) Admitted(server uint8, number uint64) { r.say("admitted %d %d", server, number) }
func (r *recorder) ClusterID(id [16]byte)                { r.say("cluster %x", id[:2]) }
func (r *recorder) say(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

const (
	alice int64 = 0x0100000000000001
	bob   int64 = 0x0100000000000002
)

var (
	anyone   = []protocol.ID{{Scheme: "ip", ID: "10.1.2.3"}}
	owner    = []protocol.ID{{Scheme: "ip", ID: "10.1.2.3"}, {Scheme: "digest", ID: "me:hash"}}
	super    = []protocol.ID{{Scheme: "super", ID: ""}}
	password = []byte("0123456789abcdef")
	open     = protocol.WorldAnyone
	readOnly = []protocol.ACL{{Perms: protocol.PermRead, ID: protocol.ID{Scheme: "world", ID: "anyone"}}}
	mine     = []protocol.ACL{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: "me:hash"}}}
)

// reporter is what tests, fuzz targets and rapid's checks have in common.
type reporter interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// rig is a machine with server 1 begun, two sessions, and the extended types
// on; it keeps every entry.
type rig struct {
	t       reporter
	m       *Machine
	term    uint64
	seq     uint64
	timeMs  int64
	ids     []protocol.ID
	session int64
	epoch   uint32
	history [][]byte // the entries so far, their terms, and what came of them
	terms   []uint64
	outcome []*recorder
}

func newRig(t reporter) *rig {
	r := &rig{t: t, m: New(), term: 1, timeMs: 1000, ids: anyone, session: alice, epoch: 1}
	r.entry(func(e *EntryBuilder) {
		e.Begin(1, 7, 99)
		e.Settings(Settings{ExtendedTypes: true})
	})
	for _, id := range []int64{alice, bob} {
		c := CreateSession{ID: id, TimeoutMs: 4000, Password: password}
		if res := r.send(protocol.OpCreateSession, &c); res.Err != protocol.OK || res.Epoch != 1 {
			t.Fatalf("create session: %+v", res)
		}
	}
	return r
}

func (r *rig) entry(fill func(e *EntryBuilder)) *recorder {
	r.t.Helper()
	e := NewEntry(r.timeMs)
	fill(e)
	rec := &recorder{}
	r.history = append(r.history, e.Bytes())
	r.terms = append(r.terms, r.term)
	r.outcome = append(r.outcome, rec)
	if err := r.m.Apply(uint64(len(r.history)), r.term, e.Bytes(), rec); err != nil {
		r.t.Fatal(err)
	}
	return rec
}

func (r *rig) request(op protocol.OpCode, body []byte) Request {
	return Request{Session: r.session, Epoch: r.epoch, Op: op, Body: body}
}

func (r *rig) batch(reqs ...Request) *recorder {
	r.t.Helper()
	r.seq++
	b := Batch{ID: BatchID{1, 7, r.seq}, Identities: [][]protocol.ID{r.ids}, Requests: reqs}
	rec := r.entry(func(e *EntryBuilder) { e.Batch(b.AppendTo(nil)) })
	if rec.verdict != Accepted || len(rec.results) != len(reqs) {
		r.t.Fatalf("batch of %d: %v, %d results", len(reqs), rec.verdict, len(rec.results))
	}
	return rec
}

func (r *rig) send(op protocol.OpCode, body protocol.Record) Result {
	r.t.Helper()
	return r.log(op, body).results[0]
}

func (r *rig) log(op protocol.OpCode, body protocol.Record) *recorder {
	r.t.Helper()
	var p []byte
	if body != nil {
		p = body.AppendTo(nil)
	}
	return r.batch(r.request(op, p))
}

func (r *rig) create(path, data string, acl []protocol.ACL, mode protocol.CreateMode) protocol.ErrCode {
	r.t.Helper()
	return r.send(protocol.OpCreate, &protocol.CreateRequest{Path: path, Data: []byte(data), ACL: acl, Mode: mode}).Err
}

func (r *rig) mustCreate(path, data string, acl []protocol.ACL, mode protocol.CreateMode) {
	r.t.Helper()
	if code := r.create(path, data, acl, mode); code != protocol.OK {
		r.t.Fatalf("create %s: %v", path, code)
	}
}

func (r *rig) setData(path, data string, version int32) protocol.ErrCode {
	r.t.Helper()
	return r.send(protocol.OpSetData, &protocol.SetDataRequest{Path: path, Data: []byte(data), Version: version}).Err
}

func (r *rig) remove(path string, version int32) protocol.ErrCode {
	r.t.Helper()
	return r.send(protocol.OpDelete, &protocol.DeleteRequest{Path: path, Version: version}).Err
}

func (r *rig) data(path string) string {
	r.t.Helper()
	data, _, _, code := r.m.GetData(path, super)
	if code != protocol.OK {
		r.t.Fatalf("get %s: %v", path, code)
	}
	return data
}

func (r *rig) exists(path string) bool {
	_, code := r.m.Exists(path, super)
	return code == protocol.OK
}
