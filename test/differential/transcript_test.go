//go:build differential

package differential

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/protocol"
)

// line is one line of a normalised transcript.
type line struct {
	step int // that it answers, -1 for events and notes
	text string
}

// transcript is what an outcome says, with all that two correct servers may
// differ in taken out: zxids count from the creation of the run's own
// sub-tree, or from the end of the last wait, session ids are numbered, times
// must only be consistent. What goes by itself during a wait goes in any order.
type transcript struct {
	streams [][]line
	dump    []line
}

// normaliser turns the frames of one outcome into text.
type normaliser struct {
	p       *program
	out     *outcome
	ended   time.Time
	closing map[int64]bool  // zxids of closeSessions, whose events have no order
	times   map[int64]int64 // by zxid
}

func transcribe(p *program, out *outcome) transcript {
	n := &normaliser{p: p, out: out, ended: time.Now(), closing: map[int64]bool{}, times: map[int64]int64{}}
	for _, st := range out.streams {
		for _, e := range st.entries {
			if e.step >= 0 && !e.hello && p.steps[e.step].op() == protocol.OpCloseSession && len(e.frame) >= protocol.ReplyHeaderSize {
				d := protocol.NewDecoder(e.frame)
				var h protocol.ReplyHeader
				h.Decode(&d)
				n.closing[h.Zxid] = true
			}
		}
	}
	var t transcript
	for _, st := range out.streams {
		t.streams = append(t.streams, n.stream(st))
	}
	for _, node := range out.dump {
		text := fmt.Sprintf("%+q data %s acl %s children %s", n.name(node.path),
			n.reply(protocol.OpGetData, node.data, false), n.reply(protocol.OpGetACL, node.acl, false), n.reply(protocol.OpGetChildren2, node.parent, false))
		t.dump = append(t.dump, line{-1, text})
	}
	slices.SortFunc(t.dump, func(a, b line) int { return cmp.Compare(a.text, b.text) })
	return t
}

func (n *normaliser) stream(st *stream) []line {
	var lines []line
	group, from := int64(0), 0 // a run of events of one closeSession
	for _, e := range st.entries {
		if e.note != "" {
			lines = append(lines, line{e.step, e.note})
			continue
		}
		if e.hello {
			lines = append(lines, line{e.step, n.helloReply(e)})
			continue
		}
		if e.step >= 0 {
			lines = append(lines, line{e.step, n.reply(n.p.steps[e.step].op(), e.frame, true)})
			continue
		}
		text, zxid := n.event(e.frame)
		unordered := n.closing[zxid]
		if i := n.out.waited(zxid); i >= 0 {
			unordered, zxid = true, math.MinInt64+int64(i)
		}
		if zxid != group {
			group, from = zxid, len(lines)
		}
		lines = append(lines, line{-1, text})
		if unordered {
			slices.SortFunc(lines[from:], func(a, b line) int { return cmp.Compare(a.text, b.text) })
		}
	}
	return lines
}

// name puts the placeholder back. What lies outside the Basic Multilingual
// Plane comes back from a real server as two surrogates, which no decoder
// takes; it can be in no znode's name.
func (n *normaliser) name(s string) string {
	if s == protocol.NullString {
		return "(null)"
	}
	s = strings.Map(func(r rune) rune {
		if r > 0xffff {
			return surrogates
		}
		return r
	}, strings.ReplaceAll(s, "\ufffd\ufffd", string(surrogates)))
	return strings.ReplaceAll(s, n.out.name, placeholder)
}

// surrogates stands for a pair of surrogates in transcripts.
const surrogates = '\uf8f0'

func (n *normaliser) zxid(z int64) string {
	switch {
	case z <= 0:
		return fmt.Sprint(z)
	case z < n.out.base:
		return "old"
	}
	text, base := "", n.out.base
	for i, w := range n.out.windows {
		if z > w.to {
			text, base = fmt.Sprintf("window %d ", i), w.to
		}
	}
	if i := n.out.waited(z); i >= 0 {
		return fmt.Sprintf("in window %d", i)
	}
	return fmt.Sprintf("%s+%d", text, z-base)
}

func (n *normaliser) event(frame []byte) (string, int64) {
	d := protocol.NewDecoder(frame)
	var h protocol.ReplyHeader
	h.Decode(&d)
	if h.Xid != protocol.XidNotification {
		return "stray " + n.reply(0, frame, true), 0
	}
	var e protocol.WatcherEvent
	e.Decode(&d)
	text := fmt.Sprintf("event zxid %s err %d type %d state %d path %+q", n.zxid(h.Zxid), h.Err, e.Type, e.State, n.name(e.Path))
	return text + n.rest(&d), h.Zxid
}

