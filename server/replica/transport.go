package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// queueLen is how many messages wait between the wire and Raft, and how many
// answers wait between a pipeline and Raft (guard D), before the sender is
// held up.
const queueLen = 256

// While a joining server waits to be vouched for, it keeps what a leader sends
// it for up to holdFor before it refuses it, and looks every holdPoll whether
// that has changed: a refusal makes the library wait longer each time before
// it sends again, up to ten seconds.
const (
	holdFor  = time.Second
	holdPoll = 10 * time.Millisecond
)

// vouchPrefix begins what a message says in Leader, a field that Raft no
// longer reads, when its sender vouches for the receiver; the number of the
// receiver's mark follows, 8 bytes big endian.
var vouchPrefix = []byte("\x00coordd vouches for ")

// Reasons for which a Transport refuses a message. They travel to the peer as
// text; none contains "unexpected command", which the library would count as
// a granted pre-vote.
var (
	// ErrJoining is answered to, and returned for, every vote, pre-vote and
	// TimeoutNow while this server is joining.
	ErrJoining = errors.New("server is joining: it takes no part in elections")
	// ErrNotVouched is answered to a leader's entries, heartbeats and
	// snapshots while this server is joining and no leader has vouched for it.
	ErrNotVouched = errors.New("server is joining: it follows no leader that has not taken its vote")
	// ErrAppendsDropped is returned for AppendEntries and snapshots while
	// DropAppends is on.
	ErrAppendsDropped = errors.New("outgoing entries are held back: this leader gave up its place")
	// ErrNotFollower is returned by InjectTimeoutNow on a server that is not
	// a follower.
	ErrNotFollower = errors.New("server is not a follower")
	// ErrNotStarted is answered to a snapshot before Attach.
	ErrNotStarted = errors.New("server is starting: it takes no snapshot yet")
	// ErrNotBacked is returned for entries that a follower has and this leader
	// could not write.
	ErrNotBacked = errors.New("this leader has not written the entries itself")
	// ErrStalled is returned for votes and pre-votes while the disk does not take
	// what this server wrote as a leader.
	ErrStalled = errors.New("the disk stalls: this server does not stand for election")
	// ErrLogReplaced is why a Raft is started again that has installed a
	// snapshot in place of a log that went further.
	ErrLogReplaced = errors.New("a snapshot has replaced entries that were never committed")
)

// Wire is what carries Raft's messages: raft.NetworkTransport,
// raft.InmemTransport, or a test's own.
type Wire interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// Transport stands between Raft and the wire. It carries every message
// unchanged and adds what hashicorp/raft v1.7.3 lacks:
//
//   - heartbeats take the library's fast path only where they cannot change
//     term or state behind the main loop's back (hashicorp/raft#695);
//   - a refused append cannot wedge replication (#612, see pipeline);
//   - what is applied already is not taken again (see known);
//   - replication to a server that was away goes on at once when it is back
//     (see AppendEntries);
//   - vote requests survive dead pooled connections;
//   - followers of an idle leader learn of a commit soon (AnnounceCommit);
//   - Raft hears that a follower has an entry only when a quorum has it on disk,
//     this server or another (see ahead);
//   - switches for a joining server and for a leader whose disk stalls, and the
//     rule whom a joining server may follow (Vouch).
//
// All methods are safe for concurrent use. Use one Transport per raft.Raft:
// Raft closes it when it shuts down.
type Transport struct {
	wire  Wire
	id    raft.ServerID
	tries int        // how often a vote request is sent at most
	votes *VoteStore // nil in tests that do without

	raft     atomic.Pointer[raft.Raft] // nil until Attach
	logs     *LogStore                 // set before raft
	restart  func(reason error)        // set before raft
	joining  atomic.Uint64             // number of this server's joining mark; 0 = none
	floor    atomic.Uint64             // term of the leader that vouched first; 0 = none has
	dropping atomic.Bool
	sent     func(took time.Duration, err error) // see OnSnapshotSent

	toRaft    chan raft.RPC
	stop      chan struct{} // closed by Close
	stopOnce  sync.Once
	forwarder sync.WaitGroup

	announced atomic.Uint64 // largest index given to AnnounceCommit
	mu        sync.Mutex
	pipelines map[*pipeline]struct{}   // open ones; guarded by mu
	vouched   map[raft.ServerID]uint64 // marks' numbers, see Vouch; guarded by mu

	announcing bool // announceToAll is about to run; guarded by mu
}

var (
	_ Wire                = (*Transport)(nil)
	_ raft.WithPreVote    = (*Transport)(nil)
	_ raft.WithClose      = (*Transport)(nil)
	_ raft.AppendPipeline = (*pipeline)(nil)
)

