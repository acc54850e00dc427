package watch

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/coordd/coordd/protocol"
)

// conn is a watcher that keeps what it is told.
type conn struct {
	blind  bool // may read nothing
	mu     sync.Mutex
	frames [][]byte
}

func (c *conn) Notify(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, frame)
}

func (c *conn) CanRead(acl []protocol.ACL) bool { return len(acl) == 0 || !c.blind }

// take returns the events told since the last call, as type and path.
func (c *conn) take(t testing.TB) []string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	events := []string{}
	for _, f := range c.frames {
		_, e := decode(t, f)
		events = append(events, show(e.Type, e.Path))
	}
	c.frames = nil
	return events
}

func show(typ protocol.EventType, path string) string { return fmt.Sprint(typ, " ", path) }

func decode(t testing.TB, frame []byte) (protocol.ReplyHeader, protocol.WatcherEvent) {
	t.Helper()
	d := protocol.NewDecoder(frame)
	var header protocol.ReplyHeader
	var event protocol.WatcherEvent
	length := d.Int()
	header.Decode(&d)
	event.Decode(&d)
	if d.Err() != nil || int(length) != len(frame)-4 || len(d.Rest()) != 0 {
		t.Fatalf("bad frame %x", frame)
	}
	if header.Xid != -1 || header.Err != 0 || event.State != 3 {
		t.Fatalf("bad notification %+v %+v", header, event)
	}
	return header, event
}

const (
	created  = protocol.NodeCreated
	deleted  = protocol.NodeDeleted
	changed  = protocol.NodeDataChanged
	children = protocol.NodeChildrenChanged
)

