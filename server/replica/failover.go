package replica

import (
	"context"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// How survivors of a leader's death agree on who stands for election.
const (
	askTimeout  = 100 * time.Millisecond // a survivor that takes longer is passed over
	nextInTurn  = 400 * time.Millisecond // how much later than the one before it each survivor stands
	pollLeader  = 5 * time.Millisecond   // how often one that waits its turn looks for a leader
	statLastLog = "last_log"             // prefixes of raft.Stats' keys
	statSnap    = "last_snapshot"
)

// Survivor is where one server stands when a leader has died.
type Survivor struct {
	ID        uint8
	Leader    uint8 // whom it takes for leader; 0 = none
	Voter     bool  // reports whether it may stand for election
	Term      uint64
	LastTerm  uint64 // of its last log entry
	LastIndex uint64
}

// Peers asks the other servers where they stand.
type Peers interface {
	// Ask asks every other voter about the death of lost. The channel gives
	// their answers as they come and is closed once all have answered or ctx
	// has ended.
	Ask(ctx context.Context, lost uint8) <-chan Survivor
}

// Standing returns where this server stands, and whether it is a follower.
// Before Attach it is neither voter nor follower.
func (t *Transport) Standing() (me Survivor, follower bool) {
	me.ID = memberID(t.id)
	r := t.raft.Load()
	if r == nil {
		return me, false
	}
	_, leader := r.LeaderWithID()
	if leader != "" {
		me.Leader = memberID(leader)
	}
	me.Voter = t.joining.Load() == 0 && t.voter(r)
	me.Term = r.CurrentTerm()
	me.LastTerm, me.LastIndex = lastEntry(r)
	return me, r.State() == raft.Follower
}

// lastEntry returns term and index of the last entry in r's log or snapshot.
func lastEntry(r *raft.Raft) (term, index uint64) {
	stats := r.Stats() // the library tells the last term nowhere else
	for _, s := range []string{statLastLog, statSnap} {
		i, _ := strconv.ParseUint(stats[s+"_index"], 10, 64)
		n, _ := strconv.ParseUint(stats[s+"_term"], 10, 64)
		if i > index {
			term, index = n, i
		}
	}
	return term, index
}

// Failover elects a successor once the leader lost is known to be dead; every
// survivor calls it. They tell each other where they stand; the one with the
// largest (last term, last index) stands for election at once, ties go to the
// lowest id, and the others stand in that order, each only if there is no
// leader still when its turn comes. It reports whether this server stood.
//
// Standing skips pre-vote and the others' loyalty to the leader they know, so
// lost must really be dead. It is safe in any case, as every election is; who
// waits for his turn and hears from lost meanwhile stays put. With too few
// survivors for a quorum it asks again until ctx ends, and nobody stands: the
// timeouts, which disturb no term, may be faster.
func (t *Transport) Failover(ctx context.Context, lost uint8, peers Peers) (stood bool) {
	start := time.Now()
	waiting := func() (Survivor, bool) {
		me, follower := t.Standing()
		return me, follower && me.Voter && leaderless(me, lost) && !t.heardSince(start.Add(askTimeout))
	}
	var me Survivor
	var others []Survivor
	for {
		var ok bool
		if me, ok = waiting(); !ok {
			return false
		}
		if others = surviving(ctx, peers, lost, me.ID); len(others)+1 >= t.quorum() {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.stop:
			return false
		case <-time.After(pollLeader):
		}
	}
	turn := time.After(time.Duration(rank(me, others)) * nextInTurn)
	for {
		if _, ok := waiting(); !ok {
			return false
		}
		select {
		case <-turn:
			return t.InjectTimeoutNow() == nil
		case <-ctx.Done():
			return false
		case <-t.stop:
			return false
		case <-time.After(pollLeader):
		}
	}
}

// surviving are those of the others who answer in time and may stand.
func surviving(ctx context.Context, peers Peers, lost, self uint8) (others []Survivor) {
	ctx, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	for s := range peers.Ask(ctx, lost) {
		if s.Voter && s.ID != lost && s.ID != self {
			others = append(others, s)
		}
	}
	return others
}

// heardSince reports whether a leader has been heard from after at. What the
// dead one sent last may take a moment to be dealt with.
func (t *Transport) heardSince(at time.Time) bool { return t.raft.Load().LastContact().After(at) }

// leaderless reports whether s knows no leader but the one that is lost.
func leaderless(s Survivor, lost uint8) bool { return s.Leader == 0 || s.Leader == lost }

// rank returns how many of others are to stand before me.
func rank(me Survivor, others []Survivor) int {
	n := 0
	for _, o := range others {
		switch {
		case o.LastTerm != me.LastTerm:
			if o.LastTerm > me.LastTerm {
				n++
			}
		case o.LastIndex != me.LastIndex:
			if o.LastIndex > me.LastIndex {
				n++
			}
		case o.ID < me.ID:
			n++
		}
	}
	return n
}

// quorum returns how many votes an election takes.
func (t *Transport) quorum() int {
	f := t.raft.Load().GetConfiguration()
	voters := 0
	if f.Error() == nil {
		for _, s := range f.Configuration().Servers {
			if s.Suffrage == raft.Voter {
				voters++
			}
		}
	}
	return voters/2 + 1
}
