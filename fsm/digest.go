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
	n := uint64(len(p))
	for len(p) >= 8 {
		h = mix(h+mixA, binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	var tail uint64
	for i, c := range p {
		tail |= uint64(c) << (8 * i)
	}
	return mix(h^n, tail+mixA)
}

// setContent renews what is kept of the path and data for both digests.
func (r *record) setContent(path, data []byte) {
	r.crc = crc32.Update(crc32.ChecksumIEEE(path), crc32.IEEETable, data)
	r.content = mixBytes(mixBytes(mixA, path), data)
	if r.null() {
		r.content = mix(r.content, mixA)
	}
}

// zooKeeperSum is the node's share of ZooKeeper's digest, version 2
// (DigestCalculator): CRC-32 over path, data and the stored stat.
func (r *record) zooKeeperSum() uint64 {
	if r.flags&flagHidden != 0 {
		return 0
	}
	var b [60]byte
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
