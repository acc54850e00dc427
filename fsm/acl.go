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
	a, err := netip.ParseAddr(address)
	return err == nil && prefix.Contains(a.WithZone(""))
}

// ipPrefix reads an address of IPv4 or IPv6 with optional /bits.
func ipPrefix(expr string) (netip.Prefix, bool) {
	address, bitsText, masked := strings.Cut(expr, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	bits := a.BitLen()
	if masked {
		bits, err = strconv.Atoi(bitsText)
		if err != nil || bits < 0 || bits > a.BitLen() {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(a, bits), true
}

// fixACL turns the list of a request into the one to store
// (PrepRequestProcessor.fixupACL): duplicates go, auth becomes the caller's
// own identities, and what no scheme knows makes the whole list invalid.
// Identities that auth adds may be there twice, as in ZooKeeper.
func fixACL(acl []protocol.ACL, ids []protocol.ID) ([]protocol.ACL, bool) {
	fixed := make([]protocol.ACL, 0, len(acl))
	for i, a := range acl {
		if slices.Contains(acl[:i], a) {
			continue
		}
		if a.ID.Scheme == "auth" {
			before := len(fixed)
			for _, id := range ids {
				if id.Scheme == "digest" || id.Scheme == "x509" || id.Scheme == "sasl" {
					fixed = append(fixed, protocol.ACL{Perms: a.Perms, ID: id})
				}
			}
			if len(fixed) == before {
				return nil, false
			}
			continue
		}
		if !validACLID(a.ID) {
			return nil, false
		}
		fixed = append(fixed, a)
	}
	return fixed, len(fixed) > 0
}

func validACLID(id protocol.ID) bool {
	switch id.Scheme {
	case "world":
		return id.ID == "anyone"
	case "digest":
		// Java's split drops empty parts at the end: "a:" is one part.
		return id.ID != protocol.NullString && strings.Count(strings.TrimRight(id.ID, ":"), ":") == 1
	case "ip":
		_, ok := ipPrefix(id.ID)
		return ok
	}
	return false
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
