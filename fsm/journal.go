package fsm

// saved is a record as it was before a change.
type saved struct {
	id  nodeID
	old record
}

// journal collects the old records of a running multi.
type journal struct {
	running bool
	saved   []saved
	totals  totals
	resting int // slots that rested at the start
}

// begin starts a transaction: what follows until commit or rollback is undone
// by rollback. Transactions do not nest.
func (t *tree) begin() {
	t.journal.running = true
	t.journal.totals = t.totals
	t.journal.resting = len(t.slab.resting)
}

// commit ends the transaction and keeps its changes.
func (t *tree) commit() { t.journal.end() }

// rollback ends the transaction and puts everything back as it was at begin.
func (t *tree) rollback() {
	t.slab.resting = t.slab.resting[:t.journal.resting]
	for i := len(t.journal.saved) - 1; i >= 0; i-- {
		t.putBack(&t.journal.saved[i])
	}
	t.totals = t.journal.totals
	t.journal.end()
}

func (j *journal) end() {
	j.running = false
	clear(j.saved) // lets go of the strings
	j.saved = j.saved[:0]
	if cap(j.saved) > 1<<14 {
		j.saved = nil
	}
}

// putBack gives a slot its old record. A slot freed in a transaction rests
// until after it, so a live record is never replaced by another node's.
func (t *tree) putBack(s *saved) {
	r := t.slab.at(s.id)
	was := r.live()
	if was {
		t.detach(s.id, r)
	}
	if was && !s.old.live() {
		t.index.remove(r.parent, r.name(), s.id)
		t.slab.resting = append(t.slab.resting, s.id)
	}
	*r = s.old
	if r.live() {
		t.attach(s.id, r)
	}
	if r.live() && !was {
		t.index.insert(r.parent, r.name(), s.id)
	}
}

// save must come before the first change of a slot's record: it keeps the old
// one for every running snapshot that has not reached it and for the running
// transaction.
func (t *tree) save(id nodeID) {
	for _, s := range t.snapshots {
		s.save(id, t.slab.at(id))
	}
	if t.journal.running {
		t.journal.saved = append(t.journal.saved, saved{id, *t.slab.at(id)})
	}
}
