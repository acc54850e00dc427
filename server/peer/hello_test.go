package peer

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func drawHello(t *rapid.T) Hello {
	h := Hello{
		MinVersion: 1,
		MaxVersion: rapid.Uint16Min(1).Draw(t, "max"),
		Member:     rapid.Byte().Draw(t, "member"),
		Target:     rapid.Byte().Draw(t, "target"),
		Purpose:    Purpose(rapid.Byte().Draw(t, "purpose")),
		Nonce:      rapid.Uint64().Draw(t, "nonce"),
		State: State{
			Data:       DataState(rapid.Byte().Draw(t, "data")),
			Term:       rapid.Uint64().Draw(t, "term"),
			LastIndex:  rapid.Uint64().Draw(t, "index"),
			Leader:     rapid.Byte().Draw(t, "leader"),
			ClientAddr: rapid.StringMatching(`[a-z0-9.:]{0,200}`).Draw(t, "addr"),
			JoinNumber: rapid.Uint64().Draw(t, "join"),
		},
	}
	copy(h.ClusterID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "cluster"))
	copy(h.State.ListDigest[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
	return h
}

func TestHelloSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHello(t)
		refused := &Refused{Reason: Stranger, Text: strings.Repeat("x", rapid.IntRange(0, maxRefusalText).Draw(t, "text"))}
		wire := appendVerdict(h.appendTo(nil), refused)
		if len(wire) > 4096 {
			t.Fatalf("a handshake of %d bytes", len(wire))
		}
		r := bytes.NewReader(append(wire, 'R'))
		got, err := readHello(r)
		if err != nil || got != h {
			t.Fatalf("hello is %+v, %v; want %+v", got, err, h)
		}
		verdict, err := readVerdict(r)
		if err != nil || verdict.Reason != Stranger || verdict.Text != refused.Text || !verdict.ByPeer {
			t.Fatalf("verdict is %+v, %v", verdict, err)
		}
		if r.Len() != 1 {
			t.Fatalf("%d bytes left: the reader took what belongs to the next layer", r.Len())
		}
	})
}

func TestHelloOfALaterVersionIsRead(t *testing.T) {
	h := Hello{MinVersion: 1, MaxVersion: 9, Member: 3, Target: 1, Purpose: PurposeRaft}
	h.State.ClientAddr = "a:1"
	wire := append(h.appendTo(nil), "later fields"...)
	wire[11] += byte(len("later fields"))
	if got, err := readHello(bytes.NewReader(wire)); err != nil || got != h {
		t.Fatalf("hello is %+v, %v", got, err)
	}
}

func TestTextsOfTheOtherSideArePrintable(t *testing.T) {
	wire := appendVerdict(nil, &Refused{Reason: Stranger, Text: "a\nb\x1b[1m\xff"})
	r, err := readVerdict(bytes.NewReader(wire))
	if err != nil || strings.ContainsAny(r.Text, "\n\x1b") {
		t.Fatalf("text is %q, %v", r.Text, err)
	}
}

