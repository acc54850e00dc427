package fsm

import (
	"hash/maphash"
	"math/bits"
)

const (
	shardBits     = 12
	minShardSlots = 8
)

// index finds a node by its parent and name. It is split into so many small
// open hashes that growing one never holds up a batch. The hash is seeded per
// process against chosen names; nothing in the state depends on it.
type index struct {
	seed   maphash.Seed
	shards []shard
}

// shard is an open hash with linear probing. A slot holds the low half of the
// hash above the node's id; 0 is empty.
type shard struct {
	slots []uint64
	used  int
}

func newIndex() index {
	return index{seed: maphash.MakeSeed(), shards: make([]shard, 1<<shardBits)}
}

func (x *index) hash(parent nodeID, name string) uint64 {
	hi, lo := bits.Mul64(maphash.String(x.seed, name)^uint64(parent)*mixA, mixB)
	return hi ^ lo
}

func (x *index) find(s *slab, parent nodeID, name string) nodeID {
	h := x.hash(parent, name)
	sh := &x.shards[h>>(64-shardBits)]
	if sh.used == 0 {
		return 0
	}
	mask := uint32(len(sh.slots) - 1)
	for i := uint32(h) & mask; sh.slots[i] != 0; i = (i + 1) & mask {
		if uint32(sh.slots[i]>>32) != uint32(h) {
			continue
		}
		id := nodeID(sh.slots[i])
		if r := s.at(id); r.parent == parent && r.name() == name {
			return id
		}
	}
	return 0
}

// insert adds a node whose name its parent does not have yet.
func (x *index) insert(parent nodeID, name string, id nodeID) {
	h := x.hash(parent, name)
	sh := &x.shards[h>>(64-shardBits)]
	if (sh.used+1)*4 > len(sh.slots)*3 {
		sh.resize(max(minShardSlots, 2*len(sh.slots)))
	}
	sh.place(h<<32 | uint64(id))
	sh.used++
}

func (x *index) remove(parent nodeID, name string, id nodeID) {
	h := x.hash(parent, name)
	sh := &x.shards[h>>(64-shardBits)]
	mask := uint32(len(sh.slots) - 1)
	want := h<<32 | uint64(id)
	hole := uint32(h) & mask
	for sh.slots[hole] != want {
		hole = (hole + 1) & mask
	}
	// Move later entries of the run back over the hole, so that no search
	// ends early at it.
	for i := (hole + 1) & mask; sh.slots[i] != 0; i = (i + 1) & mask {
		home := uint32(sh.slots[i]>>32) & mask
		if (i-home)&mask >= (i-hole)&mask {
			sh.slots[hole] = sh.slots[i]
			hole = i
		}
	}
	sh.slots[hole] = 0
	sh.used--
	if len(sh.slots) > minShardSlots && sh.used*8 < len(sh.slots) {
		sh.resize(len(sh.slots) / 2)
	}
}

func (sh *shard) place(slot uint64) {
	mask := uint32(len(sh.slots) - 1)
	i := uint32(slot>>32) & mask
	for sh.slots[i] != 0 {
		i = (i + 1) & mask
	}
	sh.slots[i] = slot
}

func (sh *shard) resize(n int) {
	old := sh.slots
	sh.slots = make([]uint64, n)
	for _, slot := range old {
		if slot != 0 {
			sh.place(slot)
		}
	}
}
