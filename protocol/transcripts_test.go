package protocol

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// frame is one recorded frame of testdata/transcripts.txt.
type frame struct {
	name    string // op.case
	op      string
	request bool
	data    []byte
}

func readTranscripts(t testing.TB) []frame {
	t.Helper()
	text, err := os.ReadFile("testdata/transcripts.txt")
	if err != nil {
		t.Fatalf("read transcripts: %v", err)
	}
	var frames []frame
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != ">" && fields[0] != "<" {
			t.Fatalf("transcripts: unknown line %q", line)
		}
		data, err := hex.DecodeString(fields[2])
		if err != nil {
			t.Fatalf("transcripts: %s: %v", fields[1], err)
		}
		op, _, _ := strings.Cut(fields[1], ".")
		frames = append(frames, frame{fields[1], op, fields[0] == ">", data})
	}
	return frames
}

// malformedRequests are the recorded requests whose bodies must not decode.
var malformedRequests = map[string]bool{
	"create.truncated":  true,
	"setData.truncated": true,
	"multi.truncated":   true,
	"multi.setACL":      true,
	"multiRead.exists":  true,
}

// unknownOps are the recorded requests under numbers that have no operation.
var unknownOps = map[string]bool{"unknown.refused": true, "notification0.refused": true}

// trailing is what the recorded requests have behind their records.
var trailing = map[string]string{"create.trailingBytes": "xyz"}

func TestRecordedRequests(t *testing.T) {
	valid, malformed := 0, 0
	seen := map[OpCode]bool{}
	for _, f := range readTranscripts(t) {
		if !f.request {
			continue
		}
		d := NewDecoder(f.data)
		var again []byte
		switch {
		case f.op == "connect":
			var r ConnectRequest
			r.Decode(&d)
			again = r.AppendTo(nil)
		default:
			var h RequestHeader
			h.Decode(&d)
			op := Lookup(h.Op)
			if unknownOps[f.name] {
				if op != nil {
					t.Errorf("%s: opcode %d has a row", f.name, h.Op)
				}
				malformed++
				continue
			}
			if op == nil || op.Name != f.op {
				t.Errorf("%s: opcode %d has the row %+v", f.name, h.Op, op)
				continue
			}
			again = h.AppendTo(nil)
			if op.Request != nil {
				body := op.Request()
				body.Decode(&d)
				if d.Err() == nil {
					again = body.AppendTo(again)
				}
			}
			seen[h.Op] = true
		}
		if malformedRequests[f.name] {
			malformed++
			if d.Err() == nil {
				t.Errorf("%s: decodes, want %v", f.name, ErrMalformed)
			}
			continue
		}
		if d.Err() != nil {
			t.Errorf("%s: %v", f.name, d.Err())
			continue
		}
		if got := string(d.Rest()); got != trailing[f.name] {
			t.Errorf("%s: left over %q, want %q", f.name, got, trailing[f.name])
		}
		if want := f.data[:len(f.data)-len(trailing[f.name])]; !bytes.Equal(again, want) {
			t.Errorf("%s: encodes to\n%x, want\n%x", f.name, again, want)
		}
		valid++
	}
	if valid < 150 || malformed != len(malformedRequests)+len(unknownOps) {
		t.Errorf("checked %d valid and %d malformed requests, want at least 150 and exactly %d",
			valid, malformed, len(malformedRequests)+len(unknownOps))
	}
	for _, op := range Ops {
		if op.Code != OpCreateSession && !seen[op.Code] {
			t.Errorf("no recorded request of %s", op.Name)
		}
	}
}

func TestRecordedReplies(t *testing.T) {
	checked, bodies := 0, 0
	ops := map[string]*Op{}
	for i := range Ops {
		ops[Ops[i].Name] = &Ops[i]
	}
	for _, f := range readTranscripts(t) {
		if f.request {
			continue
		}
		d := NewDecoder(f.data)
		var again []byte
		if f.op == "connect" {
			var r ConnectResponse
			r.Decode(&d)
			again = r.AppendTo(nil)
		} else {
			var h ReplyHeader
			h.Decode(&d)
			again = h.AppendTo(nil)
			if f.op == "notification" && h.Xid != XidNotification {
				t.Errorf("%s: xid %d", f.name, h.Xid)
			}
			if body := recordedBody(f, h, ops[f.op], len(d.Rest())); body != nil {
				body.Decode(&d)
				again = body.AppendTo(again)
				bodies++
			}
		}
		if d.Err() != nil || len(d.Rest()) != 0 {
			t.Errorf("%s: error %v, left over %x", f.name, d.Err(), d.Rest())
			continue
		}
		if !bytes.Equal(again, f.data) {
			t.Errorf("%s: encodes to\n%x, want\n%x", f.name, again, f.data)
		}
		checked++
	}
	if checked < 180 || bodies < 90 {
		t.Errorf("checked %d replies with %d bodies, want at least 180 and 90", checked, bodies)
	}
}

// recordedBody is the empty record that must follow h in f. A refused
// multiRead may have one too (rest > 0).
func recordedBody(f frame, h ReplyHeader, op *Op, rest int) Record {
	switch {
	case f.op == "notification":
		return new(WatcherEvent)
	case op == nil || op.Response == nil:
		return nil
	case h.Err == OK || op.Code == OpMultiRead && rest > 0:
		return op.Response()
	}
	return nil
}
