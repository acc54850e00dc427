package peer

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// codec decodes p as one message type and encodes the result again.
type codec func(p []byte) (any, []byte, error)

func codecOf[M interface{ AppendTo([]byte) []byte }](decode func([]byte) (M, error)) codec {
	return func(p []byte) (any, []byte, error) {
		m, err := decode(p)
		if err != nil {
			return nil, nil, err
		}
		return m, m.AppendTo(nil), nil
	}
}

var codecs = map[byte]codec{
	MsgOpen:           codecOf(DecodeOpen),
	MsgOpened:         codecOf(DecodeOpened),
	MsgRefused:        codecOf(DecodeRefusal),
	MsgTouch:          codecOf(DecodeTouch),
	MsgTouchAck:       codecOf(DecodeTouchAck),
	MsgBegin:          codecOf(DecodeBegin),
	MsgFailover:       codecOf(DecodePosition),
	MsgFailoverAnswer: codecOf(DecodePosition),
}

func TestMessagesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.Uint64().Draw(t, "n"), rapid.Uint64().Draw(t, "k")
		id := rapid.Byte().Draw(t, "id")
		sessions := rapid.SliceOfN(rapid.Int64(), 1, 50).Draw(t, "sessions")
		for typ, m := range map[byte]interface{ AppendTo([]byte) []byte }{
			MsgOpen:     Open{n},
			MsgOpened:   Opened{n, k},
			MsgRefused:  Refusal{id, rapid.StringMatching(`[ -~]*`).Draw(t, "reason")},
			MsgTouch:    Touch{n, sessions},
			MsgTouchAck: TouchAck{n},
			MsgBegin:    Begin{n, k},
			MsgFailover: Position{Lost: id, Leader: id / 2, Voter: id%2 == 0, Term: n, LastTerm: k, LastIndex: n ^ k},
		} {
			got, _, err := codecs[typ](m.AppendTo(nil))
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Fatalf("%+v came back as %+v, %v", m, got, err)
			}
		}
	})
}

func TestMalformedMessages(t *testing.T) {
	for typ, decode := range codecs {
		for _, p := range [][]byte{nil, make([]byte, 7), make([]byte, 9), make([]byte, 28)} {
			if typ == MsgRefused && p != nil {
				continue // any text will do
			}
			if _, _, err := decode(p); !errors.Is(err, ErrMalformed) {
				t.Errorf("type %d with %d bytes: %v", typ, len(p), err)
			}
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(MsgTouch, Touch{7, []int64{1, -1}}.AppendTo(nil))
	f.Add(MsgFailover, Position{Voter: true, Term: 3}.AppendTo(nil))
	f.Add(MsgRefused, Refusal{2, "not leader"}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, typ byte, p []byte) {
		// The framing takes the same bytes.
		if kind, payload, err := readMessage(bytes.NewReader(p), 1<<20); err == nil && len(payload)+frameHeaderLen > len(p) {
			t.Fatalf("type %d: %d bytes out of %d", kind, len(payload), len(p))
		}
		decode := codecs[typ]
		if decode == nil {
			return
		}
		m, wire, err := decode(p)
		if err != nil {
			return
		}
		if typ != MsgRefused && !bytes.Equal(wire, p) {
			t.Fatalf("%x encodes again as %x", p, wire)
		}
		if again, _, err := decode(wire); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}