// NewTransport wraps wire for the server called id. maxPool is the wire's
// number of pooled connections per peer. votes, when not nil, is the
// VoteStore handed to the same Raft; with it no fast-path heartbeat overlaps a
// change of term, and the Transport is joining from the start if the store is.
func NewTransport(wire Wire, id raft.ServerID, maxPool int, votes *VoteStore) *Transport {
	t := &Transport{
		wire:      wire,
		id:        id,
		tries:     maxPool + 2,
		votes:     votes,
		sent:      func(time.Duration, error) {},
		toRaft:    make(chan raft.RPC, queueLen),
		stop:      make(chan struct{}),
		pipelines: make(map[*pipeline]struct{}),
		vouched:   make(map[raft.ServerID]uint64),
	}
	if votes != nil {
		t.joining.Store(votes.joiningNumber())
	}
	t.forwarder.Go(t.forward)
	return t
}

// OnSnapshotSent has told called after each snapshot that was sent to another
// server. It must be called before Raft starts.
func (t *Transport) OnSnapshotSent(told func(took time.Duration, err error)) { t.sent = told }

// Attach tells the transport which Raft it serves, and on which log. Until then
// every heartbeat goes through Consumer, and snapshots are refused. restart is
// called when that Raft must be started again (see known).
func (t *Transport) Attach(r *raft.Raft, logs *LogStore, restart func(reason error)) {
	t.logs, t.restart = logs, restart
	t.raft.Store(r)
}

// SetJoining turns the joining switch: number is that of this server's mark,
// 0 for none. While it is on, votes, pre-votes and TimeoutNow are refused in
// both directions without reaching Raft, and what leaders send is refused until
// one has vouched for this server (Vouch). That alone does not stop a server
// whose log so far names it as the only voter: set VoteStore.SetJoining too.
func (t *Transport) SetJoining(number uint64) {
	if t.joining.Swap(number) != number {
		t.floor.Store(0)
	}
}

// Vouch tells the server called id, with everything that this one sends it from
// now on as a leader, that its loss of data is dealt with: this server has
// committed an entry, since it learned the number of that server's mark, in
// whose configuration that server has no vote. Call it only then.
//
// A server that lost its data has forgotten which leaders it had voted out and
// which entries it had acknowledged. To the others' Raft it is safe only as if
// it were gone for good and another server, under the same name, were added
// instead. It must therefore give neither vote nor acknowledgement to anybody
// who may count it by a configuration from before its loss. It gives no votes
// until a committed entry has admitted it. What it may acknowledge is decided
// here: nothing, until a leader vouches for the number of its mark; from then
// on what leaders of that leader's term and of later ones send.
//
//   - A leader of an earlier term may be one that this server had helped to
//     vote out, and would count an acknowledgement as a voter's.
//   - A leader of that term or a later one has the demotion in its log. The
//     demotion was stored, after the loss, by a majority of the other voters,
//     which meets every majority that could elect with a vote of this server
//     from before: a server in both either stored the demotion first, and then
//     refuses a candidate without it, or voted first, and then the demotion has
//     the later term.
//   - Asking the others for their highest term instead would not do: a vote
//     given before the loss may still be under way to a candidate, whose term
//     nobody else has heard of.
//
// Neither this nor the first term is kept on disk: Raft stores the term of the
// first message that it is let through, and after a restart waits for a leader
// to vouch again.
func (t *Transport) Vouch(id raft.ServerID, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.vouched[id] = number
}

// vouch returns what a message to id says in Leader; nil without anything.
func (t *Transport) vouch(id raft.ServerID) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := t.vouched[id]
	if number == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(bytes.Clone(vouchPrefix), number)
}

// follows reports whether a message that a leader sent in term may reach Raft;
// said is its Leader.
func (t *Transport) follows(term uint64, said []byte) bool {
	number := t.joining.Load()
	if number == 0 {
		return true
	}
	if rest, ok := bytes.CutPrefix(said, vouchPrefix); ok && len(rest) == 8 && binary.BigEndian.Uint64(rest) == number {
		t.floor.CompareAndSwap(0, term)
	}
	floor := t.floor.Load()
	return floor != 0 && term >= floor
}

// DropAppends turns the switch that makes all outgoing AppendEntries
// (heartbeats and pipelines included) and snapshots fail, so that a leader
// which handed over can no longer hold its followers.
func (t *Transport) DropAppends(on bool) { t.dropping.Store(on) }

