package fsm

import (
	"reflect"
	"testing"

	"github.com/coordd/coordd/protocol"
)

func entry(perms protocol.Perm, scheme, id string) protocol.ACL {
	return protocol.ACL{Perms: perms, ID: protocol.ID{Scheme: scheme, ID: id}}
}

func TestFixACL(t *testing.T) {
	two := []protocol.ID{{Scheme: "ip", ID: "1.2.3.4"}, {Scheme: "digest", ID: "a:1"}, {Scheme: "digest", ID: "b:2"}, {Scheme: "super"}}
	for _, c := range []struct {
		in, want []protocol.ACL
	}{
		{nil, nil},
		{[]protocol.ACL{}, nil},
		{[]protocol.ACL{entry(63, "world", "anyone")}, []protocol.ACL{entry(63, "world", "anyone")}},
		{[]protocol.ACL{entry(-1, "world", "anyone"), entry(1, "world", "anyone"), entry(-1, "world", "anyone")},
			[]protocol.ACL{entry(-1, "world", "anyone"), entry(1, "world", "anyone")}},
		{[]protocol.ACL{entry(1, "world", "all")}, nil},
		{[]protocol.ACL{entry(1, "digest", "a:b")}, []protocol.ACL{entry(1, "digest", "a:b")}},
		{[]protocol.ACL{entry(1, "digest", "a")}, nil},
		{[]protocol.ACL{entry(1, "digest", "a:b:c")}, nil},
		{[]protocol.ACL{entry(1, "digest", "a:")}, nil},
		{[]protocol.ACL{entry(1, "ip", "10.0.0.0/8")}, []protocol.ACL{entry(1, "ip", "10.0.0.0/8")}},
		{[]protocol.ACL{entry(1, "ip", "::1/128")}, []protocol.ACL{entry(1, "ip", "::1/128")}},
		{[]protocol.ACL{entry(1, "ip", "10.0.0.0/33")}, nil},
		{[]protocol.ACL{entry(1, "ip", "10.0.0")}, nil},
		{[]protocol.ACL{entry(1, "ip", "::1/129")}, nil},
		{[]protocol.ACL{entry(1, "ip", "10.0.0.0/-1")}, nil},
		{[]protocol.ACL{entry(1, "super", "x:y")}, nil},
		{[]protocol.ACL{entry(1, "x509", "CN=a")}, nil},
		{[]protocol.ACL{entry(1, "sasl", "a")}, nil},
		{[]protocol.ACL{entry(1, "world", "anyone"), entry(1, "foo", "a")}, nil},
		{[]protocol.ACL{entry(9, "auth", "whatever"), entry(1, "auth", ""), entry(2, "digest", "a:1")},
			[]protocol.ACL{entry(9, "digest", "a:1"), entry(9, "digest", "b:2"), entry(1, "digest", "a:1"), entry(1, "digest", "b:2"), entry(2, "digest", "a:1")}},
	} {
		got, code := fixACL(c.in, two)
		ok := code == protocol.OK
		if ok != (c.want != nil) || ok && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q %v", c.in, got, code)
		}
	}
	if _, code := fixACL([]protocol.ACL{entry(1, "auth", "")}, two[:1]); code != protocol.InvalidACL {
		t.Errorf("an address is no identity for auth: %v", code)
	}
}

// TestFixACLNulls: where ZooKeeper stumbles over a null it answers
// MarshallingError, and where it looks first InvalidACL.
func TestFixACLNulls(t *testing.T) {
	const null = protocol.NullString
	for _, c := range []struct {
		in   []protocol.ACL
		want protocol.ErrCode
	}{
		{[]protocol.ACL{entry(1, null, "x")}, protocol.InvalidACL},
		{[]protocol.ACL{entry(1, "world", null)}, protocol.MarshallingError},
		{[]protocol.ACL{entry(1, "digest", null)}, protocol.MarshallingError},
		{[]protocol.ACL{entry(1, "ip", null)}, protocol.MarshallingError},
		{[]protocol.ACL{entry(1, "foo", null)}, protocol.InvalidACL},
		{[]protocol.ACL{entry(1, "world", "anyone"), entry(1, null, "x")}, protocol.MarshallingError},
		{[]protocol.ACL{entry(1, "world", "anyone"), entry(2, null, "x")}, protocol.InvalidACL},
		{[]protocol.ACL{entry(1, "foo", "x"), entry(1, "foo", null)}, protocol.MarshallingError},
		{[]protocol.ACL{entry(1, "foo", null), entry(1, "foo", "x")}, protocol.InvalidACL},
	} {
		if _, code := fixACL(c.in, nil); code != c.want {
			t.Errorf("%q: %v, want %v", c.in, code, c.want)
		}
	}
}

