package fsm

// nodeID is a znode's slot in the slab; 0 is none. A slot's number is this
// server's own affair: it differs between replicas once one has been restored
// from a snapshot.
type nodeID uint32

const rootID nodeID = 1

// record is the fixed-size part of a znode. Whoever changes one goes through
// tree.update or another method of tree, so that a running snapshot, a running
// multi and the digests learn of it.
type record struct {
	czxid, mzxid, pzxid int64
	ctime, mtime        int64 // leader's wall clock, ms
	// owner is ZooKeeper's stored ephemeralOwner: 0, a session id,
	// containerMark, or ttlMark with the milliseconds below it.
	owner int64
	// str is the name followed by the data, one immutable string: a reader may
	// keep parts of it after it has let go of the lock.
	str string
	// content is the hash over path, data and nullness that stateDigest uses;
	// crc is CRC-32 over path and data, where ZooKeeper's digest starts.
	content uint64
	crc     uint32
	nameLen uint32
	version int32
	// creates is the stored cversion: it counts the children ever created.
	creates  int32
	aversion int32
	acl      aclID

	parent, firstChild, next, prev nodeID

	children int32
	flags    recordFlags
}

type recordFlags uint8

const (
	flagLive   recordFlags = 1 << iota // the slot holds a znode
	flagNull                           // data is null, not empty
	flagHidden                         // below /zookeeper: ZooKeeper's digest leaves it out
)

func (r *record) live() bool { return r.flags&flagLive != 0 }

func (r *record) name() string { return r.str[:r.nameLen] }

func (r *record) data() string { return r.str[r.nameLen:] }

func (r *record) null() bool { return r.flags&flagNull != 0 }

const (
	// containerMark is the owner of a container node, the top byte ttlMark
	// that of a TTL node (org.apache.zookeeper.server.EphemeralType).
	containerMark = -1 << 63
	ttlMark       = -1 << 56
)

func isContainer(owner int64) bool { return owner == containerMark }

func isTTL(owner int64) bool { return owner&ttlMark == ttlMark }

// ephemeralOwner is the session that owns a node of this stored owner, or 0.
func ephemeralOwner(owner int64) int64 {
	if isContainer(owner) || isTTL(owner) {
		return 0
	}
	return owner
}

// 1024 records of 120 bytes fill whole pages; 512 would waste half a page.
const (
	chunkBits  = 10
	chunkSlots = 1 << chunkBits
)

// slab holds the records in chunks that never move.
type slab struct {
	chunks []*[chunkSlots]record
	// limit is the lowest slot never used.
	limit nodeID
	free  []nodeID
	// resting slots were freed since the last quiesce. Whoever refers to a node
	// by slot still means the old one there, so they are not used again yet.
	resting []nodeID
}

func (s *slab) at(id nodeID) *record {
	return &s.chunks[id>>chunkBits][id%chunkSlots]
}

// take returns a free slot, with a zero record.
func (s *slab) take() nodeID {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	id := s.limit
	if int(id>>chunkBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSlots]record))
	}
	s.limit++
	return id
}

func (s *slab) wake() {
	s.free = append(s.free, s.resting...)
	s.resting = s.resting[:0]
}
