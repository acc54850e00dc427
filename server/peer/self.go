// Package peer is the link between servers: the handshake of both
// inter-server ports, the framed streams of port 2888, and the connections
// that carry Raft on port 3888.
//
// It guarantees that a connection it hands out leads to the member that was
// meant, of the same cluster, in a common protocol version, and that a member
// is represented by one process at a time; that bad bytes cost no more than
// the connection they came on; that Send never blocks; and that a peer which
// hangs is noticed. What the messages mean, who leads, and when to dial again
// is left to others. Without TLS a peer is trusted to be who it says it is,
// as in ZooKeeper.
package peer

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Defaults of Options.
const (
	DefaultMaxMessage       = 64 << 20
	DefaultMaxQueued        = 64 << 20
	DefaultKeepAlive        = 100 * time.Millisecond
	DefaultIdleTimeout      = 2 * time.Second
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultDoubleWait       = time.Second
)

// Options bound connections. A zero field stands for its default.
type Options struct {
	MaxMessage       int           // largest payload in bytes, both ways
	MaxQueued        int           // bytes queued in one connection before it is closed; its write buffer of 64 KiB comes on top
	KeepAlive        time.Duration // a silent stream sends a ping this often
	IdleTimeout      time.Duration // a stream that hears nothing this long is dead
	HandshakeTimeout time.Duration // from the first byte to the last
	DoubleWait       time.Duration // how long an older process of a member has to show life
}

func (o Options) filled() Options {
	fill := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = DefaultMaxQueued
	}
	fill(&o.KeepAlive, DefaultKeepAlive)
	fill(&o.IdleTimeout, DefaultIdleTimeout)
	fill(&o.HandshakeTimeout, DefaultHandshakeTimeout)
	fill(&o.DoubleWait, DefaultDoubleWait)
	return o
}

// Self is this server as its peers see it. One Self serves all listeners and
// dials of a process, because it also knows which processes are connected.
// Its functions are called from many goroutines; the fields must not change
// after first use.
type Self struct {
	Member    uint8                                                    // myid
	Nonce     uint64                                                   // random, one per process
	ClusterID func() [16]byte                                          // zero = not known yet
	State     func() State                                             // what to answer about our data
	Known     func(member uint8) bool                                  // reports whether member is configured
	Options   Options                                                  // zero: the defaults
	Logger    hclog.Logger                                             // nil: no log
	DialTCP   func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP

	mu    sync.Mutex
	links map[uint8]map[*link]struct{} // open connections by member; guarded by mu
	said  map[sentence]time.Time       // when a refusal last happened; guarded by mu
}

// hello is what we say to target now.
func (s *Self) hello(target uint8, p Purpose) Hello {
	return Hello{
		MinVersion: MinVersion,
		MaxVersion: MaxVersion,
		Member:     s.Member,
		Target:     target,
		Purpose:    p,
		ClusterID:  s.ClusterID(),
		Nonce:      s.Nonce,
		State:      s.State(),
	}
}

func (s *Self) logger() hclog.Logger {
	if s.Logger == nil {
		return hclog.NewNullLogger()
	}
	return s.Logger
}

// sentence is a distinct thing to log about.
type sentence struct {
	host string
	kind string
}

// Bounds of the memory of what has been logged.
const (
	quietSpell   = time.Minute // a refusal that pauses this long is news again
	maxSentences = 256
)

// complain logs text about the peer at addr, unless the same kind of thing was
// said of its host and has kept happening since: peers dial again several
// times a second. kind is text without what differs from time to time.
func (s *Self) complain(addr, kind, text string) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	key, now := sentence{host, kind}, time.Now()
	s.mu.Lock()
	last, repeated := s.said[key]
	if s.said == nil || len(s.said) >= maxSentences && !repeated {
		s.said = make(map[sentence]time.Time)
	}
	s.said[key] = now
	s.mu.Unlock()
	if !repeated || now.Sub(last) > quietSpell {
		s.logger().Warn("connection between servers refused", "peer", addr, "reason", text)
	}
}
