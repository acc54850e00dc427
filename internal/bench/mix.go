package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/coordd/coordd/protocol"
)

// Kind is one kind of request.
type Kind uint8

// The kinds of requests.
const (
	Get Kind = iota
	Set
	Create
	// CreateSequentialEphemeral is what locks and queues are made of.
	CreateSequentialEphemeral
	// Delete deletes the oldest znode that its session has created; where there
	// is none, it is a Create and counts as such.
	Delete
	Multi    // of sets
	SyncGet  // a sync and a get right behind it; the latency is that of both
	Children // of the directory that holds the keys
	// Watch is an exists that leaves a watch, on another key each time.
	Watch
	kindCount
)

// kinds says how each is called and sent.
var kinds = [kindCount]struct {
	name string
	send func(*session, Kind, time.Duration)
}{
	Get:                       {"get", (*session).get},
	Set:                       {"set", (*session).set},
	Create:                    {"create", (*session).create},
	CreateSequentialEphemeral: {"create-sequential-ephemeral", (*session).createSequential},
	Delete:                    {"delete", (*session).delete},
	Multi:                     {"multi", (*session).multi},
	SyncGet:                   {"sync+get", (*session).syncGet},
	Children:                  {"children", (*session).children},
	Watch:                     {"watch", (*session).watch},
}

// String is the name by which ParseMix knows the kind.
func (k Kind) String() string { return kinds[k].name }

// KindNames are all names of kinds.
func KindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// Share is one part of a mix.
type Share struct {
	Kind   Kind
	Weight int // of the sum of all weights
}

// Mix is what a load sends: each request is of a kind drawn by weight.
type Mix []Share

// ParseMix takes "get" or "get=90,set=10".
func ParseMix(text string) (Mix, error) {
	var mix Mix
	for part := range strings.SplitSeq(text, ",") {
		name, number, weighted := strings.Cut(part, "=")
		share := Share{Kind: kindCount, Weight: 1}
		for k := range kinds {
			if kinds[k].name == name {
				share.Kind = Kind(k)
			}
		}
		if share.Kind == kindCount {
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(KindNames(), ", "))
		}
		for _, other := range mix {
			if other.Kind == share.Kind {
				return nil, fmt.Errorf("%s is in %q twice", name, text)
			}
		}
		if weighted {
			weight, err := strconv.Atoi(number)
			if err != nil || weight < 1 || weight > 1_000_000 {
				return nil, fmt.Errorf("%q has no weight from 1 to 1000000", part)
			}
			share.Weight = weight
		}
		mix = append(mix, share)
	}
	return mix, nil
}

// String is what ParseMix takes.
func (m Mix) String() string {
	if len(m) == 1 {
		return m[0].Kind.String()
	}
	var parts []string
	for _, share := range m {
		parts = append(parts, fmt.Sprintf("%v=%d", share.Kind, share.Weight))
	}
	return strings.Join(parts, ",")
}

// choose draws a kind.
func (m Mix) choose(random *rand.Rand) Kind {
	if len(m) == 1 {
		return m[0].Kind
	}
	sum := 0
	for _, share := range m {
		sum += share.Weight
	}
	n := random.IntN(sum)
	for _, share := range m {
		if n -= share.Weight; n < 0 {
			return share.Kind
		}
	}
	panic("a weight is negative")
}

// Keyed reports whether the kinds of the mix need keys.
func (m Mix) Keyed() bool {
	for _, share := range m {
		switch share.Kind {
		case Create, CreateSequentialEphemeral, Delete:
		default:
			return true
		}
	}
	return false
}

func (s *session) path() string { return s.run.load.Keys.Path(s.key()) }

func (s *session) get(kind Kind, due time.Duration) {
	s.sendLocked(protocol.OpGetData, &protocol.PathWatchRequest{Path: s.path()}, pending{kind: kind, due: due})
}

