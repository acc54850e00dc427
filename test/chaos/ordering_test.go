//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

const (
	watchedNode = "/watched"
	// watchChanges are made while everybody watches.
	watchChanges = 15
)

// raiseFileLimit lets this process have n connections, beside what else it
// needs.
func raiseFileLimit(t *testing.T, n int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("read the limit of open files: %v", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(n)+500 {
		t.Fatalf("%d open files are too few for %d connections (%v)", limit.Cur, n, err)
	}
}

// TestEventsPrecedeReplies has 10,000 connections at one follower watch one
// node, and read it and another all the while it changes. On each connection
// the event of a change comes before any reply that shows it, once.
func TestEventsPrecedeReplies(t *testing.T) {
	const connections = 10_000
	raiseFileLimit(t, connections)
	// On a starved machine elections take long, and a server hangs up on its
	// clients after syncLimit ticks without a leader: not the matter here.
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3, "maxClientCnxns=0", "syncLimit=20")
	leader, followers := roles(t, servers)
	writer := dial(t, leader, zkclient.Options{Timeout: longSession})
	defer writer.HangUp()
	if _, err := writer.Create(watchedNode, nil, protocol.Persistent, nil); err != nil {
		t.Fatal(err)
	}
	if err := syncAll(followers, watchedNode); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	watchers := openWatchers(t, followers[0], connections)
	opened := time.Since(began)

	var found faults
	var armed, running sync.WaitGroup
	armed.Add(connections)
	for _, w := range watchers {
		running.Go(func() {
			if err := w.run(&armed); err != nil {
				found.add("watcher %d at version %d, armed %t: %v", w.number, w.version, w.armed, err)
			}
		})
	}
	armed.Wait()
	zxids := make([]int64, 1, watchChanges+1) // of each version
	for range watchChanges {
		stat, err := writer.Set(watchedNode, []byte("x"), protocol.AnyVersion)
		if err != nil {
			t.Fatal(err)
		}
		zxids = append(zxids, stat.Mzxid)
		time.Sleep(100 * time.Millisecond) // time to watch again; many are too late for the next, too
	}
	running.Wait()

	events, reads := 0, 0
	for _, w := range watchers {
		events, reads = events+len(w.events), reads+w.replies
		w.check(&found, zxids)
		w.nc.Close()
	}
	found.report(t)
	if events < connections*3/2 {
		t.Errorf("%d events at %d connections: they hardly watched", events, connections)
	}
	t.Logf("%d connections (opened in %v), %d changes, %d events, %d replies, %v",
		connections, opened.Round(time.Millisecond), watchChanges, events, reads, time.Since(began).Round(time.Millisecond))
}

// watcher reads packets of a getData that watches and of reads that do not,
// two packets ahead.
type watcher struct {
	*wire
	number  int
	armed   bool
	version int32 // last shown
	zxid    int64 // last reply's
	replies int
	events  []watched
}

// watched is one event and what came before it.
type watched struct {
	version int32 // that the watch was set at
	zxid    int64 // of the event
	before  int64 // of the last reply before the event
}

func openWatchers(t *testing.T, s *zkprocess.Server, n int) []*watcher {
	t.Helper()
	watchers := make([]*watcher, n)
	var found faults
	var opening sync.WaitGroup
	for part := range 100 {
		opening.Go(func() {
			for i := part; i < n; i += 100 {
				w, err := open(s)
				if err != nil {
					found.add("watcher %d: %v", i, err)
					return
				}
				watchers[i] = &watcher{wire: w, number: i}
			}
		})
	}
	opening.Wait()
	if found.report(t); t.Failed() {
		t.FailNow()
	}
	return watchers
}

// The xids of a packet: the first sets the watch.
const (
	xidWatch = iota + 1
	xidData
	xidExists
	xidElsewhere
)

