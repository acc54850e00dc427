// Package auth keeps the identities of client connections: which ones an
// auth request adds, and how they are shown.
//
// It guarantees that a set of identities never changes once handed out, holds
// no duplicates and always has the address of the connection. What identities
// permit is decided elsewhere (the state machine checks access lists); closing
// a connection after a refusal is the server's job.
package auth

import (
	"crypto/sha1"
	"encoding/base64"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// The schemes that a connection can hold identities of.
const (
	schemeIP     = "ip"
	schemeDigest = "digest"
	schemeSuper  = "super"
)

// Identities is an immutable set of identities in the order they were added,
// the connection's address first. Make one with FromAddr; copies may be used
// by several goroutines.
type Identities struct{ list []protocol.ID }

// FromAddr returns the identities of a connection that has just been accepted
// from addr (IPAuthenticationProvider). The address is written as Java does:
// IPv6 without ::, a mapped IPv4 address as IPv4; its zone is left out, because
// access lists cannot name one.
func FromAddr(addr netip.Addr) Identities {
	return Identities{[]protocol.ID{{Scheme: schemeIP, ID: hostAddress(addr)}}}
}

// hostAddress writes addr as java.net.InetAddress.getHostAddress does.
func hostAddress(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr.String()
	}
	b := addr.As16()
	var groups [8]string
	for i := range groups {
		groups[i] = strconv.FormatUint(uint64(b[2*i])<<8|uint64(b[2*i+1]), 16)
	}
	return strings.Join(groups[:], ":")
}

// List returns the identities. The slice is shared and must not be changed.
func (ids Identities) List() []protocol.ID { return ids.list }

// Has reports whether the set has an identity of the scheme
// (zookeeper.enforce.auth.schemes asks so).
func (ids Identities) Has(scheme string) bool {
	return slices.ContainsFunc(ids.list, func(id protocol.ID) bool { return id.Scheme == scheme })
}

// WhoAmI returns the identities as the whoAmI request shows them: digest users
// without the hash, super without a name (AuthUtil.getClientInfos).
func (ids Identities) WhoAmI() []protocol.ClientInfo {
	infos := make([]protocol.ClientInfo, len(ids.list))
	for i, id := range ids.list {
		user := id.ID
		if id.Scheme == schemeDigest {
			user, _, _ = strings.Cut(user, ":")
		}
		infos[i] = protocol.ClientInfo{AuthScheme: id.Scheme, User: user}
	}
	return infos
}

// with returns ids and the given identity.
func (ids Identities) with(scheme, id string) Identities {
	added := protocol.ID{Scheme: scheme, ID: id}
	if slices.Contains(ids.list, added) {
		return ids
	}
	list := make([]protocol.ID, 0, len(ids.list)+1)
	return Identities{append(append(list, ids.list...), added)}
}

// Registry knows the schemes of auth requests (ProviderRegistry). It may be
// used by several goroutines.
type Registry struct {
	superDigest   string
	digestEnabled bool
}

// New returns a registry of the schemes ip and, if digestEnabled, digest.
// superDigest is the digest, as Digest writes it, whose owner may do
// everything (zookeeper.DigestAuthenticationProvider.superDigest); empty means
// that there is none.
func New(superDigest string, digestEnabled bool) *Registry {
	return &Registry{superDigest: superDigest, digestEnabled: digestEnabled}
}

// Authenticate answers an auth request of a connection that has the given
// identities. It returns what the connection has from then on and OK, or ids
// itself and AuthFailed, after which the connection must be closed.
//
// digest takes every payload but null, whatever the password: it claims an
// identity rather than proves one (DigestAuthenticationProvider). ip takes
// every payload and adds nothing, since the address is there from the start.
// Every other scheme is unknown.
func (r *Registry) Authenticate(ids Identities, scheme string, auth []byte) (Identities, protocol.ErrCode) {
	switch {
	case scheme == schemeIP:
		return ids, protocol.OK
	case scheme == schemeDigest && r.digestEnabled && auth != nil:
		digest := Digest(auth)
		if digest == r.superDigest {
			ids = ids.with(schemeSuper, "")
		}
		return ids.with(schemeDigest, digest), protocol.OK
	default:
		return ids, protocol.AuthFailed
	}
}

// Digest returns the id of the digest scheme for the payload user:password:
// the user, a colon and the SHA-1 of the whole payload in base64. A payload
// without a colon is a user as a whole; bytes that are not UTF-8 become U+FFFD
// first (DigestAuthenticationProvider.generateDigest).
func Digest(auth []byte) string {
	// The decoder of strings already replaces malformed bytes as Java does.
	d := protocol.NewDecoder(append(protocol.AppendInt(nil, int32(len(auth))), auth...))
	payload := d.String()
	user, _, _ := strings.Cut(payload, ":")
	sum := sha1.Sum([]byte(payload))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}
