package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/protocol"
)

func TestRepliesLeaveInRequestOrder(t *testing.T) {
	s := startStandalone(t)
	var wg sync.WaitGroup
	for i := range 6 {
		w := dial(t, s)
		wg.Go(func() { pipelineMix(t, w, uint64(i)) })
	}
	wg.Wait()
}

// pipelineMix sends thousands of requests of all kinds in packets of random
// length, and checks that each answer is the one to its request, that a read
// sees exactly the session's own writes before it, and that zxids only grow.
func pipelineMix(t *testing.T, w *wire, seed uint64) {
	const requests = 3000
	rng := rand.New(rand.NewPCG(seed, 1))
	path := fmt.Sprintf("/mix%d", seed)
	type want struct {
		xid  int32
		code protocol.ErrCode
		data string // of getData; "" is not looked at
	}
	packet := request(1, protocol.OpCreate, create(path, "0"))
	wants := make(chan want, requests+1)
	wants <- want{xid: 1}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		defer close(wants)
		data := "0"
		for xid := int32(2); xid < requests; xid++ {
			a := want{xid: xid}
			switch rng.IntN(9) {
			case 0, 1:
				data = strconv.Itoa(int(xid))
				packet = append(packet, request(xid, protocol.OpSetData, setData(path, data))...)
			case 2, 3:
				a.data = data
				packet = append(packet, request(xid, protocol.OpGetData, read(path))...)
			case 4:
				a.xid = protocol.XidPing
				packet = append(packet, request(xid, protocol.OpPing, nil)...)
			case 5:
				packet = append(packet, request(xid, protocol.OpSync, read(path))...)
			case 6:
				a.code = protocol.NoNode
				packet = append(packet, request(xid, protocol.OpDelete, remove(path+"/none"))...)
			case 7:
				a.code = protocol.MarshallingError
				packet = append(packet, request(xid, protocol.OpExists, nil)...)
			case 8:
				packet = append(packet, request(xid, protocol.OpMulti, &protocol.MultiRequest{})...)
			}
			wants <- a
			if rng.IntN(40) == 0 || xid == requests-1 {
				if _, err := w.nc.Write(packet); err != nil {
					t.Errorf("send: %v", err)
					return
				}
				packet = packet[:0]
			}
		}
	}()
	defer func() { w.nc.Close(); <-sent }()
	last := int64(0)
	for a := range wants {
		r, err := w.receive()
		if err != nil || r.Xid != a.xid || r.Err != a.code {
			t.Errorf("seed %d: got xid %d %v (%v), want xid %d %v", seed, r.Xid, r.Err, err, a.xid, a.code)
			return
		}
		if r.Zxid < last {
			t.Errorf("seed %d, xid %d: zxid 0x%x after 0x%x", seed, r.Xid, r.Zxid, last)
			return
		}
		last = r.Zxid
		if a.data == "" {
			continue
		}
		var got protocol.GetDataResponse
		d := protocol.NewDecoder(r.body)
		if got.Decode(&d); d.Err() != nil || string(got.Data) != a.data {
			t.Errorf("seed %d, xid %d: read %q (%v), want %q", seed, r.Xid, got.Data, d.Err(), a.data)
			return
		}
	}
}

func TestReadBehindAWriteSeesIt(t *testing.T) {
	s := startStandalone(t)
	w := dial(t, s)
	for range 50 {
		w.send(
			request(1, protocol.OpCreate, create("/a", "data")),
			request(2, protocol.OpGetData, watching("/a")),
			request(3, protocol.OpGetChildren, watching("/a")),
			request(4, protocol.OpDelete, remove("/a")),
			request(5, protocol.OpExists, watching("/a")),
			request(6, protocol.OpCreate, create("/a", "again")),
			request(7, protocol.OpDelete, remove("/a")),
		)
		w.expect(1, protocol.OK)
		r := w.expect(2, protocol.OK)
		var got protocol.GetDataResponse
		if decode(t, r.body, &got); string(got.Data) != "data" || got.Stat.Czxid != r.Zxid {
			t.Fatalf("read %q with czxid 0x%x under zxid 0x%x", got.Data, got.Stat.Czxid, r.Zxid)
		}
		w.expect(3, protocol.OK)
		event := w.expectEvent(protocol.NodeDeleted, "/a") // one for both watches
		if r := w.expect(4, protocol.OK); event != r.Zxid {
			t.Fatalf("the event of the deletion has zxid 0x%x, the reply 0x%x", event, r.Zxid)
		}
		w.expect(5, protocol.NoNode)
		w.expectEvent(protocol.NodeCreated, "/a")
		w.expect(6, protocol.OK)
		w.expect(7, protocol.OK)
	}
}