// TestIPAddresses: Java's own ways with numbers.
func TestIPAddresses(t *testing.T) {
	for id, want := range map[string]bool{
		"1.2.3.4": true, "01.2.3.4": true, "+1.2.3.4": true, "-0.2.3.4": true, "1.2.3.256": false, "1.2.3": false, "1.2.3.4.5": false,
		"1.2.3.4/+8": true, "1.2.3.4/08": true, "1.2.3.4/": false, "1.2.3.4/8/8": false, "1.2.3.4 ": false, "": false,
		"::": true, "::1": true, "1::": true, "1:2:3:4:5:6:7:8": true, "1:2:3:4:5:6:7::": true, "1:2:3:4:5:6:7:8::": false,
		"1::2::3": false, ":::": false, "12345::": false, "::+1": true, "::ffff:1.2.3.4": false, "::1%lo": false, "1:2:3": false,
	} {
		if code := checkACLID(protocol.ID{Scheme: "ip", ID: id}); (code == protocol.OK) != want {
			t.Errorf("%q: %v, want %v", id, code, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	m := New()
	for _, c := range []struct {
		acl  protocol.ACL
		want protocol.Perm
		ids  []protocol.ID
		ok   bool
	}{
		{entry(1, "world", "anyone"), 1, nil, true},
		{entry(1, "world", "anyone"), 2, nil, false},
		{entry(16, "world", "anyone"), protocol.PermRead | protocol.PermAdmin, nil, true},
		{entry(31, "digest", "me:hash"), 31, owner, true},
		{entry(31, "digest", "me:other"), 31, owner, false},
		{entry(0, "digest", "me:hash"), 31, super, true},
		{entry(1, "ip", "10.0.0.0/8"), 1, anyone, true},
		{entry(1, "ip", "10.1.2.4/31"), 1, anyone, false},
		{entry(1, "ip", "10.1.2.3"), 1, anyone, true},
		{entry(1, "ip", "0.0.0.0/0"), 1, anyone, true},
		{entry(1, "ip", "::/0"), 1, anyone, false},
		{entry(1, "ip", "fe80::/10"), 1, []protocol.ID{{Scheme: "ip", ID: "fe80::1%eth0"}}, true},
	} {
		if got := m.allowed([]protocol.ACL{c.acl}, c.want, c.ids); got != c.ok {
			t.Errorf("%v wants %d with %v: %v", c.acl, c.want, c.ids, got)
		}
	}
	if !m.CanRead(nil, nil) {
		t.Error("an empty list lets everybody in")
	}
	m.settings.SkipACL = true
	if !m.CanRead(mine, nil) {
		t.Error("skipACL")
	}
}

func TestGetACLMasks(t *testing.T) {
	r := newRig(t)
	list := []protocol.ACL{entry(1, "world", "anyone"), entry(31, "digest", "me:hash")}
	r.mustCreate("/m", "", list, protocol.Persistent)
	masked := []protocol.ACL{entry(1, "world", "anyone"), entry(31, "digest", "me:x")}
	if got, _, _ := r.m.GetACL("/m", anyone); !reflect.DeepEqual(got, masked) {
		t.Errorf("a reader sees %v", got)
	}
	if got, _, _ := r.m.GetACL("/m", owner); !reflect.DeepEqual(got, list) {
		t.Errorf("its administrator sees %v", got)
	}
	if got, _ := r.m.NodeACL("/m"); !reflect.DeepEqual(got, list) {
		t.Errorf("stored: %v", got)
	}
}

func TestSuperAndSkipACL(t *testing.T) {
	r := newRig(t)
	r.ids = super
	if code := r.setData(configPath, "x", -1); code != protocol.OK {
		t.Errorf("super: %v", code)
	}
	r.ids = anyone
	if code := r.setData(configPath, "y", -1); code != protocol.NoAuth {
		t.Errorf("anyone: %v", code)
	}
	r.entry(func(e *EntryBuilder) { e.Settings(Settings{SkipACL: true}) })
	if code := r.setData(configPath, "y", -1); code != protocol.OK {
		t.Errorf("with skipACL: %v", code)
	}
}
