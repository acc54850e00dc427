//go:build simulate

package simulate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
)

// request carries out a request of a batch and returns what answers it.
func (m *model) request(r *request, t *trace) {
	switch r.op {
	case protocol.OpSync:
		t.body = r.body
		return
	case fsm.OpAttach:
		m.attach(r, t)
		return
	}
	m.zxid = max(m.zxid+1, int64(m.w.applyTerm<<32|1))
	d := protocol.NewDecoder(r.body)
	switch r.op {
	case protocol.OpCreate, protocol.OpCreate2, protocol.OpCreateContainer:
		var c protocol.CreateTTLRequest
		c.CreateRequest.Decode(&d)
		m.alone(r, t, protocol.MultiOp{Type: r.op, Body: &c.CreateRequest})
	case protocol.OpCreateTTL:
		var c protocol.CreateTTLRequest
		c.Decode(&d)
		m.alone(r, t, protocol.MultiOp{Type: r.op, Body: &c})
	case protocol.OpDelete:
		var c protocol.DeleteRequest
		c.Decode(&d)
		m.alone(r, t, protocol.MultiOp{Type: r.op, Body: &c})
	case protocol.OpSetData:
		var c protocol.SetDataRequest
		c.Decode(&d)
		m.alone(r, t, protocol.MultiOp{Type: r.op, Body: &c})
	case protocol.OpSetACL:
		if t.err = m.present(r); t.err == protocol.OK {
			t.body, t.err = m.setACL(r, &d)
		}
	case protocol.OpMulti:
		var c protocol.MultiRequest
		c.Decode(&d)
		if t.err = m.present(r); t.err == protocol.OK {
			t.body = m.multi(r, t, c.Ops)
		}
	case protocol.OpCreateSession:
		m.createSession(r, t)
	case protocol.OpCloseSession:
		if t.err = m.present(r); t.err == protocol.OK {
			m.endSession(r.session)
		}
	default:
		m.w.fail("log", "request of type %d in the log", r.op)
	}
}

// alone carries out an operation that is a request of its own.
func (m *model) alone(r *request, t *trace, op protocol.MultiOp) {
	if t.err = judgeMode(op); t.err == protocol.OK {
		t.err = m.present(r)
	}
	if t.err == protocol.OK {
		var res protocol.MultiResult
		res, t.err = m.one(r, t, op)
		if t.err == protocol.OK && res.Body != nil {
			t.body = res.Body.AppendTo(nil)
		}
	}
}

// judgeMode refuses TTLs out of range, before anything else.
func judgeMode(op protocol.MultiOp) protocol.ErrCode {
	if c, ok := op.Body.(*protocol.CreateTTLRequest); ok && (c.TTLMs < 1 || c.TTLMs >= 1<<40) {
		return protocol.BadArguments
	}
	return protocol.OK
}

func (m *model) present(r *request) protocol.ErrCode {
	s := m.sessions[r.session]
	switch {
	case s == nil:
		return protocol.SessionExpired
	case s.epoch != r.epoch:
		return protocol.SessionMoved
	}
	return protocol.OK
}

// multi does all or nothing.
func (m *model) multi(r *request, t *trace, ops []protocol.MultiOp) []byte {
	events := len(m.trace)
	made := len(m.made)
	var resp protocol.MultiResponse
	for i, op := range ops {
		code := judgeMode(op)
		if code == protocol.OK {
			var res protocol.MultiResult
			res, code = m.one(r, t, op)
			resp.Results = append(resp.Results, res)
		}
		if code == protocol.OK {
			continue
		}
		m.rollback()
		m.trace, m.made = m.trace[:events], m.made[:made]
		resp.Results = resp.Results[:0]
		for k := range ops {
			res := protocol.MultiResult{Type: protocol.OpError}
			if k == i {
				res.Err = code
			} else if k > i {
				res.Err = protocol.RuntimeInconsistency
			}
			resp.Results = append(resp.Results, res)
		}
		break
	}
	return resp.AppendTo(nil)
}

// one carries out one operation, of a multi or alone.
func (m *model) one(r *request, t *trace, op protocol.MultiOp) (protocol.MultiResult, protocol.ErrCode) {
	switch b := op.Body.(type) {
	case *protocol.CreateRequest:
		return m.create(r, t, op.Type, b, 0)
	case *protocol.CreateTTLRequest:
		return m.create(r, t, op.Type, &b.CreateRequest, b.TTLMs)
	case *protocol.SetDataRequest:
		return m.setData(r, t, b)
	case *protocol.DeleteRequest:
		if op.Type == protocol.OpCheck {
			return protocol.MultiResult{Type: op.Type}, m.check(r, b)
		}
		return protocol.MultiResult{Type: op.Type}, m.delete(r, b)
	}
	panic("operation of another type")
}