func TestJudge(t *testing.T) {
	a, b := [16]byte{1}, [16]byte{2}
	hello := func(member, target uint8, change func(*Hello)) Hello {
		h := Hello{MinVersion: 1, MaxVersion: 1, Member: member, Target: target, Purpose: PurposeStream, Nonce: uint64(member) * 100, ClusterID: a}
		if change != nil {
			change(&h)
		}
		return h
	}
	for _, c := range []struct {
		name   string
		other  Hello
		dialed string // "" = server 1 was called; otherwise it meant server 3
		want   Reason
		text   string
	}{
		{"called by a member", hello(2, 1, nil), "", accepted, ""},
		{"calls a member", hello(3, 1, nil), "h:1", accepted, ""},
		{"cluster not known there", hello(2, 1, func(h *Hello) { h.ClusterID = [16]byte{} }), "", accepted, ""},
		{"itself", hello(1, 1, nil), "", accepted, ""},
		{"versions overlap", hello(2, 1, func(h *Hello) { h.MaxVersion = 7 }), "", accepted, ""},
		{"newer only", hello(2, 1, func(h *Hello) { h.MinVersion, h.MaxVersion = 2, 3 }), "", NoVersion, "no common version"},
		{"older only", hello(2, 1, func(h *Hello) { h.MinVersion, h.MaxVersion = 0, 0 }), "", NoVersion, "no common version"},
		{"empty range", hello(2, 1, func(h *Hello) { h.MinVersion, h.MaxVersion = 1, 0 }), "", NoVersion, "no common version"},
		{"other cluster", hello(2, 1, func(h *Hello) { h.ClusterID = b }), "", OtherCluster, "not the same cluster"},
		{"stranger", hello(9, 1, nil), "", Stranger, "server 9 is not a member"},
		{"called for another", hello(2, 3, nil), "", WrongTarget, "looked for server.3 and reached server 1"},
		{"reached another", hello(2, 1, nil), "h:1", WrongTarget, "h:1 answers as server 2, but server.3 is configured there: check myid"},
		{"reached itself", hello(1, 1, nil), "h:1", WrongTarget, "h:1 answers as server 1, but server.3"},
		{"own myid calls", hello(1, 1, func(h *Hello) { h.Nonce = 7 }), "", SameID, "another process answers as server 1: two servers have the same myid"},
		{"own myid answers", hello(1, 1, func(h *Hello) { h.Nonce = 7 }), "h:1", SameID, "two servers have the same myid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := hello(1, 3, nil)
			if c.dialed == "" {
				own.Target = c.other.Member
			}
			r := judge(&own, &c.other, func(m uint8) bool { return m <= 3 }, c.dialed)
			if c.want == accepted {
				if r != nil {
					t.Fatalf("refused: %v", r)
				}
				return
			}
			if r == nil || r.Reason != c.want || !strings.Contains(r.Text, c.text) {
				t.Fatalf("judged %+v, want reason %d with %q", r, c.want, c.text)
			}
		})
	}
}

func FuzzHandshake(f *testing.F) {
	h := Hello{MinVersion: 1, MaxVersion: 1, Member: 1, Target: 2, Purpose: PurposeProbe}
	f.Add(appendVerdict(h.appendTo(nil), nil))
	f.Add(appendVerdict(h.appendTo(nil), &Refused{Reason: SameID, Text: "no"}))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := readHello(r)
		if err != nil {
			return
		}
		if len(data)-r.Len() > helloHeaderLen+maxHelloBody {
			t.Fatalf("took %d bytes", len(data)-r.Len())
		}
		if _, common := commonVersion(h.MinVersion, h.MaxVersion); common {
			again, err := readHello(bytes.NewReader(h.appendTo(nil)))
			if err != nil || !reflect.DeepEqual(again, h) && len(h.State.ClientAddr) <= maxClientAddr {
				t.Fatalf("%+v came back as %+v, %v", h, again, err)
			}
		}
		if v, err := readVerdict(r); err == nil && v != nil && v.Reason == accepted {
			t.Fatal("a refusal without a reason")
		}
	})
}

func TestLongestHandshakeIsBounded(t *testing.T) {
	h := Hello{MinVersion: 1, MaxVersion: 1}
	for _, c := range []struct{ addr, kept int }{{maxClientAddr, maxClientAddr}, {maxClientAddr + 1, 0}} {
		h.State.ClientAddr = strings.Repeat("a", c.addr)
		wire := appendVerdict(h.appendTo(nil), &Refused{Reason: SameID, Text: strings.Repeat("x", 5000)})
		r := bytes.NewReader(wire)
		got, err := readHello(r)
		if err != nil || len(got.State.ClientAddr) != c.kept || len(wire) > 4096 {
			t.Fatalf("address of %d bytes: %d arrive in %d, %v", c.addr, len(got.State.ClientAddr), len(wire), err)
		}
		if v, err := readVerdict(r); err != nil || len(v.Text) != maxRefusalText {
			t.Fatalf("verdict %+v, %v", v, err)
		}
	}
}
