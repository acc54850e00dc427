package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/coordd/coordd/protocol"
)

// Settings are the leader's settings that decide about requests. They travel
// in the log, so that every server decides alike.
type Settings struct {
	// SkipACL lets everybody do everything (skipACL=yes).
	SkipACL bool
	// EnforceQuota refuses what exceeds a hard quota (enforceQuota=true).
	EnforceQuota bool
	// ExtendedTypes allows TTL nodes (extendedTypesEnabled=true).
	ExtendedTypes bool
	// ReconfigEnabled is reconfigEnabled of the configuration.
	ReconfigEnabled bool
}

func (s Settings) bits() uint32 {
	var v uint32
	for i, on := range []bool{s.SkipACL, s.EnforceQuota, s.ExtendedTypes, s.ReconfigEnabled} {
		if on {
			v |= 1 << i
		}
	}
	return v
}

func settingsOf(bits uint32) Settings {
	return Settings{SkipACL: bits&1 != 0, EnforceQuota: bits&2 != 0, ExtendedTypes: bits&4 != 0, ReconfigEnabled: bits&8 != 0}
}

const entryVersion = 1

// The kinds of item that an entry holds. A new kind needs a new entry version.
const (
	itemBatch byte = 1 + iota
	itemRefuse
	itemBegin
	itemSettings
	itemCluster
	itemAdmit
	itemExpire
	itemReap
	itemRaiseZxid
	itemMark
	itemVerdict
)

// EntryBuilder gathers what goes into one entry of the log. The leader fills
// it; it never looks into the batches. It is not safe for concurrent use.
type EntryBuilder struct {
	b     []byte
	items int
}

const entryHeaderSize = 1 + 8

// NewEntry starts an entry that carries the leader's wall clock, in
// milliseconds since the Unix epoch.
func NewEntry(timeMs int64) *EntryBuilder {
	return &EntryBuilder{b: protocol.AppendLong([]byte{entryVersion}, timeMs)}
}

// item appends an item's head and returns where its length stands.
func (e *EntryBuilder) item(kind byte) int {
	e.items++
	e.b = append(e.b, kind, 0, 0, 0, 0)
	return len(e.b)
}

func (e *EntryBuilder) end(start int) {
	binary.BigEndian.PutUint32(e.b[start-4:], uint32(len(e.b)-start))
}

// Batch adds an encoded batch whose header PeekBatch has accepted.
func (e *EntryBuilder) Batch(p []byte) {
	start := e.item(itemBatch)
	e.b = append(e.b, p...)
	e.end(start)
}

// Refuse adds, in place of a batch of n requests that the leader does not
// take, a refusal: it uses up the batch's number and answers all with code.
func (e *EntryBuilder) Refuse(id BatchID, n int, code protocol.ErrCode) {
	start := e.item(itemRefuse)
	e.b = appendBatchID(e.b, id)
	e.b = protocol.AppendInt(protocol.AppendInt(e.b, int32(n)), int32(code))
	e.end(start)
}

// Begin adds the start of a process: from here on server's batches are taken
// only if they are of incarnation. Nonce tells two processes apart that claim
// the same one.
func (e *EntryBuilder) Begin(server uint8, incarnation, nonce uint64) {
	start := e.item(itemBegin)
	e.b = append(e.b, server)
	e.b = binary.BigEndian.AppendUint64(e.b, incarnation)
	e.b = binary.BigEndian.AppendUint64(e.b, nonce)
	e.end(start)
}

// Settings adds the leader's settings.
func (e *EntryBuilder) Settings(s Settings) {
	start := e.item(itemSettings)
	e.b = binary.BigEndian.AppendUint32(e.b, s.bits())
	e.end(start)
}

// Cluster adds the cluster's id, which only counts if there is none yet, and
// the text of /zookeeper/config.
func (e *EntryBuilder) Cluster(id [16]byte, membersText string) {
	start := e.item(itemCluster)
	e.b = append(e.b, id[:]...)
	e.b = append(e.b, membersText...)
	e.end(start)
}

// Admit adds the word that server, which had lost its data and joins under
// number, holds everything again.
func (e *EntryBuilder) Admit(server uint8, number uint64) {
	start := e.item(itemAdmit)
	e.b = append(e.b, server)
	e.b = binary.BigEndian.AppendUint64(e.b, number)
	e.end(start)
}

// Expire adds the end of a session, should it still be at epoch.
func (e *EntryBuilder) Expire(session int64, epoch uint32) {
	start := e.item(itemExpire)
	e.b = binary.BigEndian.AppendUint32(protocol.AppendLong(e.b, session), epoch)
	e.end(start)
}