// Thousands of connections watch one node and read it again and again while it
// changes. The changes are applied, and the reads served, while events of the
// change are still on their way to others.
func TestNotificationPrecedesReply(t *testing.T) {
	const changes = 4
	connections := 4000 // two descriptors each, for both ends are here
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < 9000 {
		connections = int(limit.Cur) * 2 / 5
	}
	s := startStandalone(t)
	writer := dial(t, s)
	writer.call(protocol.OpCreate, create("/n", ""), protocol.OK)

	readers := make([]*wire, connections)
	var dialing sync.WaitGroup
	for part := range 50 {
		dialing.Go(func() {
			for i := part; i < connections; i += 50 {
				readers[i] = openReader(t, s)
			}
		})
	}
	dialing.Wait()
	if t.Failed() {
		return
	}
	var armed, reading sync.WaitGroup
	armed.Add(connections)
	for _, w := range readers {
		reading.Go(func() { watchUntil(t, w, changes, &armed) })
	}
	armed.Wait()
	for range changes {
		writer.call(protocol.OpSetData, setData("/n", "x"), protocol.OK)
	}
	reading.Wait()
}

// openReader is dial for goroutines other than the test's.
func openReader(t *testing.T, s *Server) *wire {
	w := dialRaw(t, s)
	if !w.connect(protocol.ConnectRequest{TimeoutMs: 60_000}) || w.id == 0 {
		t.Error("no session")
	}
	return w
}

// watchUntil reads /n in packets until it sees version last.
func watchUntil(t *testing.T, w *wire, last int32, armedOnce *sync.WaitGroup) {
	packet := request(1, protocol.OpGetData, watching("/n"))
	packet = append(packet, request(2, protocol.OpGetData, read("/n"))...)
	packet = append(packet, request(3, protocol.OpExists, read("/n"))...)
	watched := int32(-1) // the version that a watch is set at; -1 without one
	seen := int64(0)
	for round := 0; ; round++ {
		if _, err := w.nc.Write(packet); err != nil {
			t.Errorf("send: %v", err)
		}
		version := int32(0)
		for answers := 0; answers < 3; {
			r, err := w.receive()
			if err != nil {
				t.Errorf("receive: %v", err)
				if round == 0 {
					armedOnce.Done()
				}
				return
			}
			if r.Zxid < seen {
				t.Errorf("xid %d: zxid 0x%x after 0x%x", r.Xid, r.Zxid, seen)
			}
			seen = r.Zxid
			if r.Xid == protocol.XidNotification {
				if watched < 0 {
					t.Error("an event without a watch")
				}
				watched = -1
				continue
			}
			answers++
			var st protocol.StatResponse
			d := protocol.NewDecoder(r.body[len(r.body)-protocol.StatSize:])
			st.Decode(&d)
			version = st.Stat.Version
			if watched >= 0 && version > watched {
				t.Errorf("xid %d shows version %d, but the event of version %d has not come", r.Xid, version, watched+1)
				watched = version
			}
			if r.Xid == 1 && watched < 0 {
				watched = version
			}
		}
		if round == 0 {
			armedOnce.Done()
		}
		if version == last {
			return
		}
		time.Sleep(time.Millisecond) // thousands of readers that spin would starve the writer
	}
}

