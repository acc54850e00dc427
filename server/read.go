package server

import (
	"strings"
	"time"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
	"github.com/coordd/coordd/server/watch"
)

// reading is one request that needs no log, while it runs. The state does not
// change meanwhile: reading and registering the watch are one step. Strings of
// the request are part of the read buffer.
type reading struct {
	c    *conn
	m    *fsm.Machine
	d    protocol.Decoder
	ids  []protocol.ID
	who  auth.Identities
	zxid int64
}

// slowReply is the size of a reply that takes a time worth telling.
const slowReply = 64 << 10

// readers runs what does not travel through the log, by operation. Each
// appends its response to b, or returns what is wrong and leaves b alone but
// for multiRead.
var readers = map[protocol.OpCode]func(r *reading, b []byte) ([]byte, protocol.ErrCode){
	protocol.OpExists:               (*reading).exists,
	protocol.OpGetData:              (*reading).getData,
	protocol.OpGetACL:               (*reading).getACL,
	protocol.OpGetChildren:          (*reading).getChildren,
	protocol.OpGetChildren2:         (*reading).getChildren2,
	protocol.OpGetAllChildrenNumber: (*reading).getAllChildrenNumber,
	protocol.OpGetEphemerals:        (*reading).getEphemerals,
	protocol.OpMultiRead:            (*reading).multiRead,
	protocol.OpSetWatches:           (*reading).setWatches,
	protocol.OpSetWatches2:          (*reading).setWatches2,
	protocol.OpAddWatch:             (*reading).addWatch,
	protocol.OpCheckWatches:         (*reading).checkWatches,
	protocol.OpRemoveWatches:        (*reading).removeWatches,
	protocol.OpWhoAmI:               (*reading).whoAmI,
	protocol.OpPing:                 (*reading).ping,
}

// runLocked answers a request that needs no log and came at since. The caller
// holds the replica's lock, for reading or in apply, and c.mu.
func (c *conn) runLocked(m *fsm.Machine, xid int32, op protocol.OpCode, body []byte, who auth.Identities, since time.Time) {
	if c.overflowLocked() {
		return
	}
	if op == protocol.OpCloseSession {
		c.closeLocalLocked(m, xid)
		return
	}
	run := readers[op]
	if run == nil {
		c.refuseLocked(m, xid, op)
		return
	}
	if op == protocol.OpPing {
		xid = protocol.XidPing
	}
	r := &c.reading
	*r = reading{c: c, m: m, d: protocol.NewViewDecoder(body), ids: who.List(), who: who, zxid: m.Zxid()}
	defer r.forget()
	if op == protocol.OpSetWatches || op == protocol.OpSetWatches2 {
		_, code := run(r, nil) // its events come before its reply
		c.replyLocked(xid, op, r.zxid, code, since, nil)
		return
	}
	start := len(c.out)
	h := protocol.ReplyHeader{Xid: xid, Zxid: r.zxid}
	c.out = h.AppendTo(protocol.AppendInt(c.out, 0))
	bare := len(c.out)
	var code protocol.ErrCode
	c.out, code = run(r, c.out)
	if code != protocol.OK {
		if op != protocol.OpMultiRead {
			c.out = c.out[:bare]
		}
		h.Err = code
		h.AppendTo(c.out[start+4 : start+4])
	}
	patchLength(c.out, start)
	size := len(c.out) - start - 4
	if size > slowReply {
		c.now = time.Now()
	}
	c.sentLocked(xid, op, r.zxid, since, size)
}

// forget lets go of what was read from.
func (r *reading) forget() { *r = reading{} }

// refuseLocked answers what no client may send, and what cannot be decoded.
func (c *conn) refuseLocked(m *fsm.Machine, xid int32, op protocol.OpCode) {
	if row := protocol.Lookup(op); row != nil && row.Class != protocol.Refused {
		c.replyLocked(xid, op, m.Zxid(), protocol.MarshallingError, time.Time{}, nil)
		return
	}
	c.replyLocked(xid, op, -1, protocol.Unimplemented, time.Time{}, nil)
	c.finishLocked()
}

// path decodes the body of a request that names a path and may set a watch.
func (r *reading) path() (req protocol.PathWatchRequest, code protocol.ErrCode) {
	if req.Decode(&r.d); r.d.Err() != nil || req.Path == protocol.NullString {
		return req, protocol.MarshallingError
	}
	return req, protocol.OK
}

func (r *reading) watch(set bool, path string, kind watch.Kind) {
	if set && r.c.watching != nil {
		r.c.s.watches.Add(r.c.watching, path, kind)
	}
}

func (r *reading) exists(b []byte) ([]byte, protocol.ErrCode) {
	req, code := r.path()
	if code != protocol.OK {
		return b, code
	}
	st, code := r.m.Exists(req.Path, r.ids)
	if code == protocol.OK {
		r.count(req.Path, 0)
	}
	// A missing node is watched for its creation.
	r.watch(req.Watch && (code == protocol.OK || code == protocol.NoNode), req.Path, watch.Data)
	return st.AppendTo(b), code
}

