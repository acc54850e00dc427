package fsm

import (
	"github.com/coordd/coordd/protocol"
)

// txn is the request under way: what it is judged by, and what it has done.
// Strings of a request are views of the entry; what the state keeps it copies.
type txn struct {
	sink    Sink
	session int64
	epoch   uint32
	ids     []protocol.ID
	zxid    int64
	timeMs  int64
	wanted  bool // whether somebody waits for the result here

	events      []Event
	owners      []ownerChange
	body        []byte // the response, as far as it is built
	hasBody     bool
	resultEpoch uint32
	overQuota   string
}

// ownerChange is an ephemeral that came or went; it reaches the ephemeral
// table when the whole request has succeeded.
type ownerChange struct {
	session int64
	node    nodeID
	gone    bool
}

// Apply applies the entry at index, proposed in term, and tells sink what
// comes of it. Only an entry that this program cannot read is an error; the
// caller must then stop the process, as skipping the entry would part this
// state from the others'. A request that fails is a result like any other.
func (m *Machine) Apply(_, term uint64, data []byte, sink Sink) error {
	timeMs, items, err := parseEntry(data, m.items)
	m.items = items
	if err != nil {
		return err
	}
	m.timeMs = max(m.timeMs, timeMs)
	for i := range items {
		m.applyItem(&items[i], term, sink)
	}
	m.tree.quiesce()
	clear(m.items)
	return nil
}

func (m *Machine) applyItem(it *item, term uint64, sink Sink) {
	switch it.kind {
	case itemBatch:
		m.applyBatch(it, term, sink)
	case itemRefuse:
		v := m.verdict(it.batch)
		if v == Accepted {
			v = RefusedBatch
		}
		sink.Batch(it.batch, it.n, v, it.code)
	case itemBegin:
		incarnation, nonce := uint64(it.numbers[0]), uint64(it.numbers[1])
		sink.Began(it.server, incarnation, nonce, m.begin(it.server, incarnation, nonce))
	case itemSettings:
		m.settings = settingsOf(it.bits)
	case itemCluster:
		if m.clusterID == ([16]byte{}) {
			m.clusterID = it.cluster
		}
		m.setMembers(m.start(sink), string(it.bytes), term)
		sink.ClusterID(m.clusterID)
	case itemAdmit:
		m.streams[it.server].admitted = uint64(it.numbers[0])
		sink.Admitted(it.server, uint64(it.numbers[0]))
	case itemExpire:
		m.expire(m.start(sink), it.numbers[0], it.bits, term)
	case itemReap:
		m.reap(m.start(sink), string(it.bytes), it.numbers, term)
	case itemRaiseZxid:
		m.zxid = max(m.zxid, it.numbers[0])
	case itemMark:
		m.mark = Mark{uint64(it.numbers[0]), m.StateDigest()}
	case itemVerdict:
		m.verdicted = Mark{uint64(it.numbers[0]), uint64(it.numbers[1])}
	}
}

func (m *Machine) applyBatch(it *item, term uint64, sink Sink) {
	v := m.verdict(it.batch)
	if v != Accepted {
		sink.Batch(it.batch, it.n, v, protocol.OK)
		return
	}
	if err := m.batch.decode(it.bytes); err != nil {
		// Every server sees the same bytes; refusing them uses up the number,
		// so that the stream goes on.
		sink.Batch(it.batch, it.n, RefusedBatch, protocol.MarshallingError)
		return
	}
	wanted := sink.Batch(it.batch, it.n, Accepted, protocol.OK)
	for i := range m.batch.Requests {
		r := &m.batch.Requests[i]
		x := m.start(sink)
		x.session, x.epoch, x.ids, x.wanted = r.Session, r.Epoch, m.batch.Identities[r.Identities], wanted
		code := m.request(x, r, it.batch.Server, term)
		m.flush(x)
		if !wanted {
			continue
		}
		m.result = Result{Zxid: m.zxid, Err: code, Epoch: x.resultEpoch, OverQuota: x.overQuota}
		if code == protocol.OK && x.hasBody {
			m.result.Body = x.body
		}
		sink.Result(i, &m.result)
	}
	clear(m.batch.Requests)
	clear(m.batch.Identities)
}

// start readies the txn for the next request, or an item of our own.
func (m *Machine) start(sink Sink) *txn {
	x := &m.txn
	*x = txn{sink: sink, timeMs: m.timeMs, zxid: m.zxid, events: x.events[:0], owners: x.owners[:0], body: x.body[:0]}
	return x
}

