//go:build simulate

package simulate

import (
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// read has the answer come to a request that needs no log, run at zxid, and keeps
// what it does to the watches.
func (c *conn) read(q pending, zxid int64) {
	d := protocol.NewDecoder(q.body)
	var body []byte
	code := protocol.OK
	m := c.w.model
	switch q.op {
	case protocol.OpExists, protocol.OpGetData, protocol.OpGetChildren, protocol.OpGetChildren2:
		body, code = c.look(q, zxid)
	case protocol.OpGetACL:
		body, code = m.getACL(d.String(), zxid, q.ids)
	case protocol.OpGetAllChildrenNumber:
		var s *state
		n := m.nodes[d.String()]
		if s, code = n.readable(zxid, protocol.PermRead, q.ids); s != nil {
			body = protocol.AppendInt(nil, n.below(zxid))
		}
	case protocol.OpGetEphemerals:
		body = protocol.AppendStrings(nil, m.ephemeralsOf(c.session, d.String(), zxid))
	case protocol.OpWhoAmI:
		var r protocol.WhoAmIResponse
		for _, id := range q.ids {
			user, _, _ := strings.Cut(id.ID, ":")
			r.Infos = append(r.Infos, protocol.ClientInfo{AuthScheme: id.Scheme, User: user})
		}
		body = r.AppendTo(nil)
	case protocol.OpMultiRead:
		body = m.multiRead(&d, zxid, q.ids)
	case protocol.OpAddWatch:
		var r protocol.PathTypeRequest
		r.Decode(&d)
		c.watch(r.Path, map[int32]uint8{protocol.WatchPersistent: watchPersistent, protocol.WatchPersistentRecursive: watchRecursive}[r.Type])
		body = protocol.AppendInt(nil, 0)
	case protocol.OpCheckWatches, protocol.OpRemoveWatches:
		var r protocol.PathTypeRequest
		r.Decode(&d)
		kinds := [...]uint8{0, watchChild, watchData, watchAny, watchPersistent, watchRecursive}[r.Type]
		if c.watches[r.Path]&kinds == 0 {
			code = protocol.NoWatcher
		} else if q.op == protocol.OpRemoveWatches {
			c.unwatch(r.Path, kinds)
		}
	case protocol.OpSetWatches2:
		c.setWatches(&d, zxid)
	case protocol.OpPing:
		q.xid = protocol.XidPing
	default:
		c.w.fail("reads", "no model of %v", q.op)
	}
	c.reply(q.xid, q.op, zxid, code, body)
}

// readable is the node's state at zxid if ids may do any of want.
func (n *node) readable(zxid int64, want protocol.Perm, ids []protocol.ID) (*state, protocol.ErrCode) {
	s := n.at(zxid)
	switch {
	case s == nil:
		return nil, protocol.NoNode
	case !permits(s.acl, want, ids):
		return nil, protocol.NoAuth
	}
	return s, protocol.OK
}

// look is exists, getData, getChildren and getChildren2.
func (c *conn) look(q pending, zxid int64) (body []byte, code protocol.ErrCode) {
	var r protocol.PathWatchRequest
	d := protocol.NewDecoder(q.body)
	r.Decode(&d)
	n := c.w.model.nodes[r.Path]
	s, code := n.readable(zxid, protocol.PermRead, q.ids)
	kind := watchData
	switch {
	case s == nil && (q.op != protocol.OpExists || code != protocol.NoNode):
		return nil, code
	case s == nil: // watched for its creation
	case q.op == protocol.OpExists:
		body = s.stats(nil)
	case q.op == protocol.OpGetData:
		body = s.stats(protocol.AppendBuffer(nil, s.data))
	case q.op == protocol.OpGetChildren:
		kind, body = watchChild, protocol.AppendStrings(nil, n.children(zxid))
	default:
		kind, body = watchChild, s.stats(protocol.AppendStrings(nil, n.children(zxid)))
	}
	if r.Watch {
		c.watch(r.Path, kind)
	}
	return body, code
}

func (s *state) stats(b []byte) []byte {
	st := s.stat()
	return st.AppendTo(b)
}

// getACL hides the hashes from those who only may read.
func (m *model) getACL(path string, zxid int64, ids []protocol.ID) ([]byte, protocol.ErrCode) {
	s, code := m.nodes[path].readable(zxid, protocol.PermRead|protocol.PermAdmin, ids)
	if s == nil {
		return nil, code
	}
	acl := s.acl
	if !permits(acl, protocol.PermAdmin, ids) {
		acl = slices.Clone(acl)
		for i := range acl {
			if acl[i].ID.Scheme == "digest" {
				acl[i].ID.ID = acl[i].ID.ID[:2] + ":x" // users are called u0 to u9
			}
		}
	}
	return s.stats(protocol.AppendACLs(nil, acl)), protocol.OK
}

// ephemeralsOf lists a session's ephemerals whose paths begin with prefix.
func (m *model) ephemeralsOf(id int64, prefix string, zxid int64) []string {
	list := []string{}
	for path := range m.ever[id] {
		if s := m.nodes[path].at(zxid); s != nil && s.kind == ephemeral && s.owner == id && strings.HasPrefix(path, prefix) {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}

// multiRead answers reads of data one by one.
func (m *model) multiRead(d *protocol.Decoder, zxid int64, ids []protocol.ID) []byte {
	var r protocol.MultiRequest
	r.Decode(d)
	var resp protocol.MultiResponse
	for _, op := range r.Ops {
		s, code := m.nodes[op.Body.(*protocol.PathWatchRequest).Path].readable(zxid, protocol.PermRead, ids)
		if s == nil {
			resp.Results = append(resp.Results, protocol.MultiResult{Type: protocol.OpError, Err: code})
			continue
		}
		resp.Results = append(resp.Results, protocol.MultiResult{Type: op.Type, Body: &protocol.GetDataResponse{Data: s.data, Stat: s.stat()}})
	}
	return resp.AppendTo(nil)
}

// setWatches tells what the watches of a client that comes back have missed.
func (c *conn) setWatches(d *protocol.Decoder, zxid int64) {
	var r protocol.SetWatches2Request
	r.Decode(d)
	m := c.w.model
	for _, path := range r.Data {
		switch s := m.nodes[path].at(zxid); {
		case s == nil:
			c.tell(-1, protocol.NodeDeleted, path)
		case s.mzxid > r.RelativeZxid:
			c.tell(-1, protocol.NodeDataChanged, path)
		default:
			c.watch(path, watchData)
		}
	}
	for _, path := range r.Exist {
		if m.nodes[path].at(zxid) != nil {
			c.tell(-1, protocol.NodeCreated, path)
		} else {
			c.watch(path, watchData)
		}
	}
	for _, path := range r.Child {
		switch s := m.nodes[path].at(zxid); {
		case s == nil:
			c.tell(-1, protocol.NodeDeleted, path)
		case s.pzxid > r.RelativeZxid:
			c.tell(-1, protocol.NodeChildrenChanged, path)
		default:
			c.watch(path, watchChild)
		}
	}
	for _, path := range r.Persistent {
		c.watch(path, watchPersistent)
	}
	for _, path := range r.PersistentRecursive {
		c.watch(path, watchRecursive)
	}
}
