package fsm

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coordd/coordd/protocol"
	"pgregory.net/rapid"
)

var somePaths = []string{"/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/a/", "/zookeeper/quota/a", qLimitsOfA, qStatsOfA, "/zookeeper", "bad"}

const (
	qLimitsOfA = "/zookeeper/quota/a/zookeeper_limits"
	qStatsOfA  = "/zookeeper/quota/a/zookeeper_stats"
)

func drawOp(t *rapid.T, ops ...protocol.OpCode) protocol.MultiOp {
	op := rapid.SampledFrom(ops).Draw(t, "op")
	path := rapid.SampledFrom(somePaths).Draw(t, "path")
	version := rapid.SampledFrom([]int32{-1, -1, -1, 0, 1}).Draw(t, "version")
	data := rapid.SampledFrom([][]byte{nil, {}, []byte("data"), []byte("count=3,bytes=5=;byteHardLimit=9;countHardLimit=4")}).Draw(t, "data")
	acl := rapid.SampledFrom([][]protocol.ACL{open, open, open, readOnly, mine, nil}).Draw(t, "acl")
	create := protocol.CreateRequest{Path: path, Data: data, ACL: acl, Mode: protocol.CreateMode(rapid.IntRange(0, 4).Draw(t, "mode"))}
	switch op {
	case protocol.OpCreateTTL:
		create.Mode = protocol.PersistentTTL
		return protocol.MultiOp{Type: op, Body: &protocol.CreateTTLRequest{CreateRequest: create, TTLMs: 50}}
	case protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer:
		return protocol.MultiOp{Type: op, Body: &create}
	case protocol.OpSetData:
		return protocol.MultiOp{Type: op, Body: &protocol.SetDataRequest{Path: path, Data: data, Version: version}}
	case protocol.OpSetACL:
		return protocol.MultiOp{Type: op, Body: &protocol.SetACLRequest{Path: path, ACL: acl, Version: version}}
	case protocol.OpSync:
		return protocol.MultiOp{Type: op, Body: &protocol.PathRequest{Path: path}}
	default: // delete, check
		return protocol.MultiOp{Type: op, Body: &protocol.DeleteRequest{Path: path, Version: version}}
	}
}

// drawStep applies one random entry to r.
func drawStep(t *rapid.T, r *rig) *recorder {
	r.timeMs += int64(rapid.IntRange(-20, 60).Draw(t, "time"))
	r.term += uint64(rapid.IntRange(0, 20).Draw(t, "term") / 20)
	r.session = rapid.SampledFrom([]int64{alice, bob}).Draw(t, "session")
	r.ids = rapid.SampledFrom([][]protocol.ID{anyone, owner, super}).Draw(t, "ids")
	if s, ok := r.m.Session(r.session); ok {
		r.epoch = s.Epoch
	}
	kind := rapid.IntRange(0, 19).Draw(t, "kind")
	switch kind {
	case 0, 1:
		return r.log(OpAttach, &Attach{Password: password, TimeoutMs: 5, Replaces: r.epoch - uint32(kind)})
	case 2:
		rec := r.log(protocol.OpCloseSession, nil)
		r.log(protocol.OpCreateSession, &CreateSession{ID: r.session, TimeoutMs: 1, Password: password})
		return rec
	case 3:
		return r.entry(func(e *EntryBuilder) {
			for _, d := range r.m.Reapable(r.timeMs, 30, 3) {
				e.Reap(d.Path, d.Czxid, d.Mzxid, d.Pzxid)
			}
		})
	case 4:
		s := Settings{EnforceQuota: rapid.Bool().Draw(t, "quota"), ExtendedTypes: true, SkipACL: rapid.Bool().Draw(t, "skipACL")}
		return r.entry(func(e *EntryBuilder) { e.Settings(s) })
	case 5, 6, 7, 8:
		m := &protocol.MultiRequest{}
		for range rapid.IntRange(0, 5).Draw(t, "ops") {
			m.Ops = append(m.Ops, drawOp(t, protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpDelete, protocol.OpSetData, protocol.OpCheck))
		}
		return r.log(protocol.OpMulti, m)
	}
	op := drawOp(t, protocol.OpCreate, protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL,
		protocol.OpDelete, protocol.OpSetData, protocol.OpSetACL, protocol.OpSync)
	return r.log(op.Type, op.Body)
}