// rest shows what a record left over, which is nothing if all is well.
func (n *normaliser) rest(d *protocol.Decoder) string {
	switch {
	case d.Err() != nil:
		return " TOO SHORT"
	case len(d.Rest()) > 0:
		return fmt.Sprintf(" LEFT OVER %x", d.Rest())
	}
	return ""
}

func (n *normaliser) helloReply(e entry) string {
	d := protocol.NewDecoder(e.frame)
	var r protocol.ConnectResponse
	r.Decode(&d)
	id := "none"
	for i, s := range n.out.sessions {
		if s.id == r.SessionID {
			id = fmt.Sprintf("s%d", i)
			if string(s.password) != string(r.Password) {
				id += " with ANOTHER PASSWORD"
			}
		}
	}
	if r.SessionID == 0 {
		id = fmt.Sprintf("expired %x", r.Password)
	}
	return fmt.Sprintf("connected version %d timeout %d session %s password %d bytes, %d bytes, readOnly %v %v",
		r.ProtocolVersion, r.TimeoutMs, id, len(r.Password), len(e.frame), r.HasReadOnly, r.ReadOnly) + n.rest(&d)
}

// reply shows a reply. The header's zxid is left out of the final state.
func (n *normaliser) reply(op protocol.OpCode, frame []byte, zxid bool) string {
	d := protocol.NewDecoder(frame)
	var h protocol.ReplyHeader
	h.Decode(&d)
	text := fmt.Sprintf("xid %d err %d", h.Xid, h.Err)
	if zxid {
		text += " zxid " + n.zxid(h.Zxid)
	}
	body := d.Rest()
	var shown string
	switch {
	case h.Err != 0 && op == protocol.OpMultiRead && len(body) > 0:
		shown = n.multi(&d)
	case h.Err != 0:
	default:
		shown = n.body(op, &d)
	}
	if d.Err() != nil {
		return text + fmt.Sprintf(" MALFORMED %x", body)
	}
	return text + shown + n.rest(&d)
}

func (n *normaliser) body(op protocol.OpCode, d *protocol.Decoder) string {
	switch op {
	case protocol.OpMulti, protocol.OpMultiRead:
		return n.multi(d)
	case protocol.OpCreate, protocol.OpSync:
		return fmt.Sprintf(" path %+q", n.name(d.String()))
	case protocol.OpCreate2, protocol.OpCreateContainer, protocol.OpCreateTTL:
		return fmt.Sprintf(" path %+q", n.name(d.String())) + n.stat(d)
	case protocol.OpExists, protocol.OpSetData, protocol.OpSetACL:
		return n.stat(d)
	case protocol.OpGetData, protocol.OpReconfig:
		return n.data(d) + n.stat(d)
	case protocol.OpGetACL:
		return n.acl(d) + n.stat(d)
	case protocol.OpGetChildren, protocol.OpGetEphemerals:
		return n.names(d)
	case protocol.OpGetChildren2:
		return n.names(d) + n.stat(d)
	case protocol.OpGetAllChildrenNumber, protocol.OpAddWatch:
		return fmt.Sprintf(" int %d", d.Int())
	case protocol.OpSasl:
		return n.data(d)
	case protocol.OpWhoAmI:
		var r protocol.WhoAmIResponse
		r.Decode(d)
		slices.SortFunc(r.Infos, func(a, b protocol.ClientInfo) int {
			return cmp.Or(cmp.Compare(a.AuthScheme, b.AuthScheme), cmp.Compare(a.User, b.User))
		})
		return fmt.Sprintf(" %+q", fmt.Sprint(r.Infos))
	}
	return ""
}

func (n *normaliser) data(d *protocol.Decoder) string {
	p := d.Buffer()
	if p == nil {
		return " data null"
	}
	text := memberPorts.ReplaceAllString(string(p), "$1:port:port:")
	return fmt.Sprintf(" data %+q", strings.ReplaceAll(text, n.out.name, placeholder))
}

// memberPorts is what differs from one ensemble to the next in /zookeeper/config.
var memberPorts = regexp.MustCompile(`(?m)^(server\.\d+=[0-9.]+):\d+:\d+:`)

func (n *normaliser) names(d *protocol.Decoder) string {
	names := d.Strings()
	if names == nil {
		return " names null"
	}
	for i := range names {
		names[i] = n.name(names[i])
	}
	slices.Sort(names)
	return fmt.Sprintf(" names %+q", names)
}

