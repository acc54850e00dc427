package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of messages on a stream. Numbers are never reused.
const (
	msgPing byte = 0 // of the connection itself; never reaches Recv's caller

	MsgOpen           byte = 1 // origin to leader: Open
	MsgOpened         byte = 2 // leader to origin: Opened
	MsgRefused        byte = 3 // leader to origin: Refusal; the stream ends
	MsgBatch          byte = 4 // origin to leader: an encoded batch, as it is
	MsgTouch          byte = 5 // origin to leader: Touch
	MsgTouchAck       byte = 6 // leader to origin: TouchAck
	MsgBegin          byte = 7 // origin to leader: Begin
	MsgFailover       byte = 8 // between survivors: Position, asking for the other's
	MsgFailoverAnswer byte = 9 // between survivors: Position

	MsgDigest byte = 10 // origin to leader: Digest
)

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed message")

func malformed(what string, p []byte) error {
	return fmt.Errorf("%w: %s of %d bytes", ErrMalformed, what, len(p))
}

// Open asks a server for a stream to the leader of a term.
type Open struct {
	Term uint64 // the term in which the origin takes the receiver for leader
}

// AppendTo appends the encoded message.
func (m Open) AppendTo(b []byte) []byte { return binary.BigEndian.AppendUint64(b, m.Term) }

// DecodeOpen decodes a MsgOpen.
func DecodeOpen(p []byte) (Open, error) {
	if len(p) != 8 {
		return Open{}, malformed("open", p)
	}
	return Open{Term: binary.BigEndian.Uint64(p)}, nil
}

// Opened grants a stream.
type Opened struct {
	Term        uint64 // the term the stream belongs to
	Incarnation uint64 // stored for the origin at the leader; 0 = none yet
}

// AppendTo appends the encoded message.
func (m Opened) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, m.Term), m.Incarnation)
}

// DecodeOpened decodes a MsgOpened.
func DecodeOpened(p []byte) (Opened, error) {
	if len(p) != 16 {
		return Opened{}, malformed("opened", p)
	}
	return Opened{Term: binary.BigEndian.Uint64(p), Incarnation: binary.BigEndian.Uint64(p[8:])}, nil
}

// Refusal denies a stream.
type Refusal struct {
	Leader uint8  // whom to ask instead; 0 = unknown
	Reason string // for the log
}

// AppendTo appends the encoded message.
func (m Refusal) AppendTo(b []byte) []byte { return append(append(b, m.Leader), m.Reason...) }

// DecodeRefusal decodes a MsgRefused. Characters that do not print become
// dots.
func DecodeRefusal(p []byte) (Refusal, error) {
	if len(p) < 1 {
		return Refusal{}, malformed("refusal", p)
	}
	return Refusal{Leader: p[0], Reason: printable(string(p[1:]))}, nil
}

// Touch reports sessions that showed life. It is repeated until acknowledged.
type Touch struct {
	Seq      uint64 // echoed in the TouchAck
	Sessions []int64
}

// AppendTo appends the encoded message.
func (m Touch) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.Seq)
	for _, id := range m.Sessions {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	return b
}

// DecodeTouch decodes a MsgTouch.
func DecodeTouch(p []byte) (Touch, error) {
	if len(p) < 8 || len(p)%8 != 0 {
		return Touch{}, malformed("touch", p)
	}
	m := Touch{Seq: binary.BigEndian.Uint64(p)}
	if len(p) > 8 {
		m.Sessions = make([]int64, 0, len(p)/8-1)
	}
	for p = p[8:]; len(p) > 0; p = p[8:] {
		m.Sessions = append(m.Sessions, int64(binary.BigEndian.Uint64(p)))
	}
	return m, nil
}

// TouchAck acknowledges one Touch.
type TouchAck struct {
	Seq uint64
}

// AppendTo appends the encoded message.
func (m TouchAck) AppendTo(b []byte) []byte { return binary.BigEndian.AppendUint64(b, m.Seq) }

// DecodeTouchAck decodes a MsgTouchAck.
func DecodeTouchAck(p []byte) (TouchAck, error) {
	if len(p) != 8 {
		return TouchAck{}, malformed("touch acknowledgement", p)
	}
	return TouchAck{Seq: binary.BigEndian.Uint64(p)}, nil
}

// Begin asks the leader to log the begin of the origin's incarnation.
type Begin struct {
	Incarnation uint64
	Nonce       uint64 // the origin process's
}

// AppendTo appends the encoded message.
func (m Begin) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, m.Incarnation), m.Nonce)
}

// DecodeBegin decodes a MsgBegin.
func DecodeBegin(p []byte) (Begin, error) {
	if len(p) != 16 {
		return Begin{}, malformed("begin", p)
	}
	return Begin{Incarnation: binary.BigEndian.Uint64(p), Nonce: binary.BigEndian.Uint64(p[8:])}, nil
}

// Digest tells the leader what state the origin has at a mark in the log.
type Digest struct {
	Number uint64 // the mark's
	Digest uint64
}

// AppendTo appends the encoded message.
func (m Digest) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, m.Number), m.Digest)
}

// DecodeDigest decodes a MsgDigest.
func DecodeDigest(p []byte) (Digest, error) {
	if len(p) != 16 {
		return Digest{}, malformed("digest", p)
	}
	return Digest{Number: binary.BigEndian.Uint64(p), Digest: binary.BigEndian.Uint64(p[8:])}, nil
}

// Position is where a survivor of a leader's death stands; the one with the
// largest (LastTerm, LastIndex) stands for election.
type Position struct {
	Lost      uint8  // the leader found dead
	Leader    uint8  // whom the sender takes for leader now; 0 = none
	Voter     bool   // reports whether the sender may stand
	Term      uint64 // the sender's current term
	LastTerm  uint64 // of its last log entry
	LastIndex uint64
}

// AppendTo appends the encoded message.
func (m Position) AppendTo(b []byte) []byte {
	b = append(b, m.Lost, m.Leader, 0)
	if m.Voter {
		b[len(b)-1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, m.Term)
	b = binary.BigEndian.AppendUint64(b, m.LastTerm)
	return binary.BigEndian.AppendUint64(b, m.LastIndex)
}

// DecodePosition decodes a MsgFailover or MsgFailoverAnswer.
func DecodePosition(p []byte) (Position, error) {
	if len(p) != 27 || p[2] > 1 {
		return Position{}, malformed("position", p)
	}
	return Position{
		Lost:      p[0],
		Leader:    p[1],
		Voter:     p[2] == 1,
		Term:      binary.BigEndian.Uint64(p[3:]),
		LastTerm:  binary.BigEndian.Uint64(p[11:]),
		LastIndex: binary.BigEndian.Uint64(p[19:]),
	}, nil
}
