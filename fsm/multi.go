package fsm

import "github.com/coordd/coordd/protocol"

// multi carries out several operations under one zxid, all or none. Each sees
// what those before it did. If one fails, the header still says OK and the
// results carry the codes, RuntimeInconsistency for those not tried.
func (m *Machine) multi(x *txn, body []byte) protocol.ErrCode {
	var r protocol.MultiRequest
	d := protocol.NewViewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil || !multiSound(&r) {
		return x.stumble(&r)
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	m.tree.begin()
	for i, op := range r.Ops {
		if code := m.multiOp(x, op); code != protocol.OK {
			m.tree.rollback()
			clear(x.events)
			x.events, x.owners = x.events[:0], x.owners[:0]
			x.body = x.body[:0]
			if code == protocol.MarshallingError {
				return x.stumble(&r)
			}
			x.reply(func(b []byte) []byte { return appendFailedMulti(b, len(r.Ops), i, code) })
			return protocol.OK
		}
	}
	m.tree.commit()
	x.reply(protocol.MultiEnd.AppendTo)
	return protocol.OK
}

// stumble is the error of a multi that ZooKeeper fails on as a whole. A local
// session is told first that it may not make ephemerals.
func (x *txn) stumble(r *protocol.MultiRequest) protocol.ErrCode {
	if x.epoch == LocalEpoch && r.MakesEphemeral() {
		return protocol.EphemeralOnLocalSession
	}
	return protocol.MarshallingError
}

// multiSound refuses what ZooKeeper fails on before it looks at the first
// operation: what it cannot decode, reads, and null paths.
func multiSound(r *protocol.MultiRequest) bool {
	if sound, _ := r.Sound(); !sound || r.Reads() {
		return false
	}
	for _, op := range r.Ops {
		path := ""
		switch b := op.Body.(type) {
		case *protocol.CreateRequest:
			path = b.Path
		case *protocol.CreateTTLRequest:
			path = b.Path
		case *protocol.SetDataRequest:
			path = b.Path
		case *protocol.DeleteRequest:
			path = b.Path
		}
		if path == protocol.NullString {
			return false
		}
	}
	return true
}

// multiOp carries out one operation and appends its result.
func (m *Machine) multiOp(x *txn, op protocol.MultiOp) protocol.ErrCode {
	switch body := op.Body.(type) {
	case *protocol.CreateRequest:
		return m.multiCreate(x, op.Type, &protocol.CreateTTLRequest{CreateRequest: *body, TTLMs: -1})
	case *protocol.CreateTTLRequest:
		return m.multiCreate(x, op.Type, body)
	case *protocol.SetDataRequest:
		stat, code := m.setData(x, body)
		x.multiResult(protocol.OpSetData, stat.AppendTo)
		return code
	case *protocol.DeleteRequest: // of delete and of check
		x.multiResult(op.Type, nil)
		if op.Type == protocol.OpCheck {
			return m.check(x, body)
		}
		return m.delete(x, body)
	}
	return protocol.MarshallingError
}

// multiCreate differs from a create of its own in three ways: flags 4 make a
// container by whatever operation, createTTL with a mode that has none is a
// plain create (org.apache.zookeeper.Op.Create), and a local session's
// ephemeral fails as expired.
func (m *Machine) multiCreate(x *txn, op protocol.OpCode, r *protocol.CreateTTLRequest) protocol.ErrCode {
	switch {
	case r.Mode == protocol.Container:
		op = protocol.OpCreateContainer
	case op == protocol.OpCreateTTL && !r.Mode.TTL():
		op = protocol.OpCreate
	}
	if code := m.checkMode(op, r.Mode, r.TTLMs); code != protocol.OK {
		return code
	}
	if x.epoch == LocalEpoch && r.Mode.Ephemeral() {
		return protocol.SessionExpired
	}
	n, code := m.create(x, op, r)
	result := protocol.OpCreate2
	if op == protocol.OpCreate {
		result = protocol.OpCreate
	}
	x.multiResult(result, func(b []byte) []byte { return n.appendTo(b, op) })
	return code
}

// multiResult appends a result; what a failure has appended is thrown away.
func (x *txn) multiResult(op protocol.OpCode, appendTo func([]byte) []byte) {
	if !x.wanted {
		return
	}
	x.body = protocol.MultiHeader{Type: op}.AppendTo(x.body)
	if appendTo != nil {
		x.body = appendTo(x.body)
	}
}

func appendFailedMulti(b []byte, ops, failed int, code protocol.ErrCode) []byte {
	for i := range ops {
		e := protocol.OK
		switch {
		case i == failed:
			e = code
		case i > failed:
			e = protocol.RuntimeInconsistency
		}
		b = protocol.MultiHeader{Type: protocol.OpError, Err: e}.AppendTo(b)
		b = protocol.AppendInt(b, int32(e))
	}
	return protocol.MultiEnd.AppendTo(b)
}