// restored is the machine that a snapshot of m gives.
func restored(t reporter, m *Machine) *Machine {
	t.Helper()
	var out bytes.Buffer
	s := m.Snapshot()
	err := s.WriteTo(&out, new(sync.RWMutex))
	s.Release()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Restore(&out)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// One history ends in one state: applied again, with another machine's
// leftovers, or through a snapshot at any point, and with the same answers.
func TestHistoryDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		var zxid int64
		steps := rapid.IntRange(1, 40).Draw(t, "steps")
		first := len(r.history)
		for range steps {
			digest, had := r.m.tree.stateDigest(), r.m.Zxid()
			before := len(r.history)
			rec := drawStep(t, r)
			if r.m.Zxid() < zxid {
				t.Fatalf("zxid went from %x to %x", zxid, r.m.Zxid())
			}
			zxid = r.m.Zxid()
			for _, res := range rec.results {
				if res.Zxid < had || res.Zxid > zxid {
					t.Fatalf("result's zxid %x, state's %x to %x", res.Zxid, had, zxid)
				}
				if res.Err != protocol.OK && len(r.history) == before+1 && r.m.tree.stateDigest() != digest {
					t.Fatalf("failed with %v and changed the tree", res.Err)
				}
			}
		}
		cut := rapid.IntRange(first, len(r.history)).Draw(t, "cut")
		again := New()
		for i, p := range r.history {
			if i == cut {
				again = restored(t, again)
			}
			rec := &recorder{}
			if err := again.Apply(uint64(i), r.terms[i], p, rec); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rec.lines, r.outcome[i].lines) || !reflect.DeepEqual(rec.results, r.outcome[i].results) ||
				!slices.EqualFunc(rec.events, r.outcome[i].events, sameEvent) {
				t.Fatalf("entry %d: %q, the first time %q", i, rec.lines, r.outcome[i].lines)
			}
		}
		checkTables(t, again)
		if again.StateDigest() != r.m.StateDigest() || again.Digest() != r.m.Digest() {
			t.Fatalf("state %x, the first time %x", again.StateDigest(), r.m.StateDigest())
		}
	})
}

// sameEvent leaves out the slot, which is each server's own affair.
func sameEvent(a, b Event) bool {
	a.Node, b.Node = 0, 0
	return reflect.DeepEqual(a, b)
}

// checkTables compares what the machine keeps beside the tree with the tree.
func checkTables(t reporter, m *Machine) {
	t.Helper()
	fresh := newEphemeralTable()
	kept := m.ephemerals
	m.ephemerals = fresh
	m.findEphemerals()
	fresh = m.ephemerals
	m.ephemerals = kept
	if fresh.count != kept.count || len(fresh.nodes) != len(kept.nodes) {
		t.Fatalf("ephemeral table: %v, tree: %v", kept, fresh)
	}
	for s, set := range fresh.nodes {
		if len(set) != len(kept.nodes[s]) {
			t.Fatalf("session %x: %v, tree: %v", s, kept.nodes[s], set)
		}
	}
	var sum uint64
	m.EachSession(func(s SessionInfo) bool {
		sum += m.sessions.get(s.ID).hash()
		return true
	})
	if sum != m.sessions.sum {
		t.Fatal("sum over the sessions is off")
	}
}