// run reads until it has seen the last change and two packets more, which
// would bring an event that came twice. It calls armed.Done when its first
// watch is set, or never will be.
func (w *watcher) run(armed *sync.WaitGroup) error {
	first := sync.OnceFunc(armed.Done)
	defer first()
	w.extend(patience)
	read := &protocol.PathWatchRequest{Path: watchedNode}
	packet := appendRequest(nil, xidWatch, protocol.OpGetData, &protocol.PathWatchRequest{Path: watchedNode, Watch: true})
	packet = appendRequest(packet, xidData, protocol.OpGetData, read)
	packet = appendRequest(packet, xidExists, protocol.OpExists, read)
	packet = appendRequest(packet, xidElsewhere, protocol.OpExists, &protocol.PathWatchRequest{Path: "/"})
	if _, err := w.nc.Write(packet); err != nil {
		return err
	}
	for last := 0; last < 3; {
		w.extend(patience)
		// The one before is on its way still: requests are always waiting.
		if _, err := w.nc.Write(packet); err != nil {
			return err
		}
		if w.version == watchChanges {
			last++
		}
		for answered := 0; answered < 4; {
			h, body, err := w.receive()
			if err != nil {
				return err
			}
			if h.Xid == protocol.XidNotification {
				err = w.event(h, body)
			} else {
				answered++
				err = w.reply(int32(answered), h, body)
			}
			if err != nil {
				return err
			}
		}
		first()
	}
	return nil
}

func (w *watcher) event(h protocol.ReplyHeader, body []byte) error {
	var e protocol.WatcherEvent
	d := protocol.NewDecoder(body)
	if e.Decode(&d); d.Err() != nil {
		return d.Err()
	}
	if e.Type != protocol.NodeDataChanged || e.Path != watchedNode {
		return fmt.Errorf("event %v of %s", e.Type, e.Path)
	}
	if !w.armed {
		return fmt.Errorf("an event, zxid 0x%x, without a watch", h.Zxid)
	}
	w.armed = false
	w.events = append(w.events, watched{w.version, h.Zxid, w.zxid})
	return nil
}

func (w *watcher) reply(xid int32, h protocol.ReplyHeader, body []byte) error {
	w.replies++
	if h.Xid != xid || h.Err != protocol.OK {
		return fmt.Errorf("reply to xid %d: %v, want xid %d", h.Xid, h.Err, xid)
	}
	if h.Zxid < w.zxid {
		return fmt.Errorf("zxid 0x%x after 0x%x", h.Zxid, w.zxid)
	}
	w.zxid = h.Zxid
	if n := len(w.events); n > 0 && h.Zxid < w.events[n-1].zxid {
		return fmt.Errorf("a reply of zxid 0x%x behind the event of 0x%x", h.Zxid, w.events[n-1].zxid)
	}
	if xid == xidElsewhere {
		return nil
	}
	stat, err := statOf(body)
	if err != nil {
		return err
	}
	if stat.Mzxid > h.Zxid {
		return fmt.Errorf("zxid 0x%x shows the change of 0x%x", h.Zxid, stat.Mzxid)
	}
	switch {
	case w.armed && stat.Version != w.version:
		return fmt.Errorf("a reply of version %d, and no event yet", stat.Version)
	case stat.Version < w.version:
		return fmt.Errorf("version %d after %d", stat.Version, w.version)
	case !w.armed && len(w.events) > 0 && stat.Version <= w.events[len(w.events)-1].version:
		return fmt.Errorf("version %d behind the event of a change of it", stat.Version)
	}
	w.version = stat.Version
	if xid == xidWatch {
		w.armed = true
	}
	return nil
}

// check compares what came with the writer's zxids of the versions.
func (w *watcher) check(found *faults, zxids []int64) {
	if last := int32(len(zxids) - 1); w.version != last || !w.armed {
		found.add("watcher %d: at version %d of %d in the end, armed %t", w.number, w.version, last, w.armed)
	}
	for _, e := range w.events {
		change := zxids[e.version+1]
		if e.zxid != change {
			found.add("watcher %d: watched version %d, event of 0x%x, want 0x%x", w.number, e.version, e.zxid, change)
		}
		if e.before >= change {
			found.add("watcher %d: a reply of zxid 0x%x before the event of 0x%x", w.number, e.before, change)
		}
	}
}