// number gives the request its zxid: the next one, or the first of the term.
// So zxids grow with every request and every term, also after 2³² of them.
func (m *Machine) number(x *txn, term uint64) {
	m.zxid = max(m.zxid+1, int64(term<<32|1))
	x.zxid = m.zxid
}

// request carries out one request. A failed one has changed nothing.
func (m *Machine) request(x *txn, r *Request, server uint8, term uint64) protocol.ErrCode {
	switch r.Op {
	case protocol.OpSync:
		return m.sync(x, r.Body)
	case OpAttach:
		return m.attach(x, r.Body, server)
	}
	m.number(x, term)
	switch r.Op {
	case protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL:
		return m.createRequest(x, r.Op, r.Body)
	case protocol.OpDelete:
		return m.deleteRequest(x, r.Body)
	case protocol.OpSetData:
		return m.setDataRequest(x, r.Body)
	case protocol.OpSetACL:
		return m.setACLRequest(x, r.Body)
	case protocol.OpMulti:
		return m.multi(x, r.Body)
	case protocol.OpReconfig:
		return m.reconfig(x, r.Body)
	case protocol.OpCreateSession:
		return m.createSession(x, r.Body, server)
	case protocol.OpCloseSession:
		if code := m.present(x); code != protocol.OK {
			return code
		}
		if x.epoch != LocalEpoch {
			m.closeSession(x, x.session)
		}
		return protocol.OK
	case OpInvalid:
		d := protocol.NewDecoder(r.Body)
		code := protocol.ErrCode(d.Int())
		if d.Err() != nil || code == protocol.OK {
			return protocol.MarshallingError
		}
		return code
	}
	return protocol.Unimplemented
}

// emit notes an event; it goes out when the request has succeeded.
func (m *Machine) emit(x *txn, t protocol.EventType, id nodeID, path string) {
	x.events = append(x.events, Event{Type: t, Path: path, Node: uint32(id), Zxid: x.zxid,
		ACL: m.tree.aclOf(m.tree.at(id).acl)})
}

// flush makes a request's effects outside the tree: ephemerals and events.
func (m *Machine) flush(x *txn) {
	for _, c := range x.owners {
		if c.gone {
			m.ephemerals.remove(c.session, c.node)
		} else {
			m.ephemerals.add(c.session, c.node)
		}
	}
	for i := range x.events {
		x.sink.Event(&x.events[i])
	}
	clear(x.events)
	x.events, x.owners = x.events[:0], x.owners[:0]
	if m.zxid%digestInterval == 0 {
		m.noteDigest()
	}
}

// sync changes nothing; its place in the log is all that counts. ZooKeeper
// validates neither path nor session and echoes the path.
func (m *Machine) sync(x *txn, body []byte) protocol.ErrCode {
	var r protocol.PathRequest
	d := protocol.NewViewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	x.reply(func(b []byte) []byte { return protocol.AppendString(b, r.Path) })
	return protocol.OK
}

// reconfig is not for clients here: membership changes go through Raft.
func (m *Machine) reconfig(x *txn, body []byte) protocol.ErrCode {
	var r protocol.ReconfigRequest
	d := protocol.NewDecoder(body)
	r.Decode(&d)
	if d.Err() != nil {
		return protocol.MarshallingError
	}
	if code := m.present(x); code != protocol.OK {
		return code
	}
	return protocol.ReconfigDisabled
}

// reply appends to the response, if anybody waits for it.
func (x *txn) reply(appendTo func([]byte) []byte) {
	x.hasBody = true
	if x.wanted {
		x.body = appendTo(x.body)
	}
}

// setMembers makes text the data of /zookeeper/config. A change is numbered
// and seen by watches like a reconfig of ZooKeeper; its version is always -1.
func (m *Machine) setMembers(x *txn, text string, term uint64) {
	id := m.tree.lookup(configPath)
	if old, _ := m.tree.data(id); old == text {
		return
	}
	m.number(x, term)
	m.tree.setData(id, []byte(text))
	m.tree.update(id, func(r *record) { r.version, r.mzxid, r.mtime = -1, x.zxid, x.timeMs })
	m.emit(x, protocol.NodeDataChanged, id, configPath)
	m.flush(x)
}
