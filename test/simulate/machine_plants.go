//go:build simulate

package simulate

import (
	"bytes"
	"maps"
	"slices"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/replica"
)

// plant is a fault of the product that is put in to see that it is found.
type plant int

const (
	plantNothing plant = iota
	plantNoTable
	plantTableLost
	plantLateWatch
	plantEarlyAnswer
	plantHalfMulti
	plantStrayEphemeral
	plants
)

func (p plant) String() string {
	return [...]string{"nothing", "the exactly-once table is ignored", "the exactly-once table is lost in a snapshot", "a watch is told after the reply",
		"an answer before the log is agreed", "a snapshot has half a multi", "an ephemeral stays behind on one server"}[p]
}

// plantMachine plants what concerns a new state of a server.
func (w *world) plantMachine(p *life, restored bool) {
	switch {
	case w.plant == plantNoTable:
		p.sim.Machine().IgnoreStreamTable()
	case w.plant == plantTableLost && restored:
		p.sim.Machine().LoseStreamTable()
	default:
		return
	}
	w.planted = true
}

// plantEphemeral lets the first server forget whose an ephemeral is.
func (w *world) plantEphemeral(p *life) {
	if w.plant != plantStrayEphemeral || p.id != 1 || p.applied%16 != 0 {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(w.model.sessions)) {
		for _, path := range slices.Sorted(maps.Keys(w.model.sessions[id].ephemerals)) {
			if p.sim.Machine().LoseEphemeral(path) {
				w.planted = true
				return
			}
		}
	}
}

// plantEarly lets the leader apply what it has only proposed.
func (w *world) plantEarly(data []byte) {
	p := w.reign.p
	if w.plant != plantEarlyAnswer || len(w.proposed) != 1 || p.applied < 200 || p.applied != w.committed() {
		return
	}
	w.planted = true
	p.early = true
	p.sim.Apply([]replica.Entry{{Index: p.applied + 1, Term: w.reign.term, Data: data}})
	p.early = false
}

// plantHalf lets a snapshot have the first half of a multi that is in the entry
// behind it.
func (w *world) plantHalf(p *life, index uint64, snapshot []byte) []byte {
	if w.plant != plantHalfMulti || index == w.committed() {
		return snapshot
	}
	next := w.entry(index + 1)
	half, ok := halve(next.data)
	if !ok {
		return snapshot
	}
	m, err := fsm.Restore(bytes.NewReader(snapshot))
	if err != nil {
		w.fail("snapshots", "%v", err)
	}
	if err := m.Apply(next.index, next.term, half, nowhere{}); err != nil {
		w.fail("log", "%v", err)
	}
	var out bytes.Buffer
	s := m.Snapshot()
	defer s.Release()
	if err := s.WriteTo(&out, unlocked{}); err != nil {
		w.fail("snapshots", "%v", err)
	}
	w.planted = true
	return out.Bytes()
}

// canHalve reports whether the fault can be planted in a snapshot that is made now.
func (w *world) canHalve(p *life) bool {
	if w.plant != plantHalfMulti || p.applied < 200 || p.applied == w.committed() || p.applied+1 < w.base {
		return false
	}
	_, ok := halve(w.entry(p.applied + 1).data)
	return ok
}

// halve makes an entry of the first half of the first multi in an entry.
func halve(data []byte) ([]byte, bool) {
	f := fields(data)
	f.byte()
	out := fsm.NewEntry(int64(f.long()))
	for len(f) > 0 {
		kind := f.byte()
		item := fields(f.bytes())
		if kind != itemBatch {
			continue
		}
		item.byte()
		b := fsm.Batch{ID: fsm.BatchID{Server: item.byte(), Incarnation: item.long(), Seq: item.long()}}
		n, lists := item.int(), item.int()
		for range lists {
			var ids []protocol.ID
			for range item.int() {
				ids = append(ids, protocol.ID{Scheme: string(item.bytes()), ID: string(item.bytes())})
			}
			b.Identities = append(b.Identities, ids)
		}
		for range n {
			r := fsm.Request{Session: int64(item.long()), Epoch: item.bits(), Op: protocol.OpCode(item.int()), Identities: item.int(), Body: item.bytes()}
			var multi protocol.MultiRequest
			d := protocol.NewDecoder(r.Body)
			if r.Op == protocol.OpMulti {
				multi.Decode(&d)
			}
			if len(multi.Ops) < 2 {
				continue
			}
			multi.Ops = multi.Ops[:len(multi.Ops)/2]
			r.Body = multi.AppendTo(nil)
			b.Requests = []fsm.Request{r}
			out.Batch(b.AppendTo(nil))
			return out.Bytes(), true
		}
	}
	return nil, false
}

// nowhere takes what nobody wants to know.
type nowhere struct{}

func (nowhere) Batch(fsm.BatchID, int, fsm.Verdict, protocol.ErrCode) bool { return false }
func (nowhere) Result(int, *fsm.Result)                                    {}
func (nowhere) Event(*fsm.Event)                                           {}
func (nowhere) SessionOpened(int64, int32, uint8, uint32)                  {}
func (nowhere) SessionClosed(int64)                                        {}
func (nowhere) Began(uint8, uint64, uint64, bool)                          {}
func (nowhere) Admitted(uint8, uint64)                                     {}
func (nowhere) ClusterID([16]byte)                                         {}

type unlocked struct{}

func (unlocked) RLock()   {}
func (unlocked) RUnlock() {}