// forward moves messages from the wire to Raft until Close, refusing those
// that a joining server must not see.
func (t *Transport) forward() {
	var told uint64 // the last commit that Raft was told of in advance
	for {
		select {
		case rpc := <-t.wire.Consumer():
			t.settle(rpc)
			switch {
			case t.joining.Load() != 0 && refuseJoining(rpc):
			case t.fromLeader(rpc):
				if t.known(rpc) {
					continue
				}
				if index := committedBefore(rpc); index > told {
					told = index
					t.enqueue(commitAlone(rpc, index))
				}
				t.enqueue(rpc)
			default:
				t.forwarder.Go(func() { t.hold(rpc) })
			}
		case <-t.stop:
			return
		}
	}
}

// committedBefore is up to where rpc says that the entries before its own are
// committed; 0 if it says nothing of the kind. Only what lies before the entry
// that Raft will compare is known to be the leader's too.
func committedBefore(rpc raft.RPC) uint64 {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || len(req.Entries) == 0 {
		return 0
	}
	return min(req.LeaderCommitIndex, req.PrevLogEntry)
}

// commitAlone is what rpc says about the entries up to index, as a message of its
// own. Raft looks at the commit index of a message when it has stored the entries
// that came with it, and whoever waits for the entries before them would wait for
// that write too. The leader might have sent both itself, one after the other.
func commitAlone(rpc raft.RPC, index uint64) raft.RPC {
	alone := *rpc.Command.(*raft.AppendEntriesRequest)
	alone.Entries, alone.LeaderCommitIndex = nil, index
	return raft.RPC{Command: &alone, RespChan: make(chan raft.RPCResponse, 1)}
}

// settle lets what a leader sends wait until this server, if it has led itself,
// has all of its own entries on disk: they may be among those that the leader
// takes for stored when it hears of a success (see ahead).
func (t *Transport) settle(rpc raft.RPC) {
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		if isHeartbeat(req) {
			return
		}
	case *raft.InstallSnapshotRequest:
	default:
		return
	}
	if t.raft.Load() != nil {
		t.logs.Settled(t.logs.Taken(), t.stop)
	}
}

// backed takes the word of the server called id that it has what this one sent
// it in req, and waits until Raft may count on it; see LogStore.Backed.
func (t *Transport) backed(id raft.ServerID, req *raft.AppendEntriesRequest, stop <-chan struct{}) bool {
	n := len(req.Entries)
	return n == 0 || t.raft.Load() == nil || t.logs.Backed(id, req.Term, req.Entries[n-1].Index, stop)
}

// fromLeader reports whether rpc is from a leader that this server may follow,
// or from no leader at all.
func (t *Transport) fromLeader(rpc raft.RPC) bool {
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		//lint:ignore SA1019 Raft's own use of the field is over
		return t.follows(req.Term, req.Leader)
	case *raft.InstallSnapshotRequest:
		return t.follows(req.Term, req.Leader)
	}
	return true
}

// hold waits whether rpc's leader may be followed soon, and refuses it if not.
func (t *Transport) hold(rpc raft.RPC) {
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	late := time.After(holdFor)
	for !t.fromLeader(rpc) {
		select {
		case <-tick.C:
		case <-late:
			afterSnapshot(rpc, func() { refuse(rpc, ErrNotVouched) })
			return
		case <-t.stop:
			refuse(rpc, raft.ErrTransportShutdown)
			return
		}
	}
	t.enqueue(rpc)
}

// afterSnapshot answers a message once the snapshot that comes with it, if one
// does, is read: what follows on its connection is not to be taken for a
// message. Neither other messages nor Close wait for that.
func afterSnapshot(rpc raft.RPC, answer func()) {
	if rpc.Reader == nil {
		answer()
		return
	}
	go func() {
		io.Copy(io.Discard, rpc.Reader)
		answer()
	}()
}

// refuseJoining answers an election message and reports whether it was one.
func refuseJoining(rpc raft.RPC) bool {
	switch rpc.Command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest, *raft.TimeoutNowRequest:
		refuse(rpc, ErrJoining)
		return true
	}
	return false
}

// enqueue hands rpc to Raft's main loop, unless the transport closes first.
func (t *Transport) enqueue(rpc raft.RPC) {
	select {
	case t.toRaft <- rpc:
	case <-t.stop:
		refuse(rpc, raft.ErrTransportShutdown)
	}
}