// TestSessionsNeverReadBackwards moves sessions from server to server, at
// random moments, while a writer writes and servers are killed. What a session
// has read or written it never reads an older state than.
func TestSessionsNeverReadBackwards(t *testing.T) {
	const nomads, kills = 40, 4
	random := newRandom(t)
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	leader, followers := roles(t, servers)
	setUp := dial(t, leader, zkclient.Options{})
	for i := range nomads {
		if _, err := setUp.Create(fmt.Sprintf("/own-%d", i), nil, protocol.Persistent, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := setUp.Create("/shared", nil, protocol.Persistent, nil); err != nil {
		t.Fatal(err)
	}
	if err := setUp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syncAll(servers, "/"); err != nil {
		t.Fatal(err)
	}
	refusesTheFuture(t, followers[0])

	var found faults
	stop := make(chan struct{})
	var running sync.WaitGroup
	var changes atomic.Int64
	running.Go(func() { writeOn(servers, stop, &changes) })
	all := make([]*nomad, nomads)
	for i := range all {
		all[i] = &nomad{own: fmt.Sprintf("/own-%d", i), random: rand.New(rand.NewPCG(random.Uint64(), 0))}
		running.Go(func() {
			if err := all[i].wander(servers, stop); err != nil {
				found.add("%s after %d moves: %v", all[i].own, all[i].moves, err)
			}
		})
	}
	for i := range kills {
		time.Sleep(time.Second + time.Duration(random.IntN(500_000))*time.Microsecond)
		victim := servers[random.IntN(len(servers))]
		if i%2 == 0 {
			victim, _ = roles(t, servers)
		}
		victim.Kill()
		time.Sleep(time.Duration(random.IntN(500_000)) * time.Microsecond)
		if err := victim.Run(); err != nil {
			t.Fatal(err)
		}
		roles(t, servers)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	running.Wait()
	found.report(t)
	moves, reads, writes := 0, 0, 0
	for _, n := range all {
		moves, reads, writes = moves+n.moves, reads+n.reads, writes+n.writes
	}
	if moves < 10*nomads || changes.Load() < 100 {
		t.Errorf("%d sessions moved %d times under %d changes: too little", nomads, moves, changes.Load())
	}
	t.Logf("%d sessions, %d moves, %d kills, %d changes, %d reads, %d writes", nomads, moves, kills, changes.Load(), reads, writes)
}

// refusesTheFuture checks that a server hangs up on a session that has seen
// more than it, and that this does the session no harm.
func refusesTheFuture(t *testing.T, s *zkprocess.Server) {
	t.Helper()
	c := dial(t, s, zkclient.Options{Timeout: longSession})
	c.HangUp()
	opts := zkclient.Options{Timeout: longSession, SessionID: c.SessionID(), Password: c.Password(), LastZxid: 1 << 60}
	if _, err := zkclient.Dial(t.Context(), s.Addr(), opts); err == nil || strings.Contains(err.Error(), zkclient.ErrSessionExpired.Error()) {
		t.Fatalf("a session that saw zxid 0x%x: %v, want a closed connection", opts.LastZxid, err)
	}
	opts.LastZxid = c.LastZxid()
	if err := dial(t, s, opts).Close(); err != nil {
		t.Fatal(err)
	}
}

// writeOn changes /shared at one server after the other until told to stop.
func writeOn(servers []*zkprocess.Server, stop <-chan struct{}, changes *atomic.Int64) {
	for i := 0; ; i++ {
		c, err := zkclient.Dial(context.Background(), servers[i%len(servers)].Addr(), zkclient.Options{Timeout: longSession})
		for err == nil && !isClosed(stop) {
			if _, err = c.Set("/shared", nil, protocol.AnyVersion); err == nil {
				changes.Add(1)
			}
		}
		if c != nil {
			c.HangUp()
		}
		if isClosed(stop) {
			return
		}
		time.Sleep(10 * time.Millisecond) // that server is down
	}
}

// nomad is a session that does not stay at its server.
type nomad struct {
	own    string // path of the node that it alone writes
	random *rand.Rand

	id                    int64
	password              []byte
	zxid                  int64 // the highest seen
	sharedMzxid, ownMzxid int64 // the highest seen or written
	moves, reads, writes  int
}

// wander takes the session up at one server after the other until told to
// stop, and reports the first thing that was not as it must be.
func (n *nomad) wander(servers []*zkprocess.Server, stop <-chan struct{}) error {
	for !isClosed(stop) {
		s := servers[n.random.IntN(len(servers))]
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := zkclient.Dial(ctx, s.Addr(), zkclient.Options{
			Timeout: longSession, SessionID: n.id, Password: n.password, LastZxid: n.zxid,
		})
		cancel()
		if err != nil {
			if strings.Contains(err.Error(), zkclient.ErrSessionExpired.Error()) {
				return fmt.Errorf("session 0x%x at server %d: %w", n.id, s.ID, err)
			}
			time.Sleep(10 * time.Millisecond) // down, or behind this session
			continue
		}
		n.moves++
		if n.id == 0 {
			n.id, n.password = c.SessionID(), c.Password()
		}
		err = n.stay(c)
		c.HangUp()
		if err != nil {
			return fmt.Errorf("server %d: %w", s.ID, err)
		}
		n.zxid = max(n.zxid, c.LastZxid())
	}
	return nil
}

// stay sends some requests at once and leaves after some of the replies, or
// when the server dies.
func (n *nomad) stay(c *zkclient.Client) error {
	type sent struct {
		op   protocol.OpCode
		path string
		call *zkclient.Call
	}
	var requests []sent
	for range 1 + n.random.IntN(20) {
		r := sent{op: protocol.OpGetData, path: "/shared"}
		var body protocol.Record
		switch n.random.IntN(4) {
		case 0:
			r.op, r.path = protocol.OpSetData, n.own
			body = &protocol.SetDataRequest{Path: r.path, Version: protocol.AnyVersion}
		case 1:
			r.path = n.own
			fallthrough
		default:
			body = &protocol.PathWatchRequest{Path: r.path}
		}
		r.call = c.Go(r.op, body)
		requests = append(requests, r)
	}
	for _, r := range requests[:1+n.random.IntN(len(requests))] {
		h, body, err := r.call.Wait()
		if err != nil {
			return nil // the server was killed
		}
		if h.Err != protocol.OK {
			return fmt.Errorf("%v %s: %w", r.op, r.path, h.Err)
		}
		if h.Zxid < n.zxid {
			return fmt.Errorf("%v %s: zxid 0x%x after 0x%x", r.op, r.path, h.Zxid, n.zxid)
		}
		n.zxid = h.Zxid
		stat, err := statOf(body)
		if err != nil {
			return err
		}
		seen := &n.sharedMzxid
		if r.path == n.own {
			seen = &n.ownMzxid
		}
		if stat.Mzxid < *seen || stat.Mzxid > h.Zxid || r.op == protocol.OpSetData && stat.Mzxid == *seen {
			return fmt.Errorf("%v %s: mzxid 0x%x after 0x%x, at zxid 0x%x", r.op, r.path, stat.Mzxid, *seen, h.Zxid)
		}
		*seen = stat.Mzxid
		if r.op == protocol.OpSetData {
			n.writes++
		} else {
			n.reads++
		}
	}
	return nil
}

// burst is how many times a packet creates a node, watches and deletes it.
const burst = 32

// TestReadsBetweenWritesOfAPacket sends create, getData with a watch and
// delete of one node in a packet, again and again, to followers whose leader
// is killed: the read is served between the two, and its watch fires.
func TestReadsBetweenWritesOfAPacket(t *testing.T) {
	const kills, connections, packets = 3, 3, 15
	servers := zkprocess.Start(t, zkprocess.Coordd(t), 3)
	var found faults
	triples := 0
	for round := range kills {
		leader, followers := roles(t, servers)
		var loops []*tripler
		for i := range connections * len(followers) {
			w, err := open(followers[i%len(followers)])
			if err != nil {
				t.Fatal(err)
			}
			loops = append(loops, &tripler{wire: w, path: fmt.Sprintf("/triple-%d-%d", round, i)})
		}
		var running sync.WaitGroup
		for _, l := range loops {
			l.last.Store(math.MaxInt64)
			running.Go(func() {
				if err := l.run(); err != nil {
					found.add("%s, packet %d: %v", l.path, l.done.Load(), err)
					l.last.Store(0)
				}
			})
		}
		await(t, patience, "packets before the kill", func() bool {
			for _, l := range loops {
				if l.done.Load() < min(packets, l.last.Load()) {
					return false
				}
			}
			return true
		})
		leader.Kill()
		for _, l := range loops {
			l.last.Store(l.done.Load() + packets)
		}
		running.Wait()
		if err := leader.Run(); err != nil {
			t.Fatal(err)
		}
		for _, l := range loops {
			triples += int(l.done.Load()) * burst
			l.nc.Close()
		}
	}
	found.report(t)
	t.Logf("%d kills of the leader, %d times create, getData, delete", kills, triples)
}

// tripler is one connection that sends such packets, one ahead of the replies.
type tripler struct {
	*wire
	path string
	zxid int64        // the last reply's
	done atomic.Int64 // packets answered
	last atomic.Int64 // packet to stop at
}

func (l *tripler) run() error {
	var packet []byte
	for range burst {
		packet = appendRequest(packet, 1, protocol.OpCreate, &protocol.CreateRequest{Path: l.path, Data: []byte(l.path), ACL: protocol.WorldAnyone})
		packet = appendRequest(packet, 2, protocol.OpGetData, &protocol.PathWatchRequest{Path: l.path, Watch: true})
		packet = appendRequest(packet, 3, protocol.OpDelete, &protocol.DeleteRequest{Path: l.path, Version: protocol.AnyVersion})
	}
	if _, err := l.nc.Write(packet); err != nil {
		return err
	}
	for l.done.Load() < l.last.Load() {
		l.extend(patience)
		if _, err := l.nc.Write(packet); err != nil {
			return err
		}
		for range burst {
			if err := l.triple(); err != nil {
				return err
			}
		}
		l.done.Add(1)
	}
	return nil
}

// triple takes the answers to one create, getData and delete.
func (l *tripler) triple() error {
	created, _, err := l.next(1)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	read, body, err := l.next(2)
	if err != nil {
		return fmt.Errorf("getData: %w", err)
	}
	var got protocol.GetDataResponse
	d := protocol.NewDecoder(body)
	if got.Decode(&d); d.Err() != nil {
		return fmt.Errorf("getData: %w", d.Err())
	}
	if string(got.Data) != l.path || got.Stat.Czxid != created.Zxid {
		return fmt.Errorf("getData: %q of zxid 0x%x, created at 0x%x", got.Data, got.Stat.Czxid, created.Zxid)
	}
	event, body, err := l.next(protocol.XidNotification)
	if err != nil {
		return fmt.Errorf("event: %w", err)
	}
	var e protocol.WatcherEvent
	d = protocol.NewDecoder(body)
	if e.Decode(&d); d.Err() != nil || e.Type != protocol.NodeDeleted || e.Path != l.path {
		return fmt.Errorf("event: %v of %s (%v)", e.Type, e.Path, d.Err())
	}
	deleted, _, err := l.next(3)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if event.Zxid != deleted.Zxid || deleted.Zxid <= read.Zxid {
		return fmt.Errorf("created at 0x%x, read at 0x%x, event of 0x%x, deleted at 0x%x", created.Zxid, read.Zxid, event.Zxid, deleted.Zxid)
	}
	return nil
}

// next receives what must have xid.
func (l *tripler) next(xid int32) (protocol.ReplyHeader, []byte, error) {
	h, body, err := l.receive()
	switch {
	case err != nil:
		return h, nil, err
	case h.Xid != xid || h.Err != protocol.OK:
		return h, nil, fmt.Errorf("got xid %d, %v", h.Xid, h.Err)
	case h.Zxid < l.zxid:
		return h, nil, fmt.Errorf("zxid 0x%x after 0x%x", h.Zxid, l.zxid)
	}
	l.zxid = h.Zxid
	return h, body, nil
}
