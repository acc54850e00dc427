package fsm

import (
	"errors"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
)

func wantLines(t *testing.T, rec *recorder, want ...string) {
	t.Helper()
	if !slices.Equal(rec.lines, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(rec.lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// Below apply everything is an argument: nothing here may ask the world.
func TestImports(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, i := range parsed.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			switch path {
			case "time", "math/rand", "math/rand/v2", "crypto/rand", "os", "net", "sync", "log", "log/slog", "github.com/hashicorp/go-hclog":
				t.Errorf("%s imports %s: replicas would differ by what it says", f.Name(), path)
			}
			if strings.HasPrefix(path, "github.com/coordd/coordd/") && path != "github.com/coordd/coordd/protocol" {
				t.Errorf("%s imports %s: fsm knows protocol alone", f.Name(), path)
			}
		}
	}
	if checked < 10 {
		t.Fatalf("only %d files found", checked)
	}
}

func TestZxid(t *testing.T) {
	r := newRig(t)
	if got := r.m.Zxid(); got != 1<<32|2 {
		t.Fatalf("two sessions: zxid %x", got)
	}
	r.mustCreate("/a", "", open, protocol.Persistent)
	r.create("/a", "", open, protocol.Persistent)
	if got := r.m.Zxid(); got != 1<<32|4 {
		t.Errorf("a create and a failed one: zxid %x", got)
	}
	res := r.send(protocol.OpSync, &protocol.PathRequest{Path: "what//ever"})
	if res.Zxid != 1<<32|4 || res.Err != protocol.OK || string(res.Body) != "\x00\x00\x00\x0awhat//ever" {
		t.Errorf("sync: %+v", res)
	}
	r.term = 5
	r.setData("/a", "", -1)
	if got := r.m.Zxid(); got != 5<<32|1 {
		t.Errorf("first of term 5: zxid %x", got)
	}
	r.entry(func(e *EntryBuilder) { e.RaiseZxid(5<<32 | 0xffffffff) })
	r.setData("/a", "", -1)
	if got := r.m.Zxid(); got != 6<<32 {
		t.Errorf("after 2^32 in a term: zxid %x", got)
	}
	r.term = 6
	r.setData("/a", "", -1)
	if got := r.m.Zxid(); got != 6<<32|1 {
		t.Errorf("term 6 thereafter: zxid %x", got)
	}
	r.entry(func(e *EntryBuilder) { e.RaiseZxid(3) })
	if got := r.m.Zxid(); got != 6<<32|1 {
		t.Errorf("raising never lowers: zxid %x", got)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	r := newRig(t)
	r.timeMs = 5000
	r.mustCreate("/a", "", open, protocol.Persistent)
	r.timeMs = 4000
	r.mustCreate("/b", "", open, protocol.Persistent)
	if st, _ := r.m.Exists("/b", anyone); st.Ctime != 5000 || r.m.TimeMs() != 5000 {
		t.Errorf("ctime %d, time %d", st.Ctime, r.m.TimeMs())
	}
}

func TestExactlyOnce(t *testing.T) {
	r := newRig(t)
	create := func(inc, seq uint64, path string) *recorder {
		body := (&protocol.CreateRequest{Path: path, ACL: open}).AppendTo(nil)
		b := Batch{ID: BatchID{1, inc, seq}, Identities: [][]protocol.ID{anyone}, Requests: []Request{r.request(protocol.OpCreate, body)}}
		return r.entry(func(e *EntryBuilder) { e.Batch(b.AppendTo(nil)) })
	}
	for _, c := range []struct {
		inc, seq uint64
		want     Verdict
	}{{7, 2, Duplicate}, {7, 0, Duplicate}, {7, 4, Gap}, {7, 3, Accepted}, {7, 3, Duplicate}, {6, 4, Stale}, {8, 4, Stale}, {0, 1, Stale}} {
		before := r.m.StateDigest()
		rec := create(c.inc, c.seq, "/n"+strconv.Itoa(int(c.seq)))
		if rec.verdict != c.want {
			t.Errorf("batch %d/%d: %v, want %v", c.inc, c.seq, rec.verdict, c.want)
		}
		if c.want != Accepted && (r.m.StateDigest() != before || len(rec.results) > 0) {
			t.Errorf("batch %d/%d was skipped and yet did something", c.inc, c.seq)
		}
	}
	begin := func(inc, nonce uint64) string {
		return r.entry(func(e *EntryBuilder) { e.Begin(1, inc, nonce) }).lines[0]
	}
	for _, c := range []struct {
		inc, nonce uint64
		want       string
	}{{7, 99, "began 1 7 false"}, {7, 98, "began 1 7 false"}, {6, 1, "began 1 6 false"}, {9, 5, "began 1 9 true"}, {9, 5, "began 1 9 false"}} {
		if got := begin(c.inc, c.nonce); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if inc, nonce, last := r.m.Stream(1); inc != 9 || nonce != 5 || last != 0 {
		t.Errorf("stream: %d %d %d", inc, nonce, last)
	}
	if v := create(7, 4, "/late").verdict; v != Stale {
		t.Errorf("the dead process's batch: %v", v)
	}
	rec := r.entry(func(e *EntryBuilder) { e.Refuse(BatchID{1, 9, 1}, 3, protocol.ThrottledOp) })
	if rec.verdict != RefusedBatch {
		t.Errorf("refusal: %v", rec.verdict)
	}
	if v := create(9, 2, "/next").verdict; v != Accepted {
		t.Errorf("after the refusal: %v", v)
	}
}

func TestBrokenBatchUsesUpItsNumber(t *testing.T) {
	r := newRig(t)
	b := Batch{ID: BatchID{1, 7, 3}, Identities: [][]protocol.ID{anyone}, Requests: []Request{r.request(protocol.OpSync, nil)}}
	p := b.AppendTo(nil)
	rec := r.entry(func(e *EntryBuilder) { e.Batch(p[:len(p)-2]) })
	if rec.verdict != RefusedBatch {
		t.Fatalf("cut batch: %v", rec.verdict)
	}
	if _, _, last := r.m.Stream(1); last != 3 {
		t.Errorf("last %d", last)
	}
}

func TestIgnoreStreamTable(t *testing.T) {
	r := newRig(t)
	r.mustCreate("/s", "", open, protocol.Persistent)
	r.mustCreate("/s/n", "", open, protocol.PersistentSequential)
	again := r.history[len(r.history)-1]
	for _, want := range []int32{1, 2} {
		if err := r.m.Apply(1, 1, again, &recorder{}); err != nil {
			t.Fatal(err)
		}
		if st, _ := r.m.Exists("/s", anyone); st.NumChildren != want {
			t.Errorf("%d children, want %d", st.NumChildren, want)
		}
		r.m.IgnoreStreamTable()
	}
}

func TestUnreadableEntries(t *testing.T) {
	batch := (&Batch{ID: BatchID{1, 7, 1}}).AppendTo(nil)
	newer := slices.Clone(batch)
	newer[0]++
	of := func(fill func(*EntryBuilder)) []byte {
		e := NewEntry(1)
		fill(e)
		return e.Bytes()
	}
	for name, c := range map[string]struct {
		p    []byte
		want error
	}{
		"empty":       {nil, errTruncated},
		"newer entry": {append([]byte{entryVersion + 1}, make([]byte, 20)...), ErrVersion},
		"newer batch": {of(func(e *EntryBuilder) { e.Batch(newer) }), ErrVersion},
		"cut batch":   {of(func(e *EntryBuilder) { e.Batch(batch[:9]) }), errTruncated},
		"cut item":    {of(func(e *EntryBuilder) { e.Batch(batch) })[:20], errTruncated},
		"new kind":    {append(of(func(*EntryBuilder) {}), 77, 0, 0, 0, 0), ErrVersion},
	} {
		m := New()
		before := m.StateDigest()
		if err := m.Apply(1, 1, c.p, &recorder{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if m.StateDigest() != before {
			t.Errorf("%s changed the state", name)
		}
	}
}

func TestBatchRoundTrip(t *testing.T) {
	want := Batch{ID: BatchID{3, 1 << 60, 5}, Identities: [][]protocol.ID{anyone, {}, {{Scheme: "digest", ID: "\xff\x00:x"}}},
		Requests: []Request{{Session: -3, Epoch: 1 << 31, Op: protocol.OpMulti, Identities: 2, Body: []byte("abc")}, {Op: OpAttach, Body: []byte{}}}}
	p := want.AppendTo([]byte("head"))[4:]
	var got Batch
	if err := got.decode(p); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	if id, n, err := PeekBatch(p); id != want.ID || n != 2 || err != nil {
		t.Errorf("peek: %v %d %v", id, n, err)
	}
	for i := range p {
		if i < batchHeaderSize {
			if _, _, err := PeekBatch(p[:i]); err == nil {
				t.Errorf("peek at %d bytes: no error", i)
			}
		} else if err := got.decode(p[:i]); err == nil {
			t.Errorf("cut to %d bytes: no error", i)
		}
	}
}

func TestOwnItems(t *testing.T) {
	r := newRig(t)
	before := r.m.Zxid()
	rec := r.entry(func(e *EntryBuilder) {
		e.Cluster([16]byte{0xab, 0xcd}, "")
		e.Admit(2, 77)
		e.Cluster([16]byte{0xee}, "")
	})
	wantLines(t, rec, "cluster abcd", "admitted 2 77", "cluster abcd")
	if r.m.Zxid() != before || r.m.AdmittedNumber(2) != 77 || r.m.ClusterID() != [16]byte{0xab, 0xcd} {
		t.Errorf("zxid %x, admitted %d, cluster %x", r.m.Zxid(), r.m.AdmittedNumber(2), r.m.ClusterID())
	}
	rec = r.entry(func(e *EntryBuilder) { e.Cluster([16]byte{}, "server.1=x") })
	wantLines(t, rec, "data /zookeeper/config", "cluster abcd")
	data, _, st, _ := r.m.GetData(configPath, anyone)
	if data != "server.1=x" || st.Version != -1 || st.Mzxid != before+1 || st.Czxid != 0 {
		t.Errorf("config: %q %+v", data, st)
	}
}

func TestEventsAndResponses(t *testing.T) {
	r := newRig(t)
	rec := r.log(protocol.OpCreate2, &protocol.CreateRequest{Path: "/a", Data: []byte("xy"), ACL: open})
	wantLines(t, rec, "created /a", "children /", "result Ok")
	var made protocol.Create2Response
	d := protocol.NewDecoder(rec.results[0].Body)
	made.Decode(&d)
	if st, _ := r.m.Exists("/a", anyone); d.Err() != nil || made.Path != "/a" || made.Stat != st || st.DataLength != 2 {
		t.Errorf("create2: %+v", made)
	}
	wantLines(t, r.log(protocol.OpSetData, &protocol.SetDataRequest{Path: "/a", Version: 0}), "data /a", "result Ok")
	wantLines(t, r.log(protocol.OpSetACL, &protocol.SetACLRequest{Path: "/a", ACL: readOnly, Version: 0}), "result Ok")
	rec = r.log(protocol.OpDelete, &protocol.DeleteRequest{Path: "/a", Version: 1})
	wantLines(t, rec, "deleted /a", "children /", "result Ok")
	if !reflect.DeepEqual(rec.events[0].ACL, readOnly) || !reflect.DeepEqual(rec.events[1].ACL, open) {
		t.Errorf("lists of the events: %v, %v", rec.events[0].ACL, rec.events[1].ACL)
	}
	if rec.events[0].Zxid != rec.results[0].Zxid || rec.results[0].Body != nil {
		t.Errorf("delete: %+v", rec.results[0])
	}
}

func TestNodeKinds(t *testing.T) {
	r := newRig(t)
	r.mustCreate("/p", "", open, protocol.Persistent)
	for i, c := range []struct {
		op   protocol.OpCode
		mode protocol.CreateMode
		want int64
	}{
		{protocol.OpCreate, protocol.Ephemeral, alice},
		{protocol.OpCreate, protocol.Container, 0},
		{protocol.OpCreate2, protocol.EphemeralSequential, alice},
		{protocol.OpCreateContainer, protocol.Persistent, containerMark},
		{protocol.OpCreateContainer, protocol.Ephemeral, containerMark},
		{protocol.OpCreateContainer, protocol.PersistentSequential, containerMark},
	} {
		path := "/p/" + strconv.Itoa(i)
		if res := r.send(c.op, &protocol.CreateRequest{Path: path, ACL: open, Mode: c.mode}); res.Err != protocol.OK {
			t.Fatal(res.Err)
		}
		if c.mode.Sequential() {
			path += "000000000" + strconv.Itoa(i)
		}
		id := r.m.tree.lookup(path)
		if id == 0 || r.m.tree.at(id).owner != c.want {
			t.Errorf("%s: node %d", path, id)
		}
	}
	r.mustCreate("/p/", "", open, protocol.PersistentSequential)
	if !r.exists("/p/0000000006") {
		t.Error("a sequential create may end with a slash")
	}
	if r.create("/p/0000000007", "", open, protocol.Persistent) != protocol.OK ||
		r.remove("/p/0000000007", -1) != protocol.OK {
		t.Fatal("plain child")
	}
	r.mustCreate("/p/q", "", open, protocol.PersistentSequential)
	if !r.exists("/p/q0000000008") {
		t.Error("plain creates take a number, deletes give none back")
	}
}

func TestReap(t *testing.T) {
	r := newRig(t)
	ttl := protocol.CreateTTLRequest{CreateRequest: protocol.CreateRequest{Path: "/ttl", ACL: open, Mode: protocol.PersistentTTL}, TTLMs: 100}
	if res := r.send(protocol.OpCreateTTL, &ttl); res.Err != protocol.OK {
		t.Fatal(res.Err)
	}
	r.send(protocol.OpCreateContainer, &protocol.CreateRequest{Path: "/c", ACL: open, Mode: protocol.Container})
	if got := r.m.Reapable(1100, 0, 10); len(got) > 0 {
		t.Errorf("too early: %v", got)
	}
	r.mustCreate("/c/kid", "", open, protocol.Persistent)
	if got := r.m.Reapable(1100, 1, 10); len(got) > 0 {
		t.Errorf("a container in use: %v", got)
	}
	r.remove("/c/kid", -1)
	due := r.m.Reapable(1101, 0, 10)
	if len(due) != 2 || due[0].Path != "/ttl" || due[1].Path != "/c" || len(r.m.Reapable(1101, 0, 1)) != 1 {
		t.Fatalf("due: %v", due)
	}
	r.setData("/ttl", "alive", -1)
	before := r.m.Zxid()
	rec := r.entry(func(e *EntryBuilder) {
		for _, d := range due {
			e.Reap(d.Path, d.Czxid, d.Mzxid, d.Pzxid)
		}
		e.Reap("/missing", 1, 1, 1)
		e.Reap("/zookeeper/config", 0, 0, 0)
	})
	wantLines(t, rec, "deleted /c", "children /")
	if r.m.Zxid() != before+1 || !r.exists("/ttl") {
		t.Errorf("zxid %x after %x", r.m.Zxid(), before)
	}
}