func (s *session) set(kind Kind, due time.Duration) {
	s.sendLocked(protocol.OpSetData, s.setOf(), pending{kind: kind, due: due})
}

func (s *session) setOf() *protocol.SetDataRequest {
	return &protocol.SetDataRequest{Path: s.path(), Data: s.run.load.Data, Version: protocol.AnyVersion}
}

func (s *session) create(_ Kind, due time.Duration) {
	s.sendLocked(protocol.OpCreate, &protocol.CreateRequest{
		Path: s.createdPath(s.created), Data: s.run.load.Data, ACL: protocol.WorldAnyone,
	}, pending{kind: Create, due: due})
	s.created++
}

// createdPath is the path of the session's i-th create.
func (s *session) createdPath(i int) string {
	return s.run.load.Dir + "/c" + strconv.Itoa(s.n) + "-" + strconv.Itoa(i)
}

// sequentialPrefix is the path of the session's sequential znodes without
// their number.
func (s *session) sequentialPrefix() string { return s.run.load.Dir + "/e" + strconv.Itoa(s.n) + "-" }

func (s *session) createSequential(kind Kind, due time.Duration) {
	s.sendLocked(protocol.OpCreate, &protocol.CreateRequest{
		Path: s.sequentialPrefix(), Data: s.run.load.Data, ACL: protocol.WorldAnyone, Mode: protocol.EphemeralSequential,
	}, pending{kind: kind, due: due})
}

// sequence is the number at the end of the path that a create answered.
func sequence(body []byte) (int32, bool) {
	d := protocol.NewDecoder(body)
	path := d.String()
	if d.Err() != nil || len(path) < 10 {
		return 0, false
	}
	number, err := strconv.ParseInt(path[len(path)-10:], 10, 32)
	return int32(number), err == nil
}

func (s *session) delete(kind Kind, due time.Duration) {
	if s.deleted == s.created {
		s.create(Create, due)
		return
	}
	s.sendLocked(protocol.OpDelete, &protocol.DeleteRequest{
		Path: s.createdPath(s.deleted), Version: protocol.AnyVersion,
	}, pending{kind: kind, due: due})
	s.deleted++
}

func (s *session) multi(kind Kind, due time.Duration) {
	ops := make([]protocol.MultiOp, s.run.load.MultiSize)
	for i := range ops {
		ops[i] = protocol.MultiOp{Type: protocol.OpSetData, Body: s.setOf()}
	}
	s.sendLocked(protocol.OpMulti, &protocol.MultiRequest{Ops: ops}, pending{kind: kind, due: due})
}

// multiCode is the first result of a multi that is a refusal. A multi that is
// refused answers OK in its header, and a refusal for each of its writes.
func multiCode(body []byte) protocol.ErrCode {
	if len(body) < 9 || protocol.OpCode(int32(binary.BigEndian.Uint32(body))) != protocol.OpError {
		return protocol.OK
	}
	return protocol.ErrCode(int32(binary.BigEndian.Uint32(body[5:])))
}

func (s *session) syncGet(kind Kind, due time.Duration) {
	path := s.path()
	s.sendLocked(protocol.OpSync, &protocol.PathRequest{Path: path}, pending{part: true})
	s.sendLocked(protocol.OpGetData, &protocol.PathWatchRequest{Path: path}, pending{kind: kind, due: due})
}

func (s *session) children(kind Kind, due time.Duration) {
	s.sendLocked(protocol.OpGetChildren, &protocol.PathWatchRequest{Path: s.run.load.Keys.Dir}, pending{kind: kind, due: due})
}

func (s *session) watch(kind Kind, due time.Duration) {
	// Each session begins somewhere else, so that all keys are watched alike.
	path := s.run.load.Keys.Path((s.n*101 + s.watched) % s.run.load.Keys.Count)
	s.watched++
	s.sendLocked(protocol.OpExists, &protocol.PathWatchRequest{Path: path, Watch: true}, pending{kind: kind, due: due})
}
