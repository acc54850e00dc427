package fsm

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Odd constants with well spread bits, from the digits of the golden ratio and
// of wyhash.
const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xa0761d6478bd642f
	mixC = 0xe7037ed1a0b428db
)

// mix folds two words into one. Unlike the index's hash it is the same in
// every process.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^mixB, b^mixC)
	return hi ^ lo
}

// mixBytes continues the hash h with p and its length.
func mixBytes(h uint64, p []byte) uint64 {
	return mixTail(mixWords(h, p), p)
}

// mixWords continues the hash h with the whole words of p.
func mixWords(h uint64, p []byte) uint64 {
	for len(p) >= 8 {
		h = mix(h+mixA, binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	return h
}

// mixTail ends the hash h over the whole words of p.
func mixTail(h uint64, p []byte) uint64 {
	var tail uint64
	for i, c := range p[len(p)&^7:] {
		tail |= uint64(c) << (8 * i)
	}
	return mix(h^uint64(len(p)), tail+mixA)
}

// pathSum is how far a path has been hashed, for both digests, so that longer
// ones that begin with it can go on from there.
type pathSum struct {
	n     int    // bytes of the path
	words uint64 // mixWords over it
	crc   uint32
}

// noPath is the sum of the empty path.
var noPath = pathSum{words: mixA}

// extend returns the sum of path, which begins with the path that s is of.
func (s pathSum) extend(path []byte) pathSum {
	return pathSum{len(path), mixWords(s.words, path[s.n&^7:]), crc32.Update(s.crc, crc32.IEEETable, path[s.n:])}
}

// setContent renews what is kept of the path, whose sum is given, and data for
// both digests.
func (r *record) setContent(sum pathSum, path, data []byte) {
	r.crc = crc32.Update(sum.crc, crc32.IEEETable, data)
	r.content = mixBytes(mixTail(sum.words, path), data)
	if r.null() {
		r.content = mix(r.content, mixA)
	}
}

// statBytes is the length of a stored stat as ZooKeeper's digest takes it.
const statBytes = 60

// zooKeeperSum is the node's share of ZooKeeper's digest, version 2
// (DigestCalculator): CRC-32 over path, data and the stored stat. It needs b
// for the stat's bytes, which would escape to the heap here.
func (r *record) zooKeeperSum(b *[statBytes]byte) uint64 {
	if r.flags&flagHidden != 0 {
		return 0
	}
	for i, v := range [...]int64{r.czxid, r.mzxid, r.pzxid, r.ctime, r.mtime} {
		binary.BigEndian.PutUint64(b[8*i:], uint64(v))
	}
	for i, v := range [...]int32{r.version, r.creates, r.aversion} {
		binary.BigEndian.PutUint32(b[40+4*i:], uint32(v))
	}
	binary.BigEndian.PutUint64(b[52:], uint64(r.owner))
	return uint64(crc32.Update(r.crc, crc32.IEEETable, b[:]))
}

// stateSum is the node's share of stateDigest.
func (r *record) stateSum(acl uint64) uint64 {
	h := mix(r.content, acl)
	for _, v := range [...]int64{r.czxid, r.mzxid, r.pzxid, r.ctime, r.mtime, r.owner, int64(r.version)} {
		h = mix(h+mixA, uint64(v))
	}
	return mix(h+mixA, uint64(uint32(r.creates))<<32|uint64(uint32(r.aversion)))
}
