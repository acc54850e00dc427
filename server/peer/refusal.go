package peer

import "fmt"

// Reason says why a handshake was refused.
type Reason uint8

// The reasons of a refusal. The zero value is consent and never in a Refused.
const (
	accepted     Reason = 0
	NoVersion    Reason = 1 // no common protocol version
	OtherCluster Reason = 2 // both cluster ids are known, and differ
	Stranger     Reason = 3 // the member is not configured here
	WrongTarget  Reason = 4 // another server than the one that was meant
	SameID       Reason = 5 // the other side claims our own myid
	DoubledID    Reason = 6 // another process of that member is connected and answers
	NotServed    Reason = 7 // this port does not serve that purpose
)

// Refused is the error of a handshake that one side refused. Everything but
// DoubledID and NotServed stays so until an operator changes something.
type Refused struct {
	Reason Reason
	Text   string // a sentence for the operator
	ByPeer bool   // the other side refused us
}

// Error returns the sentence.
func (r *Refused) Error() string {
	if r.ByPeer {
		return "refused by the peer: " + r.Text
	}
	return r.Text
}

// judge decides whether the other side's hello may connect to the sender of
// own. dialed is the address we called, empty when we were called. It covers
// what follows from the two hellos alone; Self.admit adds the doubled id.
func judge(own, other *Hello, known func(member uint8) bool, dialed string) *Refused {
	refuse := func(reason Reason, format string, args ...any) *Refused {
		return &Refused{Reason: reason, Text: fmt.Sprintf(format, args...)}
	}
	if other.MinVersion > own.MaxVersion || other.MaxVersion < own.MinVersion || other.MinVersion > other.MaxVersion {
		return refuse(NoVersion, "no common version: server %d speaks versions %d to %d of the inter-server protocol, its peer %d to %d",
			own.Member, own.MinVersion, own.MaxVersion, other.MinVersion, other.MaxVersion)
	}
	var unknown [16]byte
	if own.ClusterID != unknown && other.ClusterID != unknown && own.ClusterID != other.ClusterID {
		return refuse(OtherCluster, "server %d belongs to cluster %x, server %d to cluster %x: not the same cluster",
			other.Member, other.ClusterID, own.Member, own.ClusterID)
	}
	if other.Member != own.Member && !known(other.Member) {
		return refuse(Stranger, "server %d is not a member in the configuration of server %d", other.Member, own.Member)
	}
	// Before WrongTarget, because it is the more exact of the two when
	// both hold.
	if other.Member == own.Member && other.Nonce != own.Nonce {
		return refuse(SameID, "another process answers as server %d: two servers have the same myid", own.Member)
	}
	if dialed != "" && other.Member != own.Target {
		return refuse(WrongTarget, "%s answers as server %d, but server.%d is configured there: check myid", dialed, other.Member, own.Target)
	}
	if dialed == "" && other.Target != own.Member {
		return refuse(WrongTarget, "server %d looked for server.%d and reached server %d: check myid and the server.%d line",
			other.Member, other.Target, own.Member, other.Target)
	}
	return nil
}