func (r *reading) getData(b []byte) ([]byte, protocol.ErrCode) {
	req, code := r.path()
	if code != protocol.OK {
		return b, code
	}
	b, code = r.appendData(b, req.Path)
	r.watch(req.Watch && code == protocol.OK, req.Path, watch.Data)
	return b, code
}

func (r *reading) appendData(b []byte, path string) ([]byte, protocol.ErrCode) {
	data, null, st, code := r.m.GetData(path, r.ids)
	if code != protocol.OK {
		return b, code
	}
	r.count(path, len(data))
	if null {
		b = protocol.AppendInt(b, -1)
	} else {
		b = append(protocol.AppendInt(b, int32(len(data))), data...)
	}
	return st.AppendTo(b), protocol.OK
}

func (r *reading) getACL(b []byte) ([]byte, protocol.ErrCode) {
	var req protocol.PathRequest
	if req.Decode(&r.d); r.d.Err() != nil || req.Path == protocol.NullString {
		return b, protocol.MarshallingError
	}
	acl, st, code := r.m.GetACL(req.Path, r.ids)
	return st.AppendTo(protocol.AppendACLs(b, acl)), code
}

func (r *reading) getChildren(b []byte) ([]byte, protocol.ErrCode) {
	b, _, code := r.children(b)
	return b, code
}

func (r *reading) getChildren2(b []byte) ([]byte, protocol.ErrCode) {
	b, st, code := r.children(b)
	return st.AppendTo(b), code
}

func (r *reading) children(b []byte) ([]byte, protocol.Stat, protocol.ErrCode) {
	req, code := r.path()
	if code != protocol.OK {
		return b, protocol.Stat{}, code
	}
	b, st, code := r.appendChildren(b, req.Path)
	r.watch(req.Watch && code == protocol.OK, req.Path, watch.Child)
	return b, st, code
}

func (r *reading) appendChildren(b []byte, path string) ([]byte, protocol.Stat, protocol.ErrCode) {
	start := len(b)
	b, st, code := r.m.AppendChildren(b, path, r.ids)
	if code == protocol.OK {
		r.count(path, len(b)-start-4-4*int(st.NumChildren)) // the names alone
	}
	return b, st, code
}

// count counts a read of so many bytes as ZooKeeper does
// (DataTree.updateReadStat).
func (r *reading) count(path string, bytes int) {
	const stat = 68
	if name := namespace(path); name != "" {
		r.c.tally.Read(r.c.s.metrics, name, len(path)+bytes+stat)
	}
}

// namespace is the name of the node below the root that path leads to or
// through; empty for the root (PathUtils.getTopNamespace).
func namespace(path string) string {
	if len(path) == 0 {
		return ""
	}
	name, _, _ := strings.Cut(path[1:], "/")
	return name
}

func (r *reading) getAllChildrenNumber(b []byte) ([]byte, protocol.ErrCode) {
	var req protocol.PathRequest
	if req.Decode(&r.d); r.d.Err() != nil || req.Path == protocol.NullString {
		return b, protocol.MarshallingError
	}
	n, code := r.m.AllChildrenNumber(req.Path, r.ids)
	return protocol.AppendInt(b, n), code
}

func (r *reading) getEphemerals(b []byte) ([]byte, protocol.ErrCode) {
	var req protocol.PathRequest
	if req.Decode(&r.d); r.d.Err() != nil {
		return b, protocol.MarshallingError
	}
	paths := r.m.Ephemerals(r.c.sessionID.Load(), req.Path)
	if paths == nil {
		paths = []string{}
	}
	return protocol.AppendStrings(b, paths), protocol.OK
}

// multiRead answers each read for itself. A write inside, or a null path, ends
// it with MarshallingError behind the results so far (3.9.4 does so).
func (r *reading) multiRead(b []byte) ([]byte, protocol.ErrCode) {
	start := len(b)
	var req protocol.MultiRequest
	req.Decode(&r.d)
	if sound, _ := req.Sound(); !sound || r.d.Err() != nil {
		return b[:start], protocol.MarshallingError
	}
	if len(req.Ops) > 0 && !req.Reads() {
		return protocol.MultiEnd.AppendTo(b), protocol.MarshallingError
	}
	for _, op := range req.Ops {
		path := op.Body.(*protocol.PathWatchRequest).Path
		if path == protocol.NullString {
			return protocol.MultiEnd.AppendTo(b), protocol.MarshallingError
		}
		at := len(b)
		b = protocol.MultiHeader{Type: op.Type}.AppendTo(b)
		var code protocol.ErrCode
		if op.Type == protocol.OpGetData {
			b, code = r.appendData(b, path)
		} else {
			b, _, code = r.appendChildren(b, path)
		}
		if code != protocol.OK {
			b = protocol.MultiHeader{Type: protocol.OpError, Err: code}.AppendTo(b[:at])
			b = protocol.AppendInt(b, int32(code))
		}
	}
	return protocol.MultiEnd.AppendTo(b), protocol.OK
}

