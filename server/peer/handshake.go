package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dial connects to the server target at addr and shakes hands for purpose p.
// On success the Hello is the peer's. A refusal by either side is a *Refused,
// and the Hello is filled in as far as it was read, so that a probe learns
// something even then. For PurposeProbe the connection is nil: the handshake
// was all. The handshake ends with ctx, at the latest after
// Options.HandshakeTimeout.
func Dial(ctx context.Context, self *Self, addr string, target uint8, p Purpose) (*Conn, Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, self.Options.filled().HandshakeTimeout)
	defer cancel()
	dial := self.DialTCP
	if dial == nil {
		dial = dialTCP
	}
	nc, err := dial(ctx, addr)
	if err != nil {
		return nil, Hello{}, fmt.Errorf("dial server %d: %w", target, err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	l, other, err := self.call(nc, addr, target, p)
	if !stop() && err == nil {
		l.Close()
		err = ctx.Err()
	}
	if err == nil {
		if p == PurposeProbe {
			l.Close()
			return nil, other, nil
		}
		return newConn(l, p, self.Options.filled()), other, nil
	}
	nc.Close()
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		self.complain(addr, refused.Text, refused.Error())
	case errors.Is(err, errGarbage):
		self.complain(addr, errGarbage.Error(), err.Error())
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return nil, other, fmt.Errorf("handshake with server %d at %s: %w", target, addr, err)
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// call is the caller's side: hello, the other side's hello and verdict, our
// verdict. The link is registered when err is nil.
func (s *Self) call(nc net.Conn, addr string, target uint8, p Purpose) (*link, Hello, error) {
	own := s.hello(target, p)
	if _, err := nc.Write(own.appendTo(nil)); err != nil {
		return nil, Hello{}, fmt.Errorf("send hello: %w", err)
	}
	other, err := readHello(nc)
	if err != nil {
		return nil, Hello{}, err
	}
	theirs, err := readVerdict(nc)
	if err != nil {
		return nil, other, err
	}
	l := &link{Conn: nc, self: s, member: other.Member, nonce: other.Nonce}
	ours := judge(&own, &other, s.Known, addr)
	if ours == nil && theirs == nil {
		ours = s.admitCalled(l, p)
	}
	if ours == nil && theirs != nil {
		return nil, other, theirs
	}
	_, err = nc.Write(appendVerdict(nil, ours))
	if ours != nil {
		return nil, other, ours
	}
	if err != nil {
		s.forget(l)
		return nil, other, fmt.Errorf("send verdict: %w", err)
	}
	return l, other, nil
}

// admitCalled is admit for a connection that we opened. One for Raft does not
// stay registered: it may lie in Raft's pool with nobody reading, where the
// end of its process would go unseen and keep the successor waiting.
func (s *Self) admitCalled(l *link, p Purpose) *Refused {
	r := s.admit(l)
	if p == PurposeRaft {
		s.forget(l)
	}
	return r
}

// answer is the called side: hello, our hello and verdict, the caller's
// verdict. The link is registered when err is nil.
func (s *Self) answer(nc net.Conn, serves func(Purpose) bool) (*link, Hello, error) {
	nc.SetDeadline(time.Now().Add(s.Options.filled().HandshakeTimeout))
	other, err := readHello(nc)
	if err != nil {
		return nil, Hello{}, err
	}
	own := s.hello(other.Member, other.Purpose)
	l := &link{Conn: nc, self: s, member: other.Member, nonce: other.Nonce}
	ours := judge(&own, &other, s.Known, "")
	if ours == nil && !serves(other.Purpose) {
		ours = &Refused{Reason: NotServed, Text: fmt.Sprintf("server %d does not serve %s on this port: check the two ports of its server.%d line", s.Member, other.Purpose, s.Member)}
	}
	if ours == nil {
		ours = s.admit(l)
	}
	if _, err := nc.Write(appendVerdict(own.appendTo(nil), ours)); err != nil && ours == nil {
		s.forget(l)
		return nil, other, fmt.Errorf("send hello: %w", err)
	}
	if ours != nil {
		// The caller's verdict is read so that closing does not reset
		// the connection before our reason has arrived.
		readVerdict(nc)
		return nil, other, ours
	}
	theirs, err := readVerdict(nc)
	if err == nil && theirs != nil {
		err = theirs
	}
	if err != nil {
		s.forget(l)
		return nil, other, err
	}
	nc.SetDeadline(time.Time{})
	return l, other, nil
}
