package replica

import (
	"sort"

	"github.com/hashicorp/raft"
)

// known deals with what a leader sends that this server has already, and
// reports whether nothing is left of it for Raft. The library would take it
// again, and come to harm where the leader has little of its log left
// (coordd.trailingLogs) and does not know how far this server is:
//
//   - A snapshot of less than is applied sets it back. It drops the log behind
//     the snapshot, and panics at the next commit ("log not found").
//   - So does a snapshot of less than its log has, after which it goes on with
//     a last index that is not in the log, and refuses all entries.
//   - It refuses entries behind one that only its own snapshot still has.
//
// What is applied is committed, and every leader has it (Raft, 5.4.3); and a
// log with the snapshot's last entry has all before it (Raft, 7).
func (t *Transport) known(rpc raft.RPC) bool {
	r := t.raft.Load()
	snapshot, isSnapshot := rpc.Command.(*raft.InstallSnapshotRequest)
	if r == nil && isSnapshot {
		afterSnapshot(rpc, func() { refuse(rpc, ErrNotStarted) })
		return true
	}
	if r == nil {
		return false
	}
	term, applied := r.CurrentTerm(), r.AppliedIndex()
	if r.State() != raft.Follower {
		return false
	}
	if isSnapshot {
		return t.knownSnapshot(r, rpc, snapshot, term, applied)
	}
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok || req.Term != term {
		return false
	}
	n := sort.Search(len(req.Entries), func(i int) bool { return req.Entries[i].Index > applied })
	if n == 0 {
		return false
	}
	if n == len(req.Entries) {
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: t.header(), Term: term, LastLog: r.LastIndex(), Success: true}, nil)
		return true
	}
	last := req.Entries[n-1]
	req.PrevLogEntry, req.PrevLogTerm, req.Entries = last.Index, last.Term, req.Entries[n:]
	return false
}

func (t *Transport) knownSnapshot(r *raft.Raft, rpc raft.RPC, req *raft.InstallSnapshotRequest, term, applied uint64) bool {
	if req.Term == term && (req.LastLogIndex <= applied || t.logReaches(req, applied)) {
		resp := &raft.InstallSnapshotResponse{RPCHeader: t.header(), Term: term, Success: true}
		afterSnapshot(rpc, func() { rpc.Respond(resp, nil) })
		return true
	}
	if r.LastIndex() > req.LastLogIndex {
		t.restartAfter(&rpc)
		t.enqueue(rpc)
		return true
	}
	return false
}

// logReaches reports whether the log goes on from what is applied to the
// snapshot's last entry.
func (t *Transport) logReaches(req *raft.InstallSnapshotRequest, applied uint64) bool {
	first, err := t.logs.FirstIndex()
	if err != nil || first == 0 || first > applied+1 {
		return false
	}
	var l raft.Log
	return t.logs.GetLog(req.LastLogIndex, &l) == nil && l.Term == req.LastLogTerm
}

// restartAfter has Raft started again once it has taken a snapshot in place of
// a log that went on differently: it would keep that log's last index.
func (t *Transport) restartAfter(rpc *raft.RPC) {
	asked, answer := rpc.RespChan, make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	t.forwarder.Go(func() {
		select {
		case a := <-answer:
			asked <- a
			if resp, ok := a.Response.(*raft.InstallSnapshotResponse); ok && resp.Success && a.Error == nil {
				t.restart(ErrLogReplaced)
			}
		case <-t.stop:
		}
	})
}
