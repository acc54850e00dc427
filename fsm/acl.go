package fsm

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// allowed reports whether any of the wanted permissions is granted to ids by
// acl (ZooKeeperServer.checkACL). An empty list grants everything.
func (m *Machine) allowed(acl []protocol.ACL, want protocol.Perm, ids []protocol.ID) bool {
	if m.settings.SkipACL || len(acl) == 0 {
		return true
	}
	for i := range ids {
		if ids[i].Scheme == "super" {
			return true
		}
	}
	for i := range acl {
		if acl[i].Perms&want != 0 && matchesAny(acl[i].ID, ids) {
			return true
		}
	}
	return false
}

// matchesAny reports whether want, of an ACL entry, means one of ids.
func matchesAny(want protocol.ID, ids []protocol.ID) bool {
	if want.Scheme == "world" {
		return want.ID == "anyone"
	}
	for i := range ids {
		if ids[i].Scheme != want.Scheme {
			continue
		}
		if ids[i].ID == want.ID || want.Scheme == "ip" && ipMatches(want.ID, ids[i].ID) {
			return true
		}
	}
	return false
}

func ipMatches(expr, address string) bool {
	prefix, ok := ipPrefix(expr)
	if !ok {
		return false
	}
	address, _, _ = strings.Cut(address, "%") // the zone, which no list can name
	a, ok := ipAddress(address)
	return ok && prefix.Contains(a)
}

// ipPrefix reads an address of IPv4 or IPv6 with optional /bits.
func ipPrefix(expr string) (netip.Prefix, bool) {
	address, bitsText, masked := strings.Cut(expr, "/")
	a, ok := ipAddress(address)
	if !ok {
		return netip.Prefix{}, false
	}
	bits := a.BitLen()
	if masked {
		n, err := strconv.ParseInt(bitsText, 10, 32)
		bits = int(n)
		if err != nil || bits < 0 || bits > a.BitLen() {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(a, bits), true
}

// ipAddress reads an address as ZooKeeper's IPAuthenticationProvider does, by
// rules of its own: numbers may have a sign and leading zeros, and IPv6 has no
// dotted part. What has a colon is IPv6.
func ipAddress(s string) (netip.Addr, bool) {
	if strings.Contains(s, ":") {
		return ipv6Address(s)
	}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		v, err := strconv.ParseInt(part, 10, 32)
		if err != nil || v < 0 || v > 255 {
			return netip.Addr{}, false
		}
		b[i] = byte(v)
	}
	return netip.AddrFrom4(b), true
}

func ipv6Address(s string) (netip.Addr, bool) {
	const groups = 8
	halves := strings.Split(s, "::")
	var front, back []string
	switch len(halves) {
	case 1:
		front = strings.Split(s, ":")
		if len(front) != groups {
			return netip.Addr{}, false
		}
	case 2:
		if halves[0] != "" {
			front = strings.Split(halves[0], ":")
		}
		if halves[1] != "" {
			back = strings.Split(halves[1], ":")
		}
		if len(front)+len(back) >= groups {
			return netip.Addr{}, false
		}
	default:
		return netip.Addr{}, false
	}
	var b [2 * groups]byte
	for i, part := range slices.Concat(front, back) {
		v, err := strconv.ParseInt(part, 16, 32)
		if err != nil || len(part) > 4 {
			return netip.Addr{}, false
		}
		if i >= len(front) {
			i += groups - len(front) - len(back)
		}
		b[2*i], b[2*i+1] = byte(v>>8), byte(v)
	}
	return netip.AddrFrom16(b), true
}

// fixACL turns the list of a request into the one to store
// (PrepRequestProcessor.fixupACL): duplicates go, auth becomes the caller's
// own identities, and what no scheme knows makes the whole list invalid.
// Identities that auth adds may be there twice, as in ZooKeeper. Nulls that
// ZooKeeper stumbles over are a MarshallingError there and here.
func fixACL(acl []protocol.ACL, ids []protocol.ID) ([]protocol.ACL, protocol.ErrCode) {
	unique := make([]protocol.ACL, 0, len(acl))
	for _, a := range acl {
		known, stumbles := containsACL(unique, a)
		if stumbles {
			return nil, protocol.MarshallingError
		}
		if !known {
			unique = append(unique, a)
		}
	}
	fixed := make([]protocol.ACL, 0, len(unique))
	for _, a := range unique {
		if a.ID.Scheme == "auth" {
			before := len(fixed)
			for _, id := range ids {
				if id.Scheme == "digest" || id.Scheme == "x509" || id.Scheme == "sasl" {
					fixed = append(fixed, protocol.ACL{Perms: a.Perms, ID: id})
				}
			}
			if len(fixed) == before {
				return nil, protocol.InvalidACL
			}
			continue
		}
		if code := checkACLID(a.ID); code != protocol.OK {
			return nil, code
		}
		fixed = append(fixed, a)
	}
	if len(fixed) == 0 {
		return nil, protocol.InvalidACL
	}
	return fixed, protocol.OK
}

// containsACL compares as the generated Java records do, which a null scheme
// or id of a itself makes stumble once all before it is equal.
func containsACL(list []protocol.ACL, a protocol.ACL) (known, stumbles bool) {
	for _, b := range list {
		switch {
		case a.Perms != b.Perms:
		case a.ID.Scheme == protocol.NullString:
			return false, true
		case a.ID.Scheme != b.ID.Scheme:
		case a.ID.ID == protocol.NullString:
			return false, true
		case a.ID.ID == b.ID.ID:
			return true, false
		}
	}
	return false, false
}

func checkACLID(id protocol.ID) protocol.ErrCode {
	valid := false
	switch id.Scheme {
	case "world", "digest", "ip":
		if id.ID == protocol.NullString {
			return protocol.MarshallingError
		}
	}
	switch id.Scheme {
	case "world":
		valid = id.ID == "anyone"
	case "digest":
		// Java's split drops empty parts at the end: "a:" is one part.
		valid = strings.Count(strings.TrimRight(id.ID, ":"), ":") == 1
	case "ip":
		_, valid = ipPrefix(id.ID)
	}
	if !valid {
		return protocol.InvalidACL
	}
	return protocol.OK
}

// maskACL hides the hashes of digest ids, for those who may read a node but
// not administer it.
func maskACL(acl []protocol.ACL) []protocol.ACL {
	masked := slices.Clone(acl)
	for i := range masked {
		if user, _, ok := strings.Cut(masked[i].ID.ID, ":"); ok && masked[i].ID.Scheme == "digest" {
			masked[i].ID.ID = user + ":x"
		}
	}
	return masked
}
