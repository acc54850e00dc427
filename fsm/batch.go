package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/coordd/coordd/protocol"
)

// Operations that only servers put into a batch; clients cannot name them.
const (
	// OpAttach moves a session to a connection; its body is an Attach.
	OpAttach protocol.OpCode = -1000
	// OpInvalid stands for a request that is refused and yet numbered, as
	// ZooKeeper numbers an undecodable multi; its body is the code, an int32.
	OpInvalid protocol.OpCode = -1001
)

// LocalEpoch is the epoch in requests of a session that only its own server
// knows (localSessionsEnabled): its writes are taken without a look at the
// session table, but it cannot own ephemerals.
const LocalEpoch uint32 = 1<<32 - 1

// BatchID numbers a batch for good: the process that sent it (server and
// incarnation) and its place in that process's stream, from 1 on.
type BatchID struct {
	Server      uint8
	Incarnation uint64
	Seq         uint64
}

// Request is one request of a client, or one that a server makes for it.
type Request struct {
	// Session and Epoch name the attachment that the request came in by.
	Session int64
	Epoch   uint32
	// Op is a write, OpSync, OpCreateSession, OpCloseSession, OpAttach or
	// OpInvalid.
	Op protocol.OpCode
	// Identities is the index into Batch.Identities.
	Identities int
	// Body is the request's body as the client sent it, or the internal record.
	Body []byte
}

// Batch is what one server sends to the leader at a time. It must not change
// once it has been numbered: a batch that is sent again must be the same.
type Batch struct {
	ID BatchID
	// Identities are the distinct sets of identities that the requests have.
	Identities [][]protocol.ID
	Requests   []Request
}

const (
	batchVersion    = 1
	batchHeaderSize = 1 + 1 + 8 + 8 + 4
	requestMinSize  = 8 + 4 + 4 + 4 + 4
)

// ErrVersion is reported for an entry, batch or snapshot of a newer version
// than this program reads.
var ErrVersion = errors.New("format version is not known to this program")

var errTruncated = errors.New("truncated or malformed")

// AppendTo appends the batch's bytes, which start with a version.
func (b *Batch) AppendTo(p []byte) []byte {
	p = append(p, batchVersion)
	p = appendBatchID(p, b.ID)
	p = protocol.AppendInt(p, int32(len(b.Requests)))
	p = protocol.AppendInt(p, int32(len(b.Identities)))
	for _, ids := range b.Identities {
		p = protocol.AppendInt(p, int32(len(ids)))
		for _, id := range ids {
			p = appendRaw(appendRaw(p, id.Scheme), id.ID)
		}
	}
	for i := range b.Requests {
		r := &b.Requests[i]
		p = protocol.AppendLong(p, r.Session)
		p = binary.BigEndian.AppendUint32(p, r.Epoch)
		p = protocol.AppendInt(p, int32(r.Op))
		p = protocol.AppendInt(p, int32(r.Identities))
		p = protocol.AppendInt(p, int32(len(r.Body)))
		p = append(p, r.Body...)
	}
	return p
}

// PeekBatch reads what the leader has to know of an encoded batch: its number
// and how many requests it says to hold. It does not look at the requests. A
// batch of another version is ErrVersion.
func PeekBatch(p []byte) (BatchID, int, error) {
	if len(p) < 1 {
		return BatchID{}, 0, fmt.Errorf("read batch: %w", errTruncated)
	}
	if p[0] != batchVersion {
		return BatchID{}, 0, fmt.Errorf("read batch of version %d: %w", p[0], ErrVersion)
	}
	if len(p) < batchHeaderSize {
		return BatchID{}, 0, fmt.Errorf("read batch: %w", errTruncated)
	}
	d := protocol.NewDecoder(p[1:])
	id := decodeBatchID(&d)
	n := d.Int()
	if n < 0 {
		return BatchID{}, 0, fmt.Errorf("read batch: %w", errTruncated)
	}
	return id, int(n), nil
}

// decode reads a batch whose header PeekBatch has accepted. Bodies alias p;
// b's slices are used again.
func (b *Batch) decode(p []byte) error {
	d := protocol.NewDecoder(p[1:])
	b.ID = decodeBatchID(&d)
	requests := int(d.Int())
	lists := int(d.Int())
	if requests < 0 || requests > len(d.Rest())/requestMinSize || lists < 0 || lists > len(d.Rest())/4 {
		return errTruncated
	}
	b.Identities = b.Identities[:0]
	for range lists {
		n := int(d.Int())
		if n < 0 || n > len(d.Rest())/8 {
			return errTruncated
		}
		ids := make([]protocol.ID, n)
		for i := range ids {
			ids[i] = protocol.ID{Scheme: string(d.Buffer()), ID: string(d.Buffer())}
		}
		b.Identities = append(b.Identities, ids)
	}
	b.Requests = b.Requests[:0]
	for range requests {
		r := Request{Session: d.Long(), Epoch: uint32(d.Int()), Op: protocol.OpCode(d.Int()),
			Identities: int(d.Int()), Body: d.Buffer()}
		if d.Err() != nil || r.Identities < 0 || r.Identities >= lists {
			return errTruncated
		}
		b.Requests = append(b.Requests, r)
	}
	return d.Err()
}

func appendBatchID(p []byte, id BatchID) []byte {
	p = append(p, id.Server)
	p = binary.BigEndian.AppendUint64(p, id.Incarnation)
	return binary.BigEndian.AppendUint64(p, id.Seq)
}

func decodeBatchID(d *protocol.Decoder) BatchID {
	return BatchID{Server: decodeByte(d), Incarnation: uint64(d.Long()), Seq: uint64(d.Long())}
}

// decodeByte reads one byte as it is; the codec's Bool would fold it.
func decodeByte(d *protocol.Decoder) byte {
	rest := d.Rest()
	if len(rest) == 0 {
		d.Fail()
		return 0
	}
	v := rest[0]
	d.Bool()
	return v
}

// appendRaw appends s with its length. Unlike a jute string it carries any
// bytes unchanged.
func appendRaw(p []byte, s string) []byte {
	return append(protocol.AppendInt(p, int32(len(s))), s...)
}

// CreateSession is the body of OpCreateSession. The session belongs to the
// server that sent the batch, and its first epoch is 1.
type CreateSession struct {
	// ID is not 0, and never used before.
	ID        int64
	TimeoutMs int32
	// Password is 16 random bytes.
	Password []byte
}

// PasswordSize is the length of a session's password in bytes.
const PasswordSize = 16

// AppendTo appends the record.
func (c *CreateSession) AppendTo(b []byte) []byte {
	return protocol.AppendBuffer(protocol.AppendInt(protocol.AppendLong(b, c.ID), c.TimeoutMs), c.Password)
}

// Decode reads the record.
func (c *CreateSession) Decode(d *protocol.Decoder) {
	c.ID, c.TimeoutMs, c.Password = d.Long(), d.Int(), d.Buffer()
}

// Attach is the body of OpAttach: it moves Request.Session to a connection of
// the server that sent the batch, if the session's epoch is still Replaces.
type Attach struct {
	Password  []byte
	TimeoutMs int32
	Replaces  uint32
}

// AppendTo appends the record.
func (a *Attach) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint32(protocol.AppendInt(protocol.AppendBuffer(b, a.Password), a.TimeoutMs), a.Replaces)
}

// Decode reads the record.
func (a *Attach) Decode(d *protocol.Decoder) {
	a.Password, a.TimeoutMs, a.Replaces = d.Buffer(), d.Int(), uint32(d.Int())
}