func TestSetWatchesCatchesUp(t *testing.T) {
	s := startStandalone(t)
	other := dial(t, s)
	for _, path := range []string{"/same", "/changed", "/deleted", "/parent"} {
		other.call(protocol.OpCreate, create(path, ""), protocol.OK)
	}
	seen := other.call(protocol.OpExists, read("/same"), protocol.OK).Zxid
	other.call(protocol.OpSetData, setData("/changed", "1"), protocol.OK)
	other.call(protocol.OpDelete, remove("/deleted"), protocol.OK)
	other.call(protocol.OpCreate, create("/parent/child", ""), protocol.OK)
	other.call(protocol.OpCreate, create("/appeared", ""), protocol.OK)

	for _, op := range []protocol.OpCode{protocol.OpSetWatches, protocol.OpSetWatches2} {
		w := dial(t, s)
		req := protocol.SetWatches2Request{
			SetWatchesRequest: protocol.SetWatchesRequest{
				RelativeZxid: seen,
				Data:         []string{"/same", "/changed", "/deleted"},
				Exist:        []string{"/appeared", "/absent"},
				Child:        []string{"/same", "/parent"},
			},
			Persistent: []string{"/parent"}, PersistentRecursive: []string{},
		}
		body := protocol.Record(&req)
		if op == protocol.OpSetWatches {
			body = &req.SetWatchesRequest
		}
		w.send(request(protocol.XidSetWatches, op, body))
		missed := []struct {
			typ  protocol.EventType
			path string
		}{
			{protocol.NodeDataChanged, "/changed"}, {protocol.NodeDeleted, "/deleted"},
			{protocol.NodeCreated, "/appeared"}, {protocol.NodeChildrenChanged, "/parent"},
		}
		for _, m := range missed {
			if zxid := w.expectEvent(m.typ, m.path); zxid != -1 {
				t.Errorf("%v: the event of %s that was missed has zxid %d, want -1", op, m.path, zxid)
			}
		}
		w.expect(protocol.XidSetWatches, protocol.OK)

		// What was not missed is watched now, and nothing else.
		w.send(
			request(1, protocol.OpSetData, setData("/same", "1")),
			request(2, protocol.OpSetData, setData("/changed", "2")),
			request(3, protocol.OpCreate, create("/absent", "")),
			request(4, protocol.OpCreate, create("/same/child", "")),
			request(5, protocol.OpCreate, create("/parent/other", "")),
		)
		w.expectEvent(protocol.NodeDataChanged, "/same")
		w.expect(1, protocol.OK)
		w.expect(2, protocol.OK)
		w.expectEvent(protocol.NodeCreated, "/absent")
		w.expect(3, protocol.OK)
		w.expectEvent(protocol.NodeChildrenChanged, "/same")
		w.expect(4, protocol.OK)
		if op == protocol.OpSetWatches2 {
			w.expectEvent(protocol.NodeChildrenChanged, "/parent")
		}
		w.expect(5, protocol.OK)
		w.nc.Close()

		// The second round misses the same changes again.
		other.call(protocol.OpDelete, remove("/absent"), protocol.OK)
		other.call(protocol.OpDelete, remove("/same/child"), protocol.OK)
		other.call(protocol.OpDelete, remove("/parent/other"), protocol.OK)
		seen = other.call(protocol.OpExists, read("/same"), protocol.OK).Zxid
		other.call(protocol.OpSetData, setData("/changed", "3"), protocol.OK)
		other.call(protocol.OpCreate, create(fmt.Sprintf("/parent/later%d", op), ""), protocol.OK)
	}
}

func TestLinearizableReadsTravel(t *testing.T) {
	s := startStandalone(t, "coordd.linearizableReads=true")
	w := dial(t, s)
	w.call(protocol.OpCreate, create("/a", "1"), protocol.OK)
	before := s.metrics.Entries.Load()
	for range 3 {
		w.send(request(1, protocol.OpGetData, watching("/a")), request(2, protocol.OpGetChildren2, read("/")), request(3, protocol.OpGetData, read("/missing")))
		w.expect(1, protocol.OK)
		w.expect(2, protocol.OK)
		w.expect(3, protocol.NoNode)
	}
	// One sync carries what comes together, and pings need none.
	if n := s.metrics.Entries.Load() - before; n < 3 {
		t.Errorf("%d entries for three packets of reads, want one each at least", n)
	}
	before = s.metrics.Entries.Load()
	w.send(request(protocol.XidPing, protocol.OpPing, nil))
	w.expect(protocol.XidPing, protocol.OK)
	if n := s.metrics.Entries.Load() - before; n != 0 {
		t.Errorf("%d entries for a ping", n)
	}
}

// A ping is answered in its turn, however it arrives: alone, in pieces, with the
// handshake, with other requests, or behind a write that is not applied yet.
func TestPingsInTheirTurn(t *testing.T) {
	s := startStandalone(t)
	ping, exists := request(protocol.XidPing, protocol.OpPing, nil), request(7, protocol.OpExists, read("/"))
	w := dialRaw(t, s)
	w.send(framed((&protocol.ConnectRequest{TimeoutMs: 10_000, HasReadOnly: true}).AppendTo(nil)), ping)
	if _, err := w.frame(); err != nil {
		t.Fatal(err)
	}
	w.expect(protocol.XidPing, protocol.OK)
	for range 100 {
		w.send(ping)
		zxid := w.expect(protocol.XidPing, protocol.OK).Zxid
		w.send(ping, exists, ping)
		w.expect(protocol.XidPing, protocol.OK)
		if r := w.expect(7, protocol.OK); r.Zxid != zxid {
			t.Fatalf("zxid %#x in a ping's answer, then %#x", zxid, r.Zxid)
		}
		w.expect(protocol.XidPing, protocol.OK)
		w.send(ping[:5])
		w.send(ping[5:])
		w.expect(protocol.XidPing, protocol.OK)
		w.send(request(8, protocol.OpCreate, create("/a", "")))
		w.send(ping)
		w.send(request(9, protocol.OpDelete, remove("/a")))
		created := w.expect(8, protocol.OK)
		if r := w.expect(protocol.XidPing, protocol.OK); r.Zxid < created.Zxid {
			t.Fatalf("a ping behind zxid %#x is answered with %#x", created.Zxid, r.Zxid)
		}
		w.expect(9, protocol.OK)
	}
	// The xid that a client gives a ping is not looked at; it is that of pings.
	w.send(request(5, protocol.OpPing, nil))
	w.expect(protocol.XidPing, protocol.OK)
}
