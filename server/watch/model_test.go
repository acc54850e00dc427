package watch

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/protocol"
	"pgregory.net/rapid"
)

// model is ZooKeeper's two registries, written down as plainly as can be.
type model struct {
	watches map[modelKey]bool
}

type modelKey struct {
	conn int
	path string
	kind Kind
}

func (m *model) has(conn int, path string, kind Kind) bool {
	return m.watches[modelKey{conn, path, kind}]
}

// trigger says whether a connection is told, and drops what fires once.
func (m *model) trigger(conn int, typ protocol.EventType, path string) bool {
	told := false
	once := func(kind Kind) {
		if m.has(conn, path, kind) {
			told = true
			delete(m.watches, modelKey{conn, path, kind})
		}
	}
	if typ != protocol.NodeChildrenChanged {
		once(Data)
		for key := range m.watches {
			below := key.path == "/" || path == key.path || strings.HasPrefix(path, key.path+"/")
			if key.conn == conn && key.kind == PersistentRecursive && below {
				told = true
			}
		}
	}
	if typ == protocol.NodeChildrenChanged || typ == protocol.NodeDeleted {
		once(Child)
	}
	return told || m.has(conn, path, Persistent)
}

func (m *model) remove(conn int, path string, typ int32) bool {
	found := false
	for i, kind := range []Kind{Child, Data, 0, Persistent, PersistentRecursive} {
		if key := (modelKey{conn, path, kind}); (typ == 3 || typ == int32(i+1)) && m.watches[key] {
			delete(m.watches, key)
			found = true
		}
	}
	return found
}

// counts returns connections, paths and watches, of the data registry or of
// both.
func (m *model) counts(dataOnly bool) [3]int {
	conns, paths, data, child := map[int]bool{}, map[string]bool{}, map[modelKey]bool{}, map[modelKey]bool{}
	for key := range m.watches {
		pair := modelKey{conn: key.conn, path: key.path}
		if key.kind != Child {
			data[pair] = true
		} else if dataOnly {
			continue
		}
		if !dataOnly && (key.kind == Child || key.kind == Persistent) {
			child[pair] = true
		}
		conns[key.conn], paths[key.path] = true, true
	}
	return [3]int{len(conns), len(paths), len(data) + len(child)}
}

func TestAgainstModel(t *testing.T) {
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/zookeeper/config"}
	// Enough others that tables grow, wrap and shrink.
	for i := range 40 {
		paths = append(paths, fmt.Sprintf("/a/n%d", i))
	}
	rapid.Check(t, func(t *rapid.T) {
		m, ref := New(), &model{watches: map[modelKey]bool{}}
		const conns = 4
		var watchers [conns]*conn
		var handles [conns]*Handle
		open := func(i int) {
			watchers[i] = &conn{blind: rapid.Bool().Draw(t, "blind")}
			handles[i] = m.Register(watchers[i], int64(i))
		}
		for i := range conns {
			open(i)
		}
		connection, path := rapid.IntRange(0, conns-1), rapid.SampledFrom(paths)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				c := connection.Draw(t, "conn")
				kind := rapid.SampledFrom([]Kind{Data, Child, Persistent, PersistentRecursive}).Draw(t, "kind")
				for _, p := range rapid.SliceOfN(path, 1, 10).Draw(t, "paths") {
					m.Add(handles[c], p, kind)
					ref.watches[modelKey{c, p, kind}] = true
				}
			},
			"remove": func(t *rapid.T) {
				c, p, typ := connection.Draw(t, "conn"), path.Draw(t, "path"), rapid.Int32Range(0, 6).Draw(t, "type")
				if got, want := m.Remove(handles[c], p, typ), ref.remove(c, p, typ); got != want {
					t.Fatalf("remove: got %v, want %v", got, want)
				}
			},
			"reopen": func(t *rapid.T) {
				c := connection.Draw(t, "conn")
				m.Close(handles[c])
				for key := range ref.watches {
					if key.conn == c {
						delete(ref.watches, key)
					}
				}
				open(c)
			},
			"dispatch": func(t *rapid.T) {
				e := &Event{Type: protocol.EventType(rapid.IntRange(1, 4).Draw(t, "type")), Path: path.Draw(t, "path"), Zxid: 7}
				if rapid.Bool().Draw(t, "guarded") {
					e.ACL = protocol.WorldAnyone
				}
				m.Dispatch(e)
				for i, w := range watchers {
					want := 0
					if told := ref.trigger(i, e.Type, e.Path); told && w.CanRead(e.ACL) {
						want = 1
					}
					if len(w.frames) != want || want == 1 && string(w.frames[0]) != string(NotificationFrame(7, e.Type, e.Path)) {
						t.Fatalf("connection %d: got %d frames, want %d", i, len(w.frames), want)
					}
					w.frames = nil
				}
			},
			"": func(t *rapid.T) { compare(t, m, ref, handles[:], paths) },
		})
	})
}

// compare checks everything that can be seen from outside.
func compare(t *rapid.T, m *Manager, ref *model, handles []*Handle, paths []string) {
	byPath := []PathWatchers{}
	bySession := make([]SessionWatches, len(handles))
	slices.Sort(paths)
	for _, p := range paths {
		entry := PathWatchers{Path: p}
		for i, h := range handles {
			data, child := ref.has(i, p, Data), ref.has(i, p, Child)
			persistent, recursive := ref.has(i, p, Persistent), ref.has(i, p, PersistentRecursive)
			want := []bool{false, child, data, child || data || persistent || recursive, persistent, recursive}
			for typ, w := range want {
				if m.Has(h, p, int32(typ)) != w {
					t.Fatalf("connection %d, %s, type %d: want %v", i, p, typ, w)
				}
			}
			if data || persistent || recursive {
				entry.Sessions = append(entry.Sessions, int64(i))
				bySession[i].Session = int64(i)
				bySession[i].Paths = append(bySession[i].Paths, p)
			}
		}
		if entry.Sessions != nil {
			byPath = append(byPath, entry)
		}
	}
	bySession = slices.DeleteFunc(bySession, func(s SessionWatches) bool { return s.Paths == nil })
	if got := m.EachByPath(); !reflect.DeepEqual(got, byPath) {
		t.Fatalf("by path: %v, want %v", got, byPath)
	}
	if got := m.EachBySession(); !reflect.DeepEqual(got, bySession) {
		t.Fatalf("by session: %v, want %v", got, bySession)
	}
	var all, data [3]int
	all[0], all[1], all[2] = m.Counts()
	data[0], data[1], data[2] = m.DataCounts()
	if all != ref.counts(false) || data != ref.counts(true) {
		t.Fatalf("counts %v %v, want %v %v", all, data, ref.counts(false), ref.counts(true))
	}
}