func TestWhichWatchFires(t *testing.T) {
	type set struct {
		path string
		kind Kind
	}
	tests := []struct {
		name  string
		set   []set
		event Event
		fires bool
		left  []set // of the watches set
	}{
		{"data, created", []set{{"/a", Data}}, Event{Type: created, Path: "/a"}, true, nil},
		{"data, changed", []set{{"/a", Data}}, Event{Type: changed, Path: "/a"}, true, nil},
		{"data, deleted", []set{{"/a", Data}}, Event{Type: deleted, Path: "/a"}, true, nil},
		{"data, children", []set{{"/a", Data}}, Event{Type: children, Path: "/a"}, false, []set{{"/a", Data}}},
		{"data, below", []set{{"/a", Data}}, Event{Type: created, Path: "/a/b"}, false, []set{{"/a", Data}}},
		{"child, changed", []set{{"/a", Child}}, Event{Type: changed, Path: "/a"}, false, []set{{"/a", Child}}},
		{"child, created", []set{{"/a", Child}}, Event{Type: created, Path: "/a"}, false, []set{{"/a", Child}}},
		{"child, deleted", []set{{"/a", Child}}, Event{Type: deleted, Path: "/a"}, true, nil},
		{"child, children", []set{{"/a", Child}}, Event{Type: children, Path: "/a"}, true, nil},
		{"data and child, deleted", []set{{"/a", Data}, {"/a", Child}}, Event{Type: deleted, Path: "/a"}, true, nil},
		{"data and child, changed", []set{{"/a", Data}, {"/a", Child}}, Event{Type: changed, Path: "/a"}, true, []set{{"/a", Child}}},
		{"data and child, children", []set{{"/a", Data}, {"/a", Child}}, Event{Type: children, Path: "/a"}, true, []set{{"/a", Data}}},
		{"persistent, created", []set{{"/a", Persistent}}, Event{Type: created, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"persistent, changed", []set{{"/a", Persistent}}, Event{Type: changed, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"persistent, deleted", []set{{"/a", Persistent}}, Event{Type: deleted, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"persistent, children", []set{{"/a", Persistent}}, Event{Type: children, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"persistent, below", []set{{"/a", Persistent}}, Event{Type: changed, Path: "/a/b"}, false, []set{{"/a", Persistent}}},
		{"recursive, own", []set{{"/a", PersistentRecursive}}, Event{Type: changed, Path: "/a"}, true, []set{{"/a", PersistentRecursive}}},
		{"recursive, below", []set{{"/a", PersistentRecursive}}, Event{Type: created, Path: "/a/b/c"}, true, []set{{"/a", PersistentRecursive}}},
		{"recursive, sibling", []set{{"/a", PersistentRecursive}}, Event{Type: created, Path: "/ab"}, false, []set{{"/a", PersistentRecursive}}},
		{"recursive, above", []set{{"/a/b", PersistentRecursive}}, Event{Type: changed, Path: "/a"}, false, []set{{"/a/b", PersistentRecursive}}},
		{"recursive, own children", []set{{"/a", PersistentRecursive}}, Event{Type: children, Path: "/a"}, false, []set{{"/a", PersistentRecursive}}},
		{"recursive, children below", []set{{"/a", PersistentRecursive}}, Event{Type: children, Path: "/a/b"}, false, []set{{"/a", PersistentRecursive}}},
		{"recursive on the root", []set{{"/", PersistentRecursive}}, Event{Type: changed, Path: "/zookeeper/config"}, true, []set{{"/", PersistentRecursive}}},
		{"recursive on the root, root", []set{{"/", PersistentRecursive}}, Event{Type: changed, Path: "/"}, true, []set{{"/", PersistentRecursive}}},
		{"recursive and child, children", []set{{"/a", PersistentRecursive}, {"/a", Child}}, Event{Type: children, Path: "/a"}, true, []set{{"/a", PersistentRecursive}}},
		{"recursive and persistent, children", []set{{"/a", PersistentRecursive}, {"/a", Persistent}}, Event{Type: children, Path: "/a"}, true, []set{{"/a", PersistentRecursive}, {"/a", Persistent}}},
		{"data next to persistent", []set{{"/a", Data}, {"/a", Persistent}}, Event{Type: changed, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"child next to persistent", []set{{"/a", Child}, {"/a", Persistent}}, Event{Type: children, Path: "/a"}, true, []set{{"/a", Persistent}}},
		{"one event for all", []set{{"/a", Data}, {"/a", Child}, {"/a", Persistent}, {"/a", PersistentRecursive}, {"/", PersistentRecursive}},
			Event{Type: deleted, Path: "/a"}, true, []set{{"/a", Persistent}, {"/a", PersistentRecursive}, {"/", PersistentRecursive}}},
	}
	types := map[Kind]int32{Data: 2, Child: 1, Persistent: 4, PersistentRecursive: 5}
	for _, tt := range tests {
		for _, blind := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, " blind=", blind), func(t *testing.T) {
				m, c := New(), &conn{blind: blind}
				h := m.Register(c, 1)
				for _, s := range tt.set {
					m.Add(h, s.path, s.kind)
				}
				e := tt.event
				e.ACL = protocol.WorldAnyone
				m.Dispatch(&e)
				want := []string{}
				if tt.fires && !blind {
					want = append(want, show(e.Type, e.Path))
				}
				if got := c.take(t); !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				for _, s := range tt.set {
					if left := slices.Contains(tt.left, s); m.Has(h, s.path, types[s.kind]) != left {
						t.Errorf("watch %v left: %v, want %v", s, !left, left)
					}
				}
			})
		}
	}
}

func TestFrameIsSharedAndComplete(t *testing.T) {
	m := New()
	var conns []*conn
	for i := range 3 {
		c := &conn{}
		conns = append(conns, c)
		m.Add(m.Register(c, int64(i)), "/é", Data)
	}
	m.Dispatch(&Event{Type: changed, Path: "/é", Zxid: 0x100000002})
	want := []byte("\x00\x00\x00\x1f" + "\xff\xff\xff\xff" + "\x00\x00\x00\x01\x00\x00\x00\x02" + "\x00\x00\x00\x00" +
		"\x00\x00\x00\x03" + "\x00\x00\x00\x03" + "\x00\x00\x00\x03/\xc3\xa9")
	for _, c := range conns {
		if len(c.frames) != 1 || !bytes.Equal(c.frames[0], want) {
			t.Fatalf("got %x, want %x", c.frames, want)
		}
		if &c.frames[0][0] != &conns[0].frames[0][0] {
			t.Fatal("frame is not shared")
		}
	}
	if header, _ := decode(t, NotificationFrame(-1, deleted, "/x")); header.Zxid != -1 {
		t.Fatalf("header %+v", header)
	}
}

func TestRemoveByType(t *testing.T) {
	kinds := []Kind{Data, Child, Persistent, PersistentRecursive}
	for typ, removed := range map[int32]Kind{1: Child, 2: Data, 3: Data | Child | Persistent | PersistentRecursive, 4: Persistent, 5: PersistentRecursive, 0: 0, 6: 0, -1: 0} {
		for mask := range Kind(16) {
			m := New()
			h := m.Register(&conn{}, 1)
			other := m.Register(&conn{}, 2)
			for _, k := range kinds {
				if mask&k != 0 {
					m.Add(h, "/a/b", k)
				}
			}
			if m.Has(h, "/a", typ) || m.Remove(h, "/a", typ) || m.Has(other, "/a/b", typ) || m.Remove(other, "/a/b", typ) {
				t.Fatalf("type %d matched another path or connection", typ)
			}
			want := mask&removed != 0
			if m.Has(h, "/a/b", typ) != want || m.Remove(h, "/a/b", typ) != want {
				t.Fatalf("type %d with kinds %b: want %v", typ, mask, want)
			}
			if m.Has(h, "/a/b", typ) || m.Has(h, "/a/b", 3) != (mask&^removed != 0) {
				t.Fatalf("type %d with kinds %b: wrong watches left", typ, mask)
			}
		}
	}
}

func TestCloseDropsWatches(t *testing.T) {
	m, c := New(), &conn{}
	h := m.Register(c, 1)
	m.Add(h, "/a", Data)
	m.Add(h, "/", PersistentRecursive)
	m.Close(h)
	m.Close(h)
	m.Add(h, "/a", Data)
	if m.Has(h, "/a", 3) || m.Remove(h, "/a", 3) {
		t.Fatal("closed handle has watches")
	}
	next := m.Register(&conn{}, 2) // takes the freed id
	m.Add(next, "/b", Data)
	m.Close(h)
	m.Dispatch(&Event{Type: changed, Path: "/a"})
	if len(c.take(t)) != 0 || !m.Has(next, "/b", 2) {
		t.Fatal("closing is not confined to the handle")
	}
}

func TestCountsAndListings(t *testing.T) {
	m := New()
	one, two, twoAgain := m.Register(&conn{}, 1), m.Register(&conn{}, 2), m.Register(&conn{}, 2)
	m.Register(&conn{}, 3)
	m.Add(one, "/b", Data)
	m.Add(one, "/b", Persistent)
	m.Add(one, "/a", PersistentRecursive)
	m.Add(two, "/b", Child)
	m.Add(two, "/c", Child)
	type counts [3]int
	all := func() (c counts) { c[0], c[1], c[2] = m.Counts(); return }
	data := func() (c counts) { c[0], c[1], c[2] = m.DataCounts(); return }
	if all() != (counts{2, 3, 5}) || data() != (counts{1, 2, 2}) {
		t.Fatalf("counts %v %v", all(), data())
	}
	m.Add(two, "/b", Data)
	m.Add(twoAgain, "/b", Data)
	if all() != (counts{3, 3, 7}) || data() != (counts{3, 2, 4}) {
		t.Fatalf("counts %v %v", all(), data())
	}
	if got, want := m.EachByPath(), []PathWatchers{{"/a", []int64{1}}, {"/b", []int64{1, 2}}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("by path %v, want %v", got, want)
	}
	if got, want := m.EachBySession(), []SessionWatches{{1, []string{"/a", "/b"}}, {2, []string{"/b"}}}; !reflect.DeepEqual(got, want) {
		t.Fatalf("by session %v, want %v", got, want)
	}
	m.Close(two)
	m.Close(twoAgain)
	m.Remove(one, "/b", 3)
	if all() != (counts{1, 1, 1}) || data() != (counts{1, 1, 1}) {
		t.Fatalf("counts %v %v", all(), data())
	}
}

func TestConcurrentUse(t *testing.T) {
	m := New()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		wg.Go(func() {
			for n := range 500 {
				h := m.Register(&conn{}, int64(i))
				for p := range 5 {
					m.Add(h, fmt.Sprintf("/p%d", (n+p)%7), Kind(1<<(p%4)))
				}
				m.Remove(h, "/p1", 3)
				m.Counts()
				m.Close(h)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				m.Dispatch(&Event{Type: deleted, Path: "/p3"})
				m.EachByPath()
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-done
	if m.live.Load() != 0 || m.counts != (counts{}) {
		t.Fatalf("left over: %d links, %+v", m.live.Load(), m.counts)
	}
}

func TestUnwatchedEventsDoNotAllocate(t *testing.T) {
	m := New()
	e := &Event{Type: changed, Path: "/a/b/c"}
	check := func(state string) {
		t.Helper()
		if n := testing.AllocsPerRun(100, func() { m.Dispatch(e) }); n != 0 {
			t.Errorf("%s: %v allocations", state, n)
		}
	}
	check("no watches")
	h := m.Register(&conn{}, 1)
	m.Add(h, "/other", Data)
	check("other watches")
	m.Add(h, "/a/x", PersistentRecursive)
	check("recursive watches elsewhere")
}