func (r *reading) ping(b []byte) ([]byte, protocol.ErrCode) { return b, protocol.OK }

func (r *reading) whoAmI(b []byte) ([]byte, protocol.ErrCode) {
	return (&protocol.WhoAmIResponse{Infos: r.who.WhoAmI()}).AppendTo(b), protocol.OK
}

func (r *reading) addWatch(b []byte) ([]byte, protocol.ErrCode) {
	var req protocol.PathTypeRequest
	req.Decode(&r.d)
	kinds := map[int32]watch.Kind{
		protocol.WatchPersistent:          watch.Persistent,
		protocol.WatchPersistentRecursive: watch.PersistentRecursive,
	}
	kind, ok := kinds[req.Type]
	if r.d.Err() != nil || !ok {
		return b, protocol.MarshallingError
	}
	r.watch(true, req.Path, kind)
	return protocol.AppendInt(b, 0), protocol.OK
}

// watcherQuery decodes checkWatches and removeWatches.
func (r *reading) watcherQuery() (req protocol.PathTypeRequest, code protocol.ErrCode) {
	req.Decode(&r.d)
	if r.d.Err() != nil || req.Type < protocol.WatcherChildren || req.Type > protocol.WatcherPersistentRecursive {
		return req, protocol.MarshallingError
	}
	return req, protocol.OK
}

func (r *reading) checkWatches(b []byte) ([]byte, protocol.ErrCode) {
	req, code := r.watcherQuery()
	if code == protocol.OK && (r.c.watching == nil || !r.c.s.watches.Has(r.c.watching, req.Path, req.Type)) {
		code = protocol.NoWatcher
	}
	return b, code
}

func (r *reading) removeWatches(b []byte) ([]byte, protocol.ErrCode) {
	req, code := r.watcherQuery()
	if code == protocol.OK && (r.c.watching == nil || !r.c.s.watches.Remove(r.c.watching, req.Path, req.Type)) {
		code = protocol.NoWatcher
	}
	return b, code
}

// setWatches registers a reconnecting client's watches and tells it what it
// missed, before the reply (DataTree.setWatches). A null list ends it with
// MarshallingError after the lists before it.
func (r *reading) setWatches(b []byte) ([]byte, protocol.ErrCode) {
	req := protocol.SetWatches2Request{Persistent: []string{}, PersistentRecursive: []string{}}
	if req.SetWatchesRequest.Decode(&r.d); r.d.Err() != nil {
		return b, protocol.MarshallingError
	}
	return b, r.catchUpAll(&req)
}

// setWatches2 does the same with two more lists.
func (r *reading) setWatches2(b []byte) ([]byte, protocol.ErrCode) {
	var req protocol.SetWatches2Request
	if req.Decode(&r.d); r.d.Err() != nil {
		return b, protocol.MarshallingError
	}
	return b, r.catchUpAll(&req)
}

func (r *reading) catchUpAll(req *protocol.SetWatches2Request) protocol.ErrCode {
	seen := req.RelativeZxid
	lists := []struct {
		paths []string
		each  func(path string)
	}{
		{req.Data, func(p string) { r.catchUp(p, watch.Data, protocol.NodeDataChanged, seen) }},
		{req.Exist, func(p string) {
			if _, _, _, ok := r.m.NodeZxids(p); ok {
				r.missed(protocol.NodeCreated, p)
			} else {
				r.watch(true, p, watch.Data)
			}
		}},
		{req.Child, func(p string) { r.catchUp(p, watch.Child, protocol.NodeChildrenChanged, seen) }},
		{req.Persistent, func(p string) { r.watch(true, p, watch.Persistent) }},
		{req.PersistentRecursive, func(p string) { r.watch(true, p, watch.PersistentRecursive) }},
	}
	const lookedUp = 3 // of the lists; ZooKeeper stumbles over a null path there
	for i, l := range lists {
		if l.paths == nil {
			return protocol.MarshallingError
		}
		for _, p := range l.paths {
			if p == protocol.NullString && i < lookedUp {
				return protocol.MarshallingError
			}
			l.each(p)
		}
	}
	return protocol.OK
}

// catchUp registers a data or child watch, or tells what it missed since the
// zxid seen.
func (r *reading) catchUp(path string, kind watch.Kind, changed protocol.EventType, seen int64) {
	_, mzxid, pzxid, ok := r.m.NodeZxids(path)
	last := mzxid
	if kind == watch.Child {
		last = pzxid
	}
	switch {
	case !ok:
		r.missed(protocol.NodeDeleted, path)
	case last > seen:
		r.missed(changed, path)
	default:
		r.watch(true, path, kind)
	}
}

// missed sends an event that a reconnecting client missed; its header says
// zxid -1. Unlike other events ZooKeeper sends these to whoever asks, whether
// the node can be read or not.
func (r *reading) missed(typ protocol.EventType, path string) {
	r.c.eventLocked(watch.NotificationFrame(-1, typ, path))
}
