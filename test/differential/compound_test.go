//go:build differential

package differential

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/coordd/coordd/protocol"
)

// part appends one operation of a multi to b.
func part(b []byte, op protocol.OpCode, body []byte) []byte {
	return append(protocol.MultiHeader{Type: op, Err: -1}.AppendTo(b), body...)
}

func (g *generator) multi(slot int) {
	var b []byte
	for n := g.IntN(6); n > 0; n-- {
		switch k := g.IntN(100); {
		case k < 45:
			op, body := g.create(true)
			b = part(b, op, body)
		case k < 60:
			b = part(b, protocol.OpDelete, g.delete())
		case k < 80:
			b = part(b, protocol.OpSetData, g.setData())
		case k < 96:
			b = part(b, protocol.OpCheck, g.delete())
		default:
			b = g.strangePart(b)
		}
	}
	end := protocol.MultiEnd
	if g.chance(4) {
		end = pick(g, []protocol.MultiHeader{{Type: 0, Done: true}, {Type: 1, Done: true, Err: 5}, {Type: -1, Done: false, Err: -1}})
	}
	g.add(slot, protocol.OpMulti, g.malform(protocol.OpMulti, end.AppendTo(b)))
}

// strangePart is what a multi may not hold.
func (g *generator) strangePart(b []byte) []byte {
	read := protocol.PathWatchRequest{Path: g.path(), Watch: g.chance(50)}
	switch g.IntN(7) {
	case 0:
		return part(b, protocol.OpSetACL, (&protocol.SetACLRequest{Path: home, ACL: protocol.WorldAnyone, Version: -1}).AppendTo(nil))
	case 1:
		return part(b, pick(g, []protocol.OpCode{protocol.OpGetData, protocol.OpGetChildren, protocol.OpExists, protocol.OpGetChildren2}), read.AppendTo(nil))
	case 2:
		return part(b, protocol.OpMulti, protocol.MultiEnd.AppendTo(nil))
	case 3:
		return part(b, protocol.OpError, protocol.AppendInt(nil, 0))
	case 4:
		return part(b, pick(g, []protocol.OpCode{0, 9, 11, 100, 9999, -11}), nil)
	case 5:
		return part(b, protocol.OpSync, protocol.AppendString(nil, home))
	}
	return append(b, byte(g.IntN(256)))
}

func (g *generator) multiRead(slot int) {
	var b []byte
	for n := g.IntN(5); n > 0; n-- {
		read := protocol.PathWatchRequest{Path: g.path(), Watch: g.chance(50)}
		op := pick(g, []protocol.OpCode{protocol.OpGetData, protocol.OpGetChildren})
		switch g.IntN(30) {
		case 0:
			op = pick(g, []protocol.OpCode{protocol.OpExists, protocol.OpGetChildren2, protocol.OpGetACL})
		case 1:
			var body []byte
			op, body = g.create(true)
			b = part(b, op, body)
			continue
		case 2:
			b = part(b, pick(g, []protocol.OpCode{protocol.OpDelete, protocol.OpCheck}), g.delete())
			continue
		}
		b = part(b, op, read.AppendTo(nil))
	}
	g.add(slot, protocol.OpMultiRead, g.malform(protocol.OpMultiRead, protocol.MultiEnd.AppendTo(b)))
}

func (g *generator) setWatches(slot int) {
	list := func() []string {
		if g.chance(2) {
			return nil
		}
		paths := []string{}
		for n := g.IntN(4); n > 0; n-- {
			path := g.path()
			if g.ensemble && path == "/zookeeper/config" {
				continue // its mzxid is each server's own in a real ensemble
			}
			paths = append(paths, path)
		}
		return paths
	}
	r := protocol.SetWatches2Request{SetWatchesRequest: protocol.SetWatchesRequest{Data: list(), Exist: list(), Child: list()},
		Persistent: list(), PersistentRecursive: list()}
	op, body := protocol.OpSetWatches, r.SetWatchesRequest.AppendTo(nil)
	if g.chance(60) {
		op, body = protocol.OpSetWatches2, r.AppendTo(nil)
	}
	plain := len(body)
	body = g.malform(op, body)
	seen := pick(g, []int64{0, -1, math.MaxInt64, math.MinInt64})
	s := g.add(slot, op, body)
	if len(body) < 8 {
		return
	}
	if g.chance(70) && len(body) == plain {
		s.zxidAt, s.back = protocol.RequestHeaderSize, int64(g.IntN(30))
		return
	}
	binary.BigEndian.PutUint64(s.frame[protocol.RequestHeaderSize:], uint64(seen))
}

// cut takes bytes off the end.
func (g *generator) cut(body []byte) []byte {
	if len(body) == 0 {
		return body
	}
	return body[:g.IntN(len(body))]
}

// malform now and then damages a body: it cuts it, makes it longer, or writes
// an odd length somewhere. Single writes to an ensemble are left whole, as a
// real one hangs for ever when it cannot decode them, and numbers in createTTL
// are left as they are, as some kill it.
func (g *generator) malform(op protocol.OpCode, body []byte) []byte {
	write := protocol.Lookup(op).Class != protocol.Read && protocol.Lookup(op).Class != protocol.Connection && op != protocol.OpMulti
	switch n := g.IntN(100); {
	case n < 2:
		return append(slices.Clip(body), make([]byte, 1+g.IntN(20))...)
	case g.ensemble && write:
		return body
	case n < 5:
		return g.cut(body)
	case n < 8 && len(body) >= 4 && op != protocol.OpCreateTTL && op != protocol.OpMulti:
		body = slices.Clone(body)
		odd := pick(g, []int32{-1, -1, -2, -3, 0, math.MaxInt32, math.MinInt32, 0x00200000, 5})
		at := 0
		if g.chance(60) {
			at = g.IntN(len(body) - 3)
		}
		binary.BigEndian.PutUint32(body[at:], uint32(odd))
	}
	return body
}
