package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// MinVersion and MaxVersion are the inter-server protocol versions this build
// speaks. Both sides use the highest version that both speak.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Bounds of a handshake. One side sends at most a hello and a verdict, which
// together stay under 4 KiB.
const (
	helloHeaderLen = 12   // magic, two versions, length of the body
	maxHelloBody   = 3072 // a longer one is garbage
	helloBodyLen   = 87   // version 1, without the client address itself
	maxClientAddr  = 1024 // a longer one is sent as empty
	maxRefusalText = 900
)

var magic = [4]byte{'C', 'R', 'D', 'P'}

// errGarbage is what bytes that are no handshake end in.
var errGarbage = errors.New("not a coordd server")

// Purpose says what a connection is for. It is settled by the handshake.
type Purpose uint8

// The purposes of a connection.
const (
	PurposeRaft   Purpose = 1 // Raft's own messages, without our framing
	PurposeStream Purpose = 2 // framed messages between servers
	PurposeProbe  Purpose = 3 // the handshake is all: it carries the State
)

// String returns the purpose's name in log lines.
func (p Purpose) String() string {
	switch p {
	case PurposeRaft:
		return "raft"
	case PurposeStream:
		return "stream"
	case PurposeProbe:
		return "probe"
	}
	return fmt.Sprintf("purpose %d", uint8(p))
}

// DataState says what a server has on its disk, which decides about the first
// start of an ensemble.
type DataState uint8

// The answers about a server's data.
const (
	Empty          DataState = 0 // no log, no snapshot
	FirstEntryOnly DataState = 1 // bootstrapped, nothing beyond
	HasData        DataState = 2
	Joining        DataState = 3 // lost its data; does not vote until admitted
)

// String returns the state's name in log lines.
func (d DataState) String() string {
	switch d {
	case Empty:
		return "empty"
	case FirstEntryOnly:
		return "first entry only"
	case HasData:
		return "data"
	case Joining:
		return "joining"
	}
	return fmt.Sprintf("data state %d", uint8(d))
}

// State is what a server tells about itself in each handshake. It is a
// statement of that moment.
type State struct {
	Data       DataState
	ListDigest [32]byte // of the normalised member list; zero when it has none
	Term       uint64   // Raft's current term
	LastIndex  uint64   // last index in its log
	Leader     uint8    // member it takes for the leader; 0 = none known
	ClientAddr string   // where its clients connect; at most 1024 bytes
	JoinNumber uint64   // of its joining mark; 0 = not joining
}

// Hello is one side's half of a handshake.
type Hello struct {
	MinVersion, MaxVersion uint16
	Member                 uint8 // the sender
	Target                 uint8 // whom the sender means to talk to
	Purpose                Purpose
	ClusterID              [16]byte // zero = not known yet
	Nonce                  uint64   // drawn once per process
	State                  State
}

// appendTo appends the wire form: magic, version range and length keep their
// places in every version; later versions append fields to the body.
func (h *Hello) appendTo(b []byte) []byte {
	addr := h.State.ClientAddr
	if len(addr) > maxClientAddr {
		addr = ""
	}
	b = append(b, magic[:]...)
	b = binary.BigEndian.AppendUint16(b, h.MinVersion)
	b = binary.BigEndian.AppendUint16(b, h.MaxVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(helloBodyLen+len(addr)))
	b = append(b, h.Member, h.Target, byte(h.Purpose), byte(h.State.Data), h.State.Leader)
	b = append(b, h.ClusterID[:]...)
	b = append(b, h.State.ListDigest[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Nonce)
	b = binary.BigEndian.AppendUint64(b, h.State.Term)
	b = binary.BigEndian.AppendUint64(b, h.State.LastIndex)
	b = binary.BigEndian.AppendUint64(b, h.State.JoinNumber)
	b = append(b, byte(len(addr)>>8))
	b = append(b, byte(len(addr)))
	return append(b, addr...)
}

// readHello reads one hello and not a byte more. Bytes that are none give an
// error that wraps errGarbage; of a hello without a common version only the
// range is filled in.
func readHello(r io.Reader) (Hello, error) {
	var head [helloHeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Hello{}, fmt.Errorf("read hello: %w", err)
	}
	if [4]byte(head[:4]) != magic {
		return Hello{}, fmt.Errorf("%w: the first bytes are %q", errGarbage, head[:4])
	}
	h := Hello{
		MinVersion: binary.BigEndian.Uint16(head[4:]),
		MaxVersion: binary.BigEndian.Uint16(head[6:]),
	}
	n := binary.BigEndian.Uint32(head[8:])
	if n > maxHelloBody {
		return Hello{}, fmt.Errorf("%w: a hello of %d bytes", errGarbage, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return Hello{}, fmt.Errorf("read hello: %w", err)
	}
	if _, common := commonVersion(h.MinVersion, h.MaxVersion); !common {
		return h, nil
	}
	return h, h.decodeBody(body)
}

// decodeBody fills in what version 1 sends and ignores what follows it.
func (h *Hello) decodeBody(b []byte) error {
	if len(b) < helloBodyLen {
		return fmt.Errorf("%w: a hello of %d bytes", errGarbage, len(b))
	}
	h.Member, h.Target, h.Purpose = b[0], b[1], Purpose(b[2])
	h.State.Data, h.State.Leader = DataState(b[3]), b[4]
	h.ClusterID = [16]byte(b[5:21])
	h.State.ListDigest = [32]byte(b[21:53])
	h.Nonce = binary.BigEndian.Uint64(b[53:])
	h.State.Term = binary.BigEndian.Uint64(b[61:])
	h.State.LastIndex = binary.BigEndian.Uint64(b[69:])
	h.State.JoinNumber = binary.BigEndian.Uint64(b[77:])
	n := int(b[85])<<8 | int(b[86])
	rest := b[helloBodyLen:]
	if n > len(rest) || n > maxClientAddr {
		return fmt.Errorf("%w: an address of %d bytes", errGarbage, n)
	}
	h.State.ClientAddr = printable(string(rest[:n]))
	return nil
}

// commonVersion returns the highest version that we and a peer with the given
// range speak.
func commonVersion(low, high uint16) (uint16, bool) {
	v := min(high, MaxVersion)
	return v, v >= low && v >= MinVersion
}

// appendVerdict appends what follows a hello: how its reader judged the other
// side. A nil r is consent.
func appendVerdict(b []byte, r *Refused) []byte {
	if r == nil {
		return append(b, byte(accepted), 0, 0)
	}
	text := r.Text
	if len(text) > maxRefusalText {
		text = text[:maxRefusalText]
	}
	b = append(b, byte(r.Reason), byte(len(text)>>8), byte(len(text)))
	return append(b, text...)
}

// readVerdict reads the other side's verdict: nil, nil when it consents.
func readVerdict(r io.Reader) (*Refused, error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	n := int(head[1])<<8 | int(head[2])
	if n > maxRefusalText {
		return nil, fmt.Errorf("%w: a refusal of %d bytes", errGarbage, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	if Reason(head[0]) == accepted {
		return nil, nil
	}
	return &Refused{Reason: Reason(head[0]), Text: printable(string(text)), ByPeer: true}, nil
}

// printable keeps a stranger's text from breaking a log line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '.'
	}, s)
}