// Reap adds the removal of a container or TTL node, should it still be as the
// leader saw it, and empty.
func (e *EntryBuilder) Reap(path string, czxid, mzxid, pzxid int64) {
	start := e.item(itemReap)
	e.b = protocol.AppendLong(protocol.AppendLong(protocol.AppendLong(e.b, czxid), mzxid), pzxid)
	e.b = append(e.b, path...)
	e.end(start)
}

// RaiseZxid adds the order that zxids go on above min at least.
func (e *EntryBuilder) RaiseZxid(min int64) {
	start := e.item(itemRaiseZxid)
	e.b = protocol.AppendLong(e.b, min)
	e.end(start)
}

// Mark adds a place in the log at which every server takes the digest of its
// state, for Machine.Mark; number names it.
func (e *EntryBuilder) Mark(number uint64) {
	start := e.item(itemMark)
	e.b = binary.BigEndian.AppendUint64(e.b, number)
	e.end(start)
}

// Verdict adds the word that at the mark of that number most servers had
// digest, for Machine.Verdict.
func (e *EntryBuilder) Verdict(number, digest uint64) {
	start := e.item(itemVerdict)
	e.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(e.b, number), digest)
	e.end(start)
}

// Bytes returns the entry; the builder must not be used afterwards.
func (e *EntryBuilder) Bytes() []byte { return e.b }

// Size is the entry's length so far, in bytes.
func (e *EntryBuilder) Size() int { return len(e.b) }

// Empty reports whether the entry holds nothing yet.
func (e *EntryBuilder) Empty() bool { return e.items == 0 }

// item is one item of an entry, taken apart. Which fields count depends on
// the kind.
type item struct {
	kind    byte
	batch   BatchID
	n       int              // requests of the batch
	code    protocol.ErrCode // of a refusal
	server  uint8
	numbers [3]int64
	bits    uint32 // settings, or a session's epoch
	cluster [16]byte
	bytes   []byte // an encoded batch, a path, a text
}

// parseEntry takes an entry apart, as far as it must be sound for the state
// to go on: anything that this reports has to stop the process. Requests in
// the batches are not looked at.
func parseEntry(p []byte, items []item) (timeMs int64, _ []item, err error) {
	items = items[:0]
	if len(p) > 0 && p[0] != entryVersion {
		return 0, items, fmt.Errorf("read entry of version %d: %w", p[0], ErrVersion)
	}
	if len(p) < entryHeaderSize {
		return 0, items, fmt.Errorf("read entry: %w", errTruncated)
	}
	timeMs = int64(binary.BigEndian.Uint64(p[1:]))
	for p = p[entryHeaderSize:]; len(p) > 0; {
		if len(p) < 5 {
			return 0, items, fmt.Errorf("read entry: %w", errTruncated)
		}
		kind, n := p[0], binary.BigEndian.Uint32(p[1:])
		p = p[5:]
		if uint64(n) > uint64(len(p)) {
			return 0, items, fmt.Errorf("read entry: %w", errTruncated)
		}
		it, err := parseItem(kind, p[:n:n])
		if err != nil {
			return 0, items, fmt.Errorf("read item of kind %d: %w", kind, err)
		}
		items = append(items, it)
		p = p[n:]
	}
	return timeMs, items, nil
}

func parseItem(kind byte, p []byte) (item, error) {
	it := item{kind: kind}
	d := protocol.NewDecoder(p)
	switch kind {
	case itemBatch:
		var err error
		it.batch, it.n, err = PeekBatch(p)
		it.bytes = p
		return it, err
	case itemRefuse:
		it.batch, it.n, it.code = decodeBatchID(&d), int(d.Int()), protocol.ErrCode(d.Int())
	case itemBegin:
		it.server, it.numbers[0], it.numbers[1] = decodeByte(&d), d.Long(), d.Long()
	case itemSettings:
		it.bits = uint32(d.Int())
	case itemCluster:
		if len(p) < len(it.cluster) {
			return it, errTruncated
		}
		it.bytes = p[copy(it.cluster[:], p):]
	case itemAdmit:
		it.server, it.numbers[0] = decodeByte(&d), d.Long()
	case itemExpire:
		it.numbers[0], it.bits = d.Long(), uint32(d.Int())
	case itemReap:
		it.numbers[0], it.numbers[1], it.numbers[2] = d.Long(), d.Long(), d.Long()
		it.bytes = d.Rest()
	case itemRaiseZxid, itemMark:
		it.numbers[0] = d.Long()
	case itemVerdict:
		it.numbers[0], it.numbers[1] = d.Long(), d.Long()
	default:
		return it, ErrVersion
	}
	return it, d.Err()
}
