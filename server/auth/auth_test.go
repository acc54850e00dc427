package auth

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/coordd/coordd/protocol"
)

// superDigest is the digest of super:test that ZooKeeper's own tests use.
const superDigest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="

var local = FromAddr(netip.MustParseAddr("127.0.0.1"))

func TestDigest(t *testing.T) {
	// Made with openssl sha1 and base64 over the payload as it is after decoding.
	for payload, want := range map[string]string{
		"super:test": superDigest,
		"a:b:c":      "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0=",
		"nocolon":    "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g=",
		"":           ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"u\xff\xfe:": "u\uFFFD\uFFFD:HZMBmU8/QNo/NaRyq1jXfN3bYtQ=",
	} {
		if got := Digest([]byte(payload)); got != want {
			t.Errorf("Digest(%q) = %q, want %q", payload, got, want)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	ip := protocol.ID{Scheme: "ip", ID: "127.0.0.1"}
	digest := protocol.ID{Scheme: "digest", ID: Digest([]byte("u:p"))}
	super := protocol.ID{Scheme: "super"}
	superUser := protocol.ID{Scheme: "digest", ID: superDigest}
	on, off, noSuper := New(superDigest, true), New(superDigest, false), New("", true)

	tests := []struct {
		name     string
		registry *Registry
		scheme   string
		auth     []byte
		code     protocol.ErrCode
		want     []protocol.ID
	}{
		{"digest", on, "digest", []byte("u:p"), protocol.OK, []protocol.ID{ip, digest}},
		{"empty digest", on, "digest", []byte{}, protocol.OK, []protocol.ID{ip, {Scheme: "digest", ID: Digest(nil)}}},
		{"null digest", on, "digest", nil, protocol.AuthFailed, []protocol.ID{ip}},
		{"digest off", off, "digest", []byte("u:p"), protocol.AuthFailed, []protocol.ID{ip}},
		{"super", on, "digest", []byte("super:test"), protocol.OK, []protocol.ID{ip, super, superUser}},
		{"wrong super", on, "digest", []byte("super:x"), protocol.OK, []protocol.ID{ip, {Scheme: "digest", ID: Digest([]byte("super:x"))}}},
		{"no super", noSuper, "digest", []byte("super:test"), protocol.OK, []protocol.ID{ip, superUser}},
		{"ip", on, "ip", []byte("10.0.0.1"), protocol.OK, []protocol.ID{ip}},
		{"null ip", on, "ip", nil, protocol.OK, []protocol.ID{ip}},
	}
	for _, scheme := range []string{"world", "auth", "super", "sasl", "x509", "foo", "", "Digest", protocol.NullString} {
		tests = append(tests, struct {
			name     string
			registry *Registry
			scheme   string
			auth     []byte
			code     protocol.ErrCode
			want     []protocol.ID
		}{"scheme " + scheme, on, scheme, []byte("u:p"), protocol.AuthFailed, []protocol.ID{ip}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ids, code := tt.registry.Authenticate(local, tt.scheme, tt.auth)
			if code != tt.code || !reflect.DeepEqual(ids.List(), tt.want) {
				t.Fatalf("got %v %v, want %v %v", code, ids.List(), tt.code, tt.want)
			}
			again, _ := tt.registry.Authenticate(ids, tt.scheme, tt.auth)
			if !reflect.DeepEqual(again.List(), tt.want) {
				t.Fatalf("repeated: %v, want %v", again.List(), tt.want)
			}
		})
	}
}

func TestIdentitiesAreImmutable(t *testing.T) {
	r := New("", true)
	base := local
	for _, user := range []string{"a:", "b:", "c:"} {
		base, _ = r.Authenticate(base, "digest", []byte(user))
	}
	left, _ := r.Authenticate(base, "digest", []byte("left:"))
	right, _ := r.Authenticate(base, "digest", []byte("right:"))
	if len(base.List()) != 4 || left.WhoAmI()[4].User != "left" || right.WhoAmI()[4].User != "right" {
		t.Fatalf("sets share memory: %v %v %v", base, left, right)
	}
	if len(local.List()) != 1 {
		t.Fatalf("first set changed: %v", local)
	}
}

func TestWhoAmI(t *testing.T) {
	r := New(superDigest, true)
	ids, _ := r.Authenticate(local, "digest", []byte("super:test"))
	ids, _ = r.Authenticate(ids, "digest", []byte("nocolon"))
	want := []protocol.ClientInfo{
		{AuthScheme: "ip", User: "127.0.0.1"},
		{AuthScheme: "super", User: ""},
		{AuthScheme: "digest", User: "super"},
		{AuthScheme: "digest", User: "nocolon"},
	}
	if got := ids.WhoAmI(); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if !ids.Has("super") || local.Has("digest") {
		t.Fatal("Has is wrong")
	}
}

func TestFromAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.2.3":        "10.1.2.3",
		"::ffff:10.1.2.3": "10.1.2.3",
		"::1":             "0:0:0:0:0:0:0:1",
		"fe80::a0b%eth0":  "fe80:0:0:0:0:0:0:a0b",
	} {
		got := FromAddr(netip.MustParseAddr(addr)).List()
		if len(got) != 1 || got[0] != (protocol.ID{Scheme: "ip", ID: want}) {
			t.Errorf("FromAddr(%s) = %v, want %s", addr, got, want)
		}
	}
}