func (m *model) create(r *request, t *trace, op protocol.OpCode, c *protocol.CreateRequest, ttl int64) (res protocol.MultiResult, code protocol.ErrCode) {
	slash := strings.LastIndexByte(c.Path, '/')
	if slash < 0 {
		return res, protocol.BadArguments
	}
	acl, code := stored(c.ACL, r.ids)
	if code != protocol.OK {
		return res, code
	}
	parentPath := c.Path[:max(slash, 1)]
	parent, p := m.now(parentPath)
	switch {
	case p == nil:
		return res, protocol.NoNode
	case !permits(p.acl, protocol.PermCreate, r.ids):
		return res, protocol.NoAuth
	}
	path := c.Path
	if c.Mode.Sequential() {
		path += fmt.Sprintf("%010d", p.creates)
	}
	if path == "/" || strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
		return res, map[bool]protocol.ErrCode{true: protocol.NodeExists, false: protocol.BadArguments}[path == "/"]
	}
	if _, there := m.now(path); there != nil {
		return res, protocol.NodeExists
	}
	if p.kind == ephemeral {
		return res, protocol.NoChildrenForEphemerals
	}
	if m.overQuota(path, int64(len(c.Data)), 1) {
		t.overQuota = path
		return res, protocol.QuotaExceeded
	}
	n := m.node(path)
	s := m.change(n)
	*s = state{zxid: m.zxid, live: true, data: bytes.Clone(c.Data), acl: acl, czxid: m.zxid, mzxid: m.zxid, pzxid: m.zxid, ctime: m.timeMs, mtime: m.timeMs}
	switch {
	case op == protocol.OpCreateContainer:
		s.kind = container
	case op == protocol.OpCreateTTL:
		s.kind, s.owner = withTTL, ttl
	case c.Mode.Ephemeral():
		s.kind, s.owner = ephemeral, r.session
		m.owned = append(m.owned, ownership{r.session, path, false})
	}
	stat := s.stat()
	p = m.change(parent)
	p.pzxid, p.creates, p.children = m.zxid, p.creates+1, p.children+1
	if counted, ok := strings.CutSuffix(path, "/zookeeper_stats"); ok && strings.HasPrefix(path, quotaRoot+"/") {
		size, count := m.measure(m.node(strings.TrimPrefix(counted, quotaRoot)))
		m.change(n).data = usage(count, size)
	} else if !strings.HasPrefix(path, quotaRoot) {
		m.use(path, int64(len(c.Data)), 1)
	}
	m.event(protocol.NodeCreated, path, acl)
	m.event(protocol.NodeChildrenChanged, parentPath, p.acl)
	if c.Mode.Sequential() {
		m.made = append(m.made, path)
	}
	if op == protocol.OpCreate {
		return protocol.MultiResult{Type: op, Body: &protocol.PathResponse{Path: path}}, protocol.OK
	}
	return protocol.MultiResult{Type: protocol.OpCreate2, Body: &protocol.Create2Response{Path: path, Stat: stat}}, protocol.OK
}

func (m *model) delete(r *request, c *protocol.DeleteRequest) protocol.ErrCode {
	slash := strings.LastIndexByte(c.Path, '/')
	if slash < 0 || c.Path == "/" || c.Path == "/zookeeper" || c.Path == quotaRoot || c.Path == "/zookeeper/config" {
		return protocol.BadArguments
	}
	_, p := m.now(c.Path[:max(slash, 1)])
	switch {
	case p == nil:
		return protocol.NoNode
	case !permits(p.acl, protocol.PermDelete, r.ids):
		return protocol.NoAuth
	}
	_, s := m.now(c.Path)
	switch {
	case s == nil:
		return protocol.NoNode
	case c.Version != -1 && c.Version != s.version:
		return protocol.BadVersion
	case s.children > 0:
		return protocol.NotEmpty
	}
	m.remove(c.Path)
	return protocol.OK
}

// remove takes a node without children away.
func (m *model) remove(path string) {
	n, s := m.now(path)
	parentPath, _ := above(path)
	acl, size := s.acl, int64(len(s.data))
	if s.kind == ephemeral {
		m.owned = append(m.owned, ownership{s.owner, path, true})
	}
	*m.change(n) = state{zxid: m.zxid}
	parent, _ := m.now(parentPath)
	p := m.change(parent)
	p.pzxid, p.children = m.zxid, p.children-1
	m.use(path, -size, -1)
	m.event(protocol.NodeDeleted, path, acl)
	m.event(protocol.NodeChildrenChanged, parentPath, p.acl)
}

