package watch

// none is the id that no record has.
const none uint32 = 0

// chunkRecords is how many records are allocated at once.
const chunkRecords = 512

// slab holds records addressed by a small id. Records never move, and growth
// copies nothing but the list of chunks.
type slab[T any] struct {
	chunks []*[chunkRecords]T
	next   uint32 // the lowest id never used
	free   []uint32
}

// at returns the record of an id that alloc gave out.
func (s *slab[T]) at(id uint32) *T { return &s.chunks[id/chunkRecords][id%chunkRecords] }

// alloc returns the id of a record that is not in use; its content is stale.
func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.next = max(s.next, none+1)
	if int(s.next/chunkRecords) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkRecords]T))
	}
	s.next++
	return s.next - 1
}

// release makes the record of id free for use again.
func (s *slab[T]) release(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free = append(s.free, id)
}

// shards is the number of tables of an index. Each grows on its own, so that
// no growth takes long.
const shards = 256

// index finds ids by a hash of what they stand for. The tables are open
// addressed with linear probing; hash must give the hash an id was added with.
type index struct {
	tables [shards]table
}

type table struct {
	slots []uint32 // a power of two of them, or nil
	used  int
}

func (x *index) table(hash uint32) *table { return &x.tables[hash%shards] }

// home is the slot that a hash wants.
func (t *table) home(hash uint32) int { return int(hash/shards) & (len(t.slots) - 1) }

// after is the slot that follows slot i.
func (t *table) after(i int) int { return (i + 1) & (len(t.slots) - 1) }

// find returns the id with the given hash that match accepts, or none.
func (x *index) find(hash uint32, match func(id uint32) bool) uint32 {
	t := x.table(hash)
	if t.used == 0 {
		return none
	}
	for i := t.home(hash); t.slots[i] != none; i = t.after(i) {
		if match(t.slots[i]) {
			return t.slots[i]
		}
	}
	return none
}

// add adds an id that is not in the index.
func (x *index) add(hash, id uint32, hashOf func(id uint32) uint32) {
	t := x.table(hash)
	if t.used >= len(t.slots)*3/4 {
		old := t.slots
		t.slots = make([]uint32, max(8, 2*len(old)))
		for _, id := range old {
			if id != none {
				t.put(hashOf(id), id)
			}
		}
	}
	t.put(hash, id)
	t.used++
}

func (t *table) put(hash, id uint32) {
	i := t.home(hash)
	for t.slots[i] != none {
		i = t.after(i)
	}
	t.slots[i] = id
}

// remove removes an id that is in the index, and moves up those behind it that
// had wanted its slot.
func (x *index) remove(hash, id uint32, hashOf func(id uint32) uint32) {
	t := x.table(hash)
	hole := t.home(hash)
	for t.slots[hole] != id {
		hole = t.after(hole)
	}
	for i := t.after(hole); t.slots[i] != none; i = t.after(i) {
		// An id may move up unless its home lies after the hole.
		distance := (i - t.home(hashOf(t.slots[i]))) & (len(t.slots) - 1)
		if distance >= (i-hole)&(len(t.slots)-1) {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = none
	t.used--
}
