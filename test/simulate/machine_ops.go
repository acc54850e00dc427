//go:build simulate

package simulate

import (
	"fmt"

	"github.com/coordd/coordd/protocol"
)

// places are the paths that clients work with, beside those of sequential nodes.
var places = func() (list []string) {
	for _, top := range tops() {
		list = append(list, top)
		for i := range 5 {
			kid := fmt.Sprintf("%s/c%d", top, i)
			list = append(list, kid, kid+"/d0", kid+"/d1")
		}
	}
	return append(list, "/q", "/q/a", "/q/b", "/q/a/c")
}()

// odd are paths that cannot be created, and the tree's own nodes.
var odd = [...]string{"/", "/n0/", "/n0//c0", "nowhere", "/zookeeper", quotaRoot, "/zookeeper/config", "/missing/child"}

var quotaPaths = [...]string{quotaRoot + "/q", quotaRoot + "/q/zookeeper_limits", quotaRoot + "/q/zookeeper_stats",
	quotaRoot + "/q/a", quotaRoot + "/q/a/zookeeper_limits", quotaRoot + "/q/a/zookeeper_stats"}

var limits = [...]string{"count=3,bytes=40", "count=9,bytes=-1=;byteHardLimit=30;countHardLimit=4", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3"}

var lists = [...][]protocol.ACL{
	protocol.WorldAnyone,
	{{Perms: protocol.PermRead | protocol.PermCreate, ID: protocol.ID{Scheme: "world", ID: "anyone"}}, {Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: digests[0]}}},
	{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "auth"}}, {Perms: protocol.PermAll &^ protocol.PermAdmin, ID: protocol.ID{Scheme: "ip", ID: "10.0.0.0/8"}}},
	{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: digests[1]}}, {Perms: protocol.PermAll, ID: protocol.ID{Scheme: "digest", ID: digests[1]}}},
	{{Perms: protocol.PermAll, ID: protocol.ID{Scheme: "nothing", ID: "known"}}},
	{},
}

// acl is most often the open list.
func (w *world) acl() []protocol.ACL {
	if w.r.IntN(12) > 0 {
		return lists[0]
	}
	return lists[w.r.IntN(len(lists))]
}

// path is some path; sequential nodes come up as long as they are there.
func (w *world) path() string {
	switch k := w.r.IntN(100); {
	case k < 2:
		return odd[w.r.IntN(len(odd))]
	case k < 12 && len(w.model.made) > 0:
		return w.model.made[w.r.IntN(len(w.model.made))]
	}
	return places[w.r.IntN(len(places))]
}

func (w *world) data() []byte {
	switch k := w.r.IntN(200); {
	case k < 5:
		return nil
	case k == 5:
		return make([]byte, 300+w.r.IntN(3000))
	}
	return w.filler[:w.r.IntN(len(w.filler))]
}

func (w *world) version(path string, acl bool) int32 {
	switch w.r.IntN(4) {
	case 0: // most often the right one
		if _, s := w.model.now(path); s != nil && acl {
			return s.aversion
		} else if s != nil {
			return s.version
		}
		return 0
	case 1:
		if w.r.IntN(4) == 0 {
			return int32(w.r.IntN(4))
		}
	}
	return -1
}

// creation is some create.
func (w *world) creation(path string) (protocol.OpCode, protocol.Record) {
	r := protocol.CreateRequest{Path: path, Data: w.data(), ACL: w.acl()}
	crowded := len(w.model.made) > 100
	switch k := w.r.IntN(20); {
	case k < 3:
		r.Mode = protocol.Ephemeral
	case k < 5 && !crowded:
		r.Path, r.Mode = path+"/s-", protocol.EphemeralSequential
	case k < 8 && !crowded:
		r.Path, r.Mode = path+"/s-", protocol.PersistentSequential
	case k < 9:
		r.Mode = protocol.Container
		return protocol.OpCreateContainer, &r
	case k < 10:
		r.Mode = protocol.PersistentTTL
		return protocol.OpCreateTTL, &protocol.CreateTTLRequest{CreateRequest: r, TTLMs: int64(w.r.IntN(3000))}
	}
	if w.r.IntN(2) == 0 {
		return protocol.OpCreate2, &r
	}
	return protocol.OpCreate, &r
}

// change is some operation that a multi may hold.
func (w *world) change() (protocol.OpCode, protocol.Record) {
	path := w.path()
	switch k := w.r.IntN(10); {
	case k < 4:
		return w.creation(path)
	case k < 7:
		return protocol.OpSetData, &protocol.SetDataRequest{Path: path, Data: w.data(), Version: w.version(path, false)}
	default:
		if n := len(w.model.made); n > 60 || n > 0 && w.r.IntN(3) == 0 {
			path = w.forgetMade()
		}
		return protocol.OpDelete, &protocol.DeleteRequest{Path: path, Version: w.version(path, false)}
	}
}