// acl shows a list in its order, but for what the scheme auth was expanded to:
// ZooKeeper walks a set of identities for that.
func (n *normaliser) acl(d *protocol.Decoder) string {
	list := d.ACLs()
	if list == nil {
		return " acl null"
	}
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[to].ID.Scheme == "digest" && list[from].ID.Scheme == "digest" && list[to].Perms == list[from].Perms {
			to++
		}
		slices.SortFunc(list[from:to], func(a, b protocol.ACL) int { return cmp.Compare(a.ID.ID, b.ID.ID) })
		from = to
	}
	return fmt.Sprintf(" acl %+q", fmt.Sprint(list))
}

func (n *normaliser) stat(d *protocol.Decoder) string {
	var s protocol.Stat
	s.Decode(d)
	owner := fmt.Sprintf("%#x", s.EphemeralOwner)
	for i, session := range n.out.sessions {
		if session.id == s.EphemeralOwner {
			owner = fmt.Sprintf("s%d", i)
		}
	}
	if s.Version == -1 { // only /zookeeper/config: a real follower has no zxid for it, and a time of its own
		s.Mzxid, s.Mtime = 0, 0
	}
	return fmt.Sprintf(" stat[c %s m %s p %s v %d cv %d av %d owner %s len %d children %d%s%s]",
		n.zxid(s.Czxid), n.zxid(s.Mzxid), n.zxid(s.Pzxid), s.Version, s.Cversion, s.Aversion, owner, s.DataLength, s.NumChildren,
		n.time("ctime", s.Czxid, s.Ctime), n.time("mtime", s.Mzxid, s.Mtime))
}

// time complains about a time that does not go with its zxid: changes of one
// zxid have one time, and those of this run happened while it ran.
func (n *normaliser) time(what string, zxid, ms int64) string {
	if zxid < n.out.base {
		if (zxid == 0) != (ms == 0) {
			return fmt.Sprintf(" %s %d", what, ms)
		}
		return ""
	}
	if old, ok := n.times[zxid]; ok && old != ms {
		return fmt.Sprintf(" %s %d, before %d", what, ms, old)
	}
	n.times[zxid] = ms
	const slack = 2 * time.Second
	if t := time.UnixMilli(ms); t.Before(n.out.began.Add(-slack)) || t.After(n.ended.Add(slack)) {
		return fmt.Sprintf(" %s %d", what, ms)
	}
	return ""
}

func (n *normaliser) multi(d *protocol.Decoder) string {
	text := " results"
	for {
		var h protocol.MultiHeader
		h.Decode(d)
		if d.Err() != nil {
			return text
		}
		text += fmt.Sprintf(" {%d %v %d", h.Type, h.Done, h.Err)
		switch {
		case h.Done:
			return text + "}"
		case h.Type == protocol.OpError:
			text += fmt.Sprintf(" error %d", d.Int())
		default:
			text += n.body(h.Type, d)
		}
		text += "}"
	}
}

// difference is where two transcripts part.
type difference struct {
	where string
	step  int // -1: not in a reply
	texts [2]string
	kind  string // what shrinking must keep
}

// compare finds the first difference of two transcripts.
func compare(p *program, a, b transcript) *difference {
	var found []*difference
	for i := range max(len(a.streams), len(b.streams)) {
		if d := compareLines(fmt.Sprintf("connection %d", i), at(a.streams, i), at(b.streams, i)); d != nil {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		if d := compareLines("final state", a.dump, b.dump); d != nil {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil
	}
	first := slices.MinFunc(found, func(a, b *difference) int { return cmp.Compare(uint(a.step), uint(b.step)) })
	first.kind, _, _ = strings.Cut(first.where, " ")
	if first.step >= 0 {
		first.kind = fmt.Sprintf("%v: %s / %s", p.steps[first.step].op(), errorOf(first.texts[0]), errorOf(first.texts[1]))
	}
	return first
}

func at(lists [][]line, i int) []line {
	if i < len(lists) {
		return lists[i]
	}
	return nil
}

func compareLines(where string, a, b []line) *difference {
	missing := line{-1, "(nothing)"}
	for i := range max(len(a), len(b)) {
		la, lb := missing, missing
		if i < len(a) {
			la = a[i]
		}
		if i < len(b) {
			lb = b[i]
		}
		if la.text != lb.text {
			return &difference{where: where, step: max(la.step, lb.step), texts: [2]string{la.text, lb.text}}
		}
	}
	return nil
}

// errorOf is the part of a reply that names its outcome.
func errorOf(text string) string {
	_, after, ok := strings.Cut(text, " err ")
	if !ok || strings.HasPrefix(text, "event") {
		word, _, _ := strings.Cut(text, " ")
		return word
	}
	code, _, _ := strings.Cut(after, " ")
	return code
}
