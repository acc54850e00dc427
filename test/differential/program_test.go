//go:build differential

package differential

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// placeholder stands for the name of a run's own sub-tree wherever a program
// names it. A run's real name is as long, so that lengths stay right.
const (
	placeholder = "pXXXXXXX"
	home        = "/" + placeholder
)

// slots is how many connections a program has at a time.
const slots = 3

type kind uint8

const (
	request kind = iota // one frame with a request header
	raw                 // bytes that are no proper frame; the server closes
	connect             // a new connection in the slot, with its handshake
	hangUp              // the connection is closed by the client
	wait                // until what goes by itself has gone
)

// step is one thing that a program does. It does not depend on what servers
// have answered, except through zxids and sessions, which are filled in when
// it runs: so any subset of a program's steps is a program.
type step struct {
	kind kind
	slot int
	// frame is a request's header and body without the length; for raw all bytes.
	frame []byte
	// behind sends a request without waiting for the answer to the step before.
	behind bool
	// zxidAt is where in frame a zxid belongs, 0 for nowhere; back is how far it
	// lies before the last one that this side has shown.
	zxidAt int
	back   int64
	hello  hello
	// movedWrite is a write over the connection that a session has left behind
	// on another server, which is closed instead of an answer.
	movedWrite bool
	// stalled sends the run of requests that ends here while the leader stands
	// still, for as long as makes those behind the first one late.
	stalled bool
}

// What hello.from says beside slots.
const (
	newSession = -1
	noSession  = -2 // one that never was
)

// longTimeout outlasts every program; shortTimeout is the least that the
// servers of profiles with waits give.
const (
	longTimeout  = 60000
	shortTimeout = 1000
)

// hello is the handshake of a connect.
type hello struct {
	from     int // slot whose session is taken up, newSession or noSession
	password passwordKind
	zxid     zxidKind
	timeout  int32
	readOnly int // 0 and 1 as the byte, -1 without it
	version  int32
	cut      int // bytes missing at the end
	server   int // index of the server
	// moves: the connection that the session has elsewhere stays, for a
	// movedWrite.
	moves bool
}

type passwordKind uint8

const (
	rightPassword passwordKind = iota
	wrongPassword
	shortPassword
	emptyPassword
	nullPassword
)

type zxidKind uint8

const (
	zxidZero zxidKind = iota
	zxidLast
	zxidNegative
	zxidAhead
	zxidMax
)

// program is what one seed makes.
type program struct {
	seed  uint64
	steps []step
	roams bool // connections are to several servers
	// rests waits for the leader after each setACL and closeSession: a real one
	// may judge the next request by the old list, or by ephemerals that are gone,
	// until it has applied what its follower, having answered, has applied
	// before it.
	rests bool
	waits bool // something goes by itself
	// frozen: nothing can be written, so the sub-tree was there before.
	frozen   bool
	maxFrame int // the longest frame, where it is short
}

// requests counts the program's requests, handshakes among them.
func (p *program) requests() int {
	n := 0
	for _, s := range p.steps {
		if s.kind != hangUp && s.kind != wait {
			n++
		}
	}
	return n
}

// with is p with other steps.
func (p *program) with(steps []step) *program {
	q := *p
	q.steps = steps
	return &q
}

func (s *step) op() protocol.OpCode {
	if s.kind != request || len(s.frame) < protocol.RequestHeaderSize {
		return 0
	}
	return protocol.OpCode(int32(binary.BigEndian.Uint32(s.frame[4:])))
}

// String shows a step in a transcript.
func (s *step) String() string {
	switch s.kind {
	case wait:
		return "wait"
	case hangUp:
		return fmt.Sprintf("conn %d: client closes", s.slot)
	case connect:
		h := s.hello
		from := fmt.Sprintf("session of conn %d", h.from)
		switch h.from {
		case newSession:
			from = "new session"
		case noSession:
			from = "unknown session"
		}
		return fmt.Sprintf("conn %d: connect, %s, password %d, zxid kind %d, timeout %d, readOnly %d, version %d, cut %d, server %d",
			s.slot, from, h.password, h.zxid, h.timeout, h.readOnly, h.version, h.cut, h.server)
	case raw:
		return fmt.Sprintf("conn %d: raw %x", s.slot, s.frame)
	}
	behind := ""
	if s.behind {
		behind = "(pipelined) "
	}
	if s.movedWrite {
		behind += "(session moved) "
	}
	return fmt.Sprintf("conn %d: %s%s", s.slot, behind, describe(s))
}

// describe shows a request: decoded where it can be, and its bytes.
func describe(s *step) string {
	f := s.frame
	if len(f) < protocol.RequestHeaderSize {
		return fmt.Sprintf("%x", f)
	}
	d := protocol.NewDecoder(f)
	var h protocol.RequestHeader
	h.Decode(&d)
	text := fmt.Sprintf("xid %d %v(%d)", h.Xid, h.Op, int32(h.Op))
	body := d.Rest()
	if op := protocol.Lookup(h.Op); op != nil && op.Request != nil {
		record := op.Request()
		d := protocol.NewDecoder(body)
		record.Decode(&d)
		switch {
		case d.Err() != nil:
			text += " UNDECODABLE"
		case h.Op == protocol.OpMulti || h.Op == protocol.OpMultiRead:
			for _, sub := range record.(*protocol.MultiRequest).Ops {
				text += fmt.Sprintf(" [%v %s]", sub.Type, showRecord(sub.Body))
			}
		default:
			text += " " + showRecord(record)
		}
	}
	if s.zxidAt > 0 {
		text += fmt.Sprintf(" zxid: last-%d", s.back)
	}
	return text + " " + short(fmt.Sprintf("body=%x", body))
}

func showRecord(r protocol.Record) string {
	var b bytes.Buffer
	if e := json.NewEncoder(&b).Encode(r); e != nil { // buffers as base64, and no line is longer than it must be
		return e.Error()
	}
	return short(strings.TrimSpace(b.String()))
}

func short(s string) string {
	const limit = 400
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