// refuse answers rpc with reason, and with an empty response of its type,
// which the in-memory transport insists on.
func refuse(rpc raft.RPC, reason error) {
	var resp any
	switch req := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		resp = &raft.AppendEntriesResponse{}
	case *raft.RequestVoteRequest:
		resp = &raft.RequestVoteResponse{Term: req.Term}
	case *raft.RequestPreVoteRequest:
		resp = &raft.RequestPreVoteResponse{Term: req.Term}
	case *raft.InstallSnapshotRequest:
		resp = &raft.InstallSnapshotResponse{}
	case *raft.TimeoutNowRequest:
		resp = &raft.TimeoutNowResponse{}
	}
	rpc.Respond(resp, reason)
}

// Consumer returns the channel that Raft reads its messages from.
func (t *Transport) Consumer() <-chan raft.RPC { return t.toRaft }

// Close closes the wire and all pipelines, and answers what still waits for
// Raft with ErrTransportShutdown.
func (t *Transport) Close() error {
	var err error
	t.stopOnce.Do(func() {
		close(t.stop)
		t.forwarder.Wait()
		t.mu.Lock()
		open := t.pipelines
		t.pipelines = nil
		t.mu.Unlock()
		for p := range open {
			p.Close()
		}
		for {
			select {
			case rpc := <-t.toRaft:
				refuse(rpc, raft.ErrTransportShutdown)
				continue
			default:
			}
			break
		}
		err = t.wire.Close()
	})
	return err
}

// SetHeartbeatHandler installs Raft's fast path for heartbeats behind guard
// A: it is taken only while this server is a follower in the heartbeat's own
// term. Outside that, the library would change term and state beside its main
// loop, and a leader waiting there would store its next entry under the next
// leader's term. All other heartbeats go through Consumer.
func (t *Transport) SetHeartbeatHandler(fast func(raft.RPC)) {
	if fast == nil {
		t.wire.SetHeartbeatHandler(nil)
		return
	}
	t.wire.SetHeartbeatHandler(func(rpc raft.RPC) {
		switch {
		case planted(PlantNoGuardA):
			fast(rpc)
		case !t.fromLeader(rpc):
			refuse(rpc, ErrNotVouched)
		case !t.fastHeartbeat(rpc, fast):
			t.enqueue(rpc)
		}
	})
}

// fastHeartbeat runs the fast path if it is allowed and reports whether it was.
func (t *Transport) fastHeartbeat(rpc raft.RPC, fast func(raft.RPC)) bool {
	r := t.raft.Load()
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if r == nil || !ok {
		return false
	}
	if t.votes != nil {
		// Between the check and the end of fast the main loop may become
		// a candidate, and fast would then write this term over the next.
		defer t.votes.holdTerm()()
	}
	if r.State() != raft.Follower || req.Term != r.CurrentTerm() {
		return false
	}
	fast(rpc)
	return true
}

// LocalAddr returns the wire's own address.
func (t *Transport) LocalAddr() raft.ServerAddress { return t.wire.LocalAddr() }

// EncodePeer implements raft.Transport.
func (t *Transport) EncodePeer(id raft.ServerID, addr raft.ServerAddress) []byte {
	return t.wire.EncodePeer(id, addr)
}

// DecodePeer implements raft.Transport.
func (t *Transport) DecodePeer(b []byte) raft.ServerAddress { return t.wire.DecodePeer(b) }

// AppendEntries implements raft.Transport; DropAppends makes it fail. Pipelines
// and snapshots need not vouch: heartbeats do.
//
// Entries that do not arrive are sent again and again. The library would do the
// same, but after pauses that grow to ten seconds, the last of which a server
// that comes back would have to wait for.
func (t *Transport) AppendEntries(id raft.ServerID, addr raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if t.dropping.Load() {
		return ErrAppendsDropped
	}
	for {
		err := t.wire.AppendEntries(id, addr, t.vouching(id, req), resp)
		if err == nil && resp.Success && !t.backed(id, req, t.stop) {
			return ErrNotBacked
		}
		if err == nil || isHeartbeat(req) || !t.replicatesTo(id, req.Term) {
			return err
		}
		select {
		case <-time.After(resendAfter):
		case <-t.stop:
			return err
		}
	}
}

// vouching is req with what there is to vouch for.
func (t *Transport) vouching(id raft.ServerID, req *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	said := t.vouch(id)
	if said == nil {
		return req
	}
	with := *req
	//lint:ignore SA1019 Raft's own use of the field is over
	with.Leader = said
	return &with
}

// resendAfter is the pause before entries are sent again that did not arrive.
const resendAfter = 100 * time.Millisecond

// isHeartbeat is how the library tells heartbeats from replication.
func isHeartbeat(req *raft.AppendEntriesRequest) bool {
	return len(req.Entries) == 0 && req.PrevLogEntry == 0 && req.PrevLogTerm == 0 && req.LeaderCommitIndex == 0
}