// forgetMade takes a sequential node out of those that clients know of.
func (w *world) forgetMade() string {
	m := w.model
	i := w.r.IntN(len(m.made))
	path := m.made[i]
	m.made[i] = m.made[len(m.made)-1]
	m.made = m.made[:len(m.made)-1]
	return path
}

// generate adds some request to a burst.
func (w *world) generate(cl *client, b *burst) {
	switch k := w.r.IntN(1000); {
	case k < 400:
		w.generateRead(b)
	case k < 800:
		op, body := w.change()
		b.request(op, body.AppendTo)
	case k < 870:
		w.generateMulti(b)
	case k < 895:
		path := w.path()
		b.request(protocol.OpSetACL, (&protocol.SetACLRequest{Path: path, ACL: w.acl(), Version: w.version(path, true)}).AppendTo)
	case k < 910:
		b.request(protocol.OpSync, (&protocol.PathRequest{Path: w.path()}).AppendTo)
	case k < 925:
		w.generateQuota(b)
	case k < 996:
		w.generateWatch(b)
	case k < 999 || w.r.IntN(4) > 0:
		b.request(protocol.OpPing, nil)
	default:
		b.request(protocol.OpCloseSession, nil)
	}
}

func (w *world) generateRead(b *burst) {
	path := w.path()
	look := (&protocol.PathWatchRequest{Path: path, Watch: w.r.IntN(8) == 0}).AppendTo
	switch k := w.r.IntN(100); {
	case k < 25:
		b.request(protocol.OpExists, look)
	case k < 70:
		b.request(protocol.OpGetData, look)
	case k < 80:
		b.request(protocol.OpGetChildren, look)
	case k < 90:
		b.request(protocol.OpGetChildren2, look)
	case k < 95:
		b.request(protocol.OpGetACL, (&protocol.PathRequest{Path: path}).AppendTo)
	case k < 96 && w.r.IntN(2) == 0:
		b.request(protocol.OpGetEphemerals, (&protocol.PathRequest{Path: []string{"/", "/n1", "/n2/c"}[w.r.IntN(3)]}).AppendTo)
	case k < 96:
		if path == "/" || path == "nowhere" {
			path = "/n0"
		}
		b.request(protocol.OpGetAllChildrenNumber, (&protocol.PathRequest{Path: path}).AppendTo)
	case k < 97:
		b.request(protocol.OpWhoAmI, nil)
	default:
		var r protocol.MultiRequest
		for range 1 + w.r.IntN(3) {
			r.Ops = append(r.Ops, protocol.MultiOp{Type: protocol.OpGetData, Body: &protocol.PathWatchRequest{Path: w.path()}})
		}
		b.request(protocol.OpMultiRead, r.AppendTo)
	}
}

func (w *world) generateMulti(b *burst) {
	var r protocol.MultiRequest
	for range 1 + w.r.IntN(5) {
		if w.r.IntN(4) == 0 {
			path := w.path()
			r.Ops = append(r.Ops, protocol.MultiOp{Type: protocol.OpCheck, Body: &protocol.CheckRequest{Path: path, Version: w.version(path, false)}})
			continue
		}
		op, body := w.change()
		r.Ops = append(r.Ops, protocol.MultiOp{Type: op, Body: body})
	}
	b.request(protocol.OpMulti, r.AppendTo)
}

// generateQuota makes and changes quotas, and what they are about.
func (w *world) generateQuota(b *burst) {
	i := w.r.IntN(len(quotaPaths))
	path := quotaPaths[i]
	data := []byte(nil)
	switch i % 3 {
	case 1:
		data = []byte(limits[w.r.IntN(len(limits))])
	case 2:
		data = usage(0, 0)
	}
	switch k := w.r.IntN(10); {
	case k < 6:
		b.request(protocol.OpCreate, (&protocol.CreateRequest{Path: path, Data: data, ACL: lists[0]}).AppendTo)
	case k < 8 && i%3 == 1:
		b.request(protocol.OpSetData, (&protocol.SetDataRequest{Path: path, Data: data, Version: -1}).AppendTo)
	default:
		b.request(protocol.OpDelete, (&protocol.DeleteRequest{Path: path, Version: -1}).AppendTo)
	}
}

func (w *world) generateWatch(b *burst) {
	path := w.path()
	if path == "nowhere" {
		path = "/"
	}
	switch k := w.r.IntN(10); {
	case k < 2:
		b.request(protocol.OpAddWatch, (&protocol.PathTypeRequest{Path: path, Type: int32(w.r.IntN(2))}).AppendTo)
	case k < 7:
		b.request(protocol.OpRemoveWatches, (&protocol.PathTypeRequest{Path: path, Type: int32(1 + w.r.IntN(5))}).AppendTo)
	default:
		b.request(protocol.OpCheckWatches, (&protocol.PathTypeRequest{Path: path, Type: int32(1 + w.r.IntN(5))}).AppendTo)
	}
}
