//go:build differential

package differential

import (
	"bytes"
	"errors"
	"io"
	"math"

	"github.com/coordd/coordd/protocol"
)

// session is one that a program has opened.
type session struct {
	id       int64
	password []byte
	closed   bool
	// hungUp: a client has closed one of its connections without a word. A real
	// server that gets to know of that late forgets the session's next
	// connection with it, and does not close that one when it should.
	hungUp bool
}

func (r *runner) connect(i int) {
	h := r.p.steps[i].hello
	slot := r.p.steps[i].slot
	req := protocol.ConnectRequest{ProtocolVersion: h.version, TimeoutMs: h.timeout, Password: make([]byte, 16),
		HasReadOnly: h.readOnly >= 0, ReadOnly: h.readOnly > 0}
	r.brief = r.brief || h.timeout == shortTimeout
	var taken *session
	switch h.from {
	case newSession:
	case noSession:
		req.SessionID = 0x7712345678abcdef
	default:
		if taken = r.known[h.from]; taken == nil {
			return
		}
		req.SessionID, req.Password = taken.id, bytes.Clone(taken.password)
	}
	switch h.password {
	case wrongPassword:
		req.Password[3] ^= 0x55
	case shortPassword:
		req.Password = req.Password[:5]
	case emptyPassword:
		req.Password = []byte{}
	case nullPassword:
		req.Password = nil
	}
	if taken != nil && h.password != rightPassword {
		for _, st := range r.streams {
			if st != nil && st.open && st.session == taken && st.server == h.server {
				return // a real server would close it on a stranger's word; coordd does not
			}
		}
	}
	switch h.zxid {
	case zxidLast:
		req.LastZxidSeen = r.last
	case zxidNegative:
		req.LastZxidSeen = -5
	case zxidAhead:
		req.LastZxidSeen = r.last + 1_000_000
	case zxidMax:
		req.LastZxidSeen = math.MaxInt64
	}
	if old := r.streams[slot]; old != nil && old.open {
		r.drain(old, -1)
		if old.open {
			old.hangUp()
		}
	}
	st, err := dial(r.addrs[h.server%len(r.addrs)])
	if err != nil {
		r.out.streams = append(r.out.streams, &stream{slot: slot, entries: []entry{{step: i, note: "connect: " + err.Error()}}})
		return
	}
	st.slot, st.server = slot, h.server
	r.streams[slot] = st
	r.out.streams = append(r.out.streams, st)
	if r.p.roams {
		if err := r.catchUp(h.server); err != nil {
			st.end(-1, "guide: "+err.Error())
			return
		}
	}
	frame := req.AppendTo(nil)
	frame = frame[:len(frame)-min(h.cut, len(frame))]
	reply, err := st.call(frame)
	if err != nil {
		st.end(i, ending(err))
		return
	}
	st.entries = append(st.entries, entry{step: i, frame: reply, hello: true})
	r.opened(st, reply, taken, h.moves)
	if r.p.roams && st.open { // a new session has taken a zxid, and does not say which
		if err := r.catchUp(h.server); err != nil {
			st.end(-1, "guide: "+err.Error())
		}
	}
}

// opened books the session of an answered handshake.
func (r *runner) opened(st *stream, reply []byte, taken *session, moves bool) {
	var resp protocol.ConnectResponse
	d := protocol.NewDecoder(reply)
	resp.Decode(&d)
	switch {
	case resp.SessionID == 0:
		r.awaitClose(st, -1)
		return
	case taken != nil && resp.SessionID == taken.id:
		st.session = taken
		for _, other := range r.streams {
			switch {
			case other == nil || other == st || !other.open || other.session != taken:
			case moves && other.server != st.server:
				other.left = true
			case taken.hungUp || other.left || other.server != st.server: // a real server answers reads of a moved session's old connection, coordd closes it
				other.hangUp()
			default:
				r.awaitClose(other, -1)
			}
		}
	default:
		st.session = &session{id: resp.SessionID, password: bytes.Clone(resp.Password)}
		r.out.sessions = append(r.out.sessions, st.session)
	}
	r.known[st.slot] = st.session
}

// endSessions closes all connections and sessions that the program left.
func (r *runner) endSessions() error {
	for _, st := range r.streams {
		if st == nil || !st.open {
			continue
		}
		if st.left {
			st.nc.Close()
			continue
		}
		st.put(header(1, protocol.OpCloseSession), true)
		st.w.Flush() // an error shows below
		for {
			if _, err := st.read(patience); err != nil {
				break
			}
		}
		st.nc.Close()
		if st.session != nil {
			st.session.closed = true
		}
	}
	for _, s := range r.out.sessions {
		if s.closed {
			continue
		}
		st, err := dial(r.own)
		if err != nil {
			return err
		}
		req := protocol.ConnectRequest{TimeoutMs: longTimeout, SessionID: s.id, Password: s.password, HasReadOnly: true, ReadOnly: r.p.frozen}
		reply, err := st.call(req.AppendTo(nil))
		if err == nil && !expired(reply) {
			_, err = st.call(header(1, protocol.OpCloseSession))
		}
		st.nc.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// expired tells the answer to a handshake that gives no session.
func expired(reply []byte) bool {
	var resp protocol.ConnectResponse
	d := protocol.NewDecoder(reply)
	resp.Decode(&d)
	return resp.SessionID == 0
}