// replicatesTo reports whether this server's Raft leads in term, holds nothing
// back, and has id among its servers.
func (t *Transport) replicatesTo(id raft.ServerID, term uint64) bool {
	r := t.raft.Load()
	if r == nil || r.State() != raft.Leader || r.CurrentTerm() != term || t.dropping.Load() {
		return false
	}
	f := r.GetConfiguration()
	return f.Error() == nil && slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}

// InstallSnapshot implements raft.Transport; DropAppends makes it fail.
func (t *Transport) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.dropping.Load() {
		return ErrAppendsDropped
	}
	began := time.Now()
	err := t.wire.InstallSnapshot(id, addr, req, resp, data)
	t.sent(time.Since(began), err)
	return err
}

// RequestVote implements raft.Transport. The request is sent again at once
// when a pooled connection turns out dead: the library asks only once per
// election, and all connections to a restarted peer are dead.
func (t *Transport) RequestVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.mayStand(); err != nil {
		return err
	}
	return t.retry(func() error { return t.wire.RequestVote(id, addr, req, resp) })
}

// RequestPreVote implements raft.WithPreVote, with repeats as RequestVote.
func (t *Transport) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.mayStand(); err != nil {
		return err
	}
	return t.retry(func() error { return t.wire.RequestPreVote(id, addr, req, resp) })
}

// mayStand returns why this server may not ask for votes: it is joining, or its
// disk has given up what it wrote as a leader. Its log is then the longest, and
// nobody would stop it from leading again.
func (t *Transport) mayStand() error {
	if t.joining.Load() != 0 {
		return ErrJoining
	}
	if t.raft.Load() != nil && t.logs.Taken() != 0 && t.logs.Stalled() > stallLimit {
		return ErrStalled
	}
	return nil
}

// retry calls send until it returns anything but a dead connection's error.
func (t *Transport) retry(send func() error) error {
	var err error
	for range t.tries {
		if err = send(); !deadConnection(err) {
			return err
		}
	}
	return err
}

// deadConnection reports whether err says that the peer closed or reset an
// existing connection. A refused dial and a timeout do not: repeating those
// costs time and changes nothing.
func deadConnection(err error) bool {
	// go-msgpack hides what it met while decoding from errors.Is.
	if c, ok := err.(interface{ Cause() error }); ok {
		err = c.Cause()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// TimeoutNow implements raft.Transport: Raft's own leadership transfer.
func (t *Transport) TimeoutNow(id raft.ServerID, addr raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	if t.joining.Load() != 0 {
		return ErrJoining
	}
	return t.wire.TimeoutNow(id, addr, req, resp)
}

// SendTimeoutNow asks the server id at addr to stand for election at once,
// past Raft's main loop, which in a leader with a stalled disk hangs. The
// peer skips pre-vote and the others vote although they know a leader. A
// connection found dead is replaced as for votes.
func (t *Transport) SendTimeoutNow(id raft.ServerID, addr raft.ServerAddress) error {
	req := &raft.TimeoutNowRequest{RPCHeader: t.header()}
	err := t.retry(func() error { return t.TimeoutNow(id, addr, req, &raft.TimeoutNowResponse{}) })
	if err != nil {
		return fmt.Errorf("ask server %s to stand for election: %w", id, err)
	}
	return nil
}

// InjectTimeoutNow makes this server's own Raft stand for election at once,
// without pre-vote. It does so only as a follower that has a vote in its
// latest configuration; a nonvoter would only disturb the term. It returns
// when Raft has taken the message.
func (t *Transport) InjectTimeoutNow() error {
	r := t.raft.Load()
	switch {
	case r == nil || r.State() != raft.Follower:
		return ErrNotFollower
	case t.joining.Load() != 0:
		return ErrJoining
	case !t.voter(r):
		return fmt.Errorf("server %s has no vote", t.id)
	}
	answer := make(chan raft.RPCResponse, 1)
	t.enqueue(raft.RPC{
		Command:  &raft.TimeoutNowRequest{RPCHeader: t.header()},
		RespChan: answer,
	})
	select {
	case a := <-answer:
		return a.Error
	case <-t.stop:
		return raft.ErrTransportShutdown
	}
}

// voter reports whether r's latest configuration gives this server a vote.
func (t *Transport) voter(r *raft.Raft) bool {
	f := r.GetConfiguration()
	if f.Error() != nil {
		return false
	}
	for _, s := range f.Configuration().Servers {
		if s.ID == t.id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

// header is the header of a message that this transport makes itself.
func (t *Transport) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(t.id),
		Addr:            t.wire.EncodePeer(t.id, t.wire.LocalAddr()),
	}
}