func TestSnapshotWhileApplying(t *testing.T) {
	r := newRig(t)
	for i := range int64(600) {
		r.log(protocol.OpCreateSession, &CreateSession{ID: bob + 1 + i, TimeoutMs: 9, Password: password})
	}
	r.mustCreate("/a", "old", open, protocol.Persistent)
	r.mustCreate("/e", "", open, protocol.Ephemeral)
	digest, zxid := r.m.StateDigest(), r.m.Zxid()
	s := r.m.Snapshot()
	r.setData("/a", "new", -1)
	r.send(OpAttach, &Attach{Password: password, Replaces: 1})
	r.entry(func(e *EntryBuilder) { e.Expire(bob+300, 1); e.Expire(alice, 2) })
	var out bytes.Buffer
	if err := s.WriteTo(&out, new(sync.RWMutex)); err != nil {
		t.Fatal(err)
	}
	s.Release()
	m, err := Restore(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if m.StateDigest() != digest || m.Zxid() != zxid || m.Stats().Sessions != 602 || m.Stats().Ephemerals != 1 {
		t.Errorf("restored %+v", m.Stats())
	}
	if s, _ := m.Session(alice); s.Epoch != 1 || s.Ephemerals != 1 {
		t.Errorf("alice: %+v", s)
	}
	if checkTables(t, m); r.m.StateDigest() == digest {
		t.Error("the machine did not go on")
	}
	p := out.Bytes()
	for _, i := range []int{0, 20, 40, len(p) / 2, len(p) - 1} {
		bad := slices.Clone(p)
		bad[i] ^= 4
		if _, err := Restore(bytes.NewReader(bad)); err == nil {
			t.Errorf("flipped a bit of byte %d: restored", i)
		}
		if _, err := Restore(bytes.NewReader(p[:i])); err == nil {
			t.Errorf("cut to %d bytes: restored", i)
		}
	}
}

// What a digest is for: each of these must show.
func TestStateDigestSeesEverything(t *testing.T) {
	r := newRig(t)
	seen := map[uint64]string{r.m.StateDigest(): "start"}
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"zxid", func() { r.m.zxid++ }},
		{"time", func() { r.m.timeMs++ }},
		{"settings", func() { r.m.settings.SkipACL = true }},
		{"cluster id", func() { r.m.clusterID[3]++ }},
		{"nonce", func() { r.m.streams[1].nonce++ }},
		{"sequence", func() { r.m.streams[1].last++ }},
		{"admitted", func() { r.m.streams[9].admitted++ }},
		{"epoch", func() { s := *r.m.sessions.get(alice); s.epoch++; r.m.sessions.set(s) }},
		{"password", func() { s := *r.m.sessions.get(alice); s.password[5]++; r.m.sessions.set(s) }},
		{"session gone", func() { r.m.sessions.remove(bob) }},
		{"data", func() { r.m.tree.setData(rootID, []byte("x")) }},
	} {
		c.do()
		if old, ok := seen[r.m.StateDigest()]; ok {
			t.Errorf("%s: the digest of %s again", c.what, old)
		}
		seen[r.m.StateDigest()] = c.what
	}
}

func FuzzApply(f *testing.F) {
	r := newRig(f)
	r.mustCreate("/a", "x", open, protocol.PersistentSequential)
	f.Add(int32(protocol.OpMulti), multiOf(opSet("/", "x"), opDelete("/a")).AppendTo(nil), []byte{})
	for _, p := range r.history {
		f.Add(int32(protocol.OpCreate), p[entryHeaderSize:], p)
	}
	f.Fuzz(func(t *testing.T, op int32, body, raw []byte) {
		r := newRig(t)
		b := Batch{ID: BatchID{1, 7, 3}, Identities: [][]protocol.ID{owner}, Requests: []Request{r.request(protocol.OpCode(op), body)}}
		r.entry(func(e *EntryBuilder) { e.Batch(b.AppendTo(nil)) })
		e := NewEntry(5)
		e.Batch(append((&Batch{ID: BatchID{1, 7, 4}}).AppendTo(nil)[:batchHeaderSize-4], body...))
		_ = r.m.Apply(9, 1, e.Bytes(), &recorder{})
		_ = r.m.Apply(9, 1, raw, &recorder{})
		checkTables(t, r.m)
		if m := restored(t, r.m); m.StateDigest() != r.m.StateDigest() {
			t.Fatal("a snapshot lost something")
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	r := newRig(f)
	for range 2 {
		var out bytes.Buffer
		s := r.m.Snapshot()
		if err := s.WriteTo(&out, new(sync.RWMutex)); err != nil {
			f.Fatal(err)
		}
		s.Release()
		f.Add(out.Bytes())
		r.mustCreate("/a", strings.Repeat("x", 5000), mine, protocol.PersistentSequential)
		r.mustCreate("/e", "", open, protocol.EphemeralSequential)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > longestFuzzed {
			return
		}
		// Once as it is and once past the checksums.
		for _, stream := range [][]byte{p, mend(slices.Clone(p))} {
			m, err := Restore(bytes.NewReader(stream))
			if err != nil {
				continue
			}
			checkTables(t, m)
			if restored(t, m).StateDigest() != m.StateDigest() {
				t.Fatal("not the same again")
			}
		}
	})
}
