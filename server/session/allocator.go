package session

import "sync/atomic"

// The parts of a session id, from the low end: a counter, the low bits of the
// server's incarnation, the server's id.
const (
	counterBits     = 36
	incarnationBits = 20
	serverShift     = counterBits + incarnationBits
)

// Allocator makes the ids of the sessions opened at one server. It may be used
// by several goroutines.
type Allocator struct {
	base    uint64
	counter atomic.Uint64
}

// NewAllocator returns an allocator for a server and one of its incarnations,
// a number that grows with every start; only its low 20 bits are used. Ids are
// unique in the ensemble as long as no two servers share an id and no
// incarnation is used twice.
func NewAllocator(server uint8, incarnation uint64) *Allocator {
	return &Allocator{base: uint64(server)<<serverShift | (incarnation&(1<<incarnationBits-1))<<counterBits}
}

// Next returns the next id, never 0. As with ZooKeeper its top byte is the
// server, so that ids of servers from 128 on are negative.
func (a *Allocator) Next() int64 {
	for {
		id := a.base | a.counter.Add(1)&(1<<counterBits-1)
		if id != 0 {
			return int64(id)
		}
	}
}