func (m *model) setData(r *request, t *trace, c *protocol.SetDataRequest) (res protocol.MultiResult, code protocol.ErrCode) {
	n, s, code := m.permitted(c.Path, protocol.PermWrite, r.ids)
	if code != protocol.OK {
		return res, code
	}
	grown := int64(len(c.Data) - len(s.data))
	if m.overQuota(c.Path, grown, 0) {
		t.overQuota = c.Path
		return res, protocol.QuotaExceeded
	}
	if c.Version != -1 && c.Version != s.version {
		return res, protocol.BadVersion
	}
	s = m.change(n)
	s.data, s.version, s.mzxid, s.mtime = bytes.Clone(c.Data), s.version+1, m.zxid, m.timeMs
	m.use(c.Path, grown, 0)
	m.event(protocol.NodeDataChanged, c.Path, s.acl)
	return protocol.MultiResult{Type: protocol.OpSetData, Body: &protocol.StatResponse{Stat: n.at(m.zxid).stat()}}, protocol.OK
}

func (m *model) setACL(r *request, d *protocol.Decoder) ([]byte, protocol.ErrCode) {
	var c protocol.SetACLRequest
	c.Decode(d)
	if malformed(c.Path) {
		return nil, protocol.BadArguments
	}
	acl, code := stored(c.ACL, r.ids)
	if code != protocol.OK {
		return nil, code
	}
	n, s, code := m.permitted(c.Path, protocol.PermAdmin, r.ids)
	switch {
	case code != protocol.OK:
		return nil, code
	case c.Version != -1 && c.Version != s.aversion:
		return nil, protocol.BadVersion
	}
	s = m.change(n)
	s.acl, s.aversion = acl, s.aversion+1
	stat := s.stat()
	return stat.AppendTo(nil), protocol.OK
}

func (m *model) check(r *request, c *protocol.CheckRequest) protocol.ErrCode {
	_, s, code := m.permitted(c.Path, protocol.PermRead, r.ids)
	if code == protocol.OK && c.Version != -1 && c.Version != s.version {
		code = protocol.BadVersion
	}
	return code
}

func malformed(path string) bool {
	return path == "" || path[0] != '/' || path != "/" && strings.HasSuffix(path, "/") || strings.Contains(path, "//")
}

func (m *model) permitted(path string, want protocol.Perm, ids []protocol.ID) (*node, *state, protocol.ErrCode) {
	if malformed(path) {
		return nil, nil, protocol.BadArguments
	}
	n, s := m.now(path)
	switch {
	case s == nil:
		return nil, nil, protocol.NoNode
	case !permits(s.acl, want, ids):
		return nil, nil, protocol.NoAuth
	}
	return n, s, protocol.OK
}

func (m *model) event(typ protocol.EventType, path string, acl []protocol.ACL) {
	m.trace = append(m.trace, trace{call: callEvent, event: typ, path: path, acl: acl, zxid: m.zxid})
}

// settle lets sessions own what the request has made.
func (m *model) settle() {
	for _, o := range m.owned {
		if s := m.sessions[o.session]; s != nil && o.gone {
			delete(s.ephemerals, o.path)
		} else if s != nil {
			s.ephemerals[o.path] = true
			if m.ever[s.id] == nil {
				m.ever[s.id] = map[string]bool{}
			}
			m.ever[s.id][o.path] = true
		}
	}
	m.owned, m.changed = m.owned[:0], m.changed[:0]
}

func (m *model) createSession(r *request, t *trace) {
	var c fsm.CreateSession
	d := protocol.NewDecoder(r.body)
	c.Decode(&d)
	if m.sessions[c.ID] != nil || m.granted[attachment{c.ID, 1}] != 0 {
		m.w.fail("sessions", "session %x is opened for the second time", c.ID)
	}
	m.sessions[c.ID] = &session{id: c.ID, timeoutMs: c.TimeoutMs, password: string(c.Password), epoch: 1, owner: r.server, ephemerals: map[string]bool{}}
	m.attached(m.sessions[c.ID], t)
}

func (m *model) attach(r *request, t *trace) {
	var a fsm.Attach
	d := protocol.NewDecoder(r.body)
	a.Decode(&d)
	s := m.sessions[r.session]
	if s == nil || s.password != string(a.Password) {
		t.err = protocol.SessionExpired
		return
	}
	t.attached = s.epoch
	if s.epoch != a.Replaces {
		t.err = protocol.BadVersion
		return
	}
	s.epoch, s.owner, s.timeoutMs = s.epoch+1, r.server, a.TimeoutMs
	m.attached(s, t)
}

func (m *model) attached(s *session, t *trace) {
	t.attached = s.epoch
	m.granted[attachment{s.id, s.epoch}] = s.owner
	m.trace = append(m.trace, trace{call: callOpened, session: s.id, timeout: s.timeoutMs, owner: s.owner, epoch: s.epoch})
}

// endSession ends a session with its ephemerals.
func (m *model) endSession(id int64) {
	for _, path := range slices.Sorted(maps.Keys(m.sessions[id].ephemerals)) {
		m.remove(path)
	}
	m.settle()
	delete(m.sessions, id)
	m.trace = append(m.trace, trace{call: callClosed, session: id})
}
