// Package protocol turns bytes into ZooKeeper records and back: the jute
// codec, the opcodes, the error codes and the path rules of the ZooKeeper 3.9
// client protocol. It is pure: no socket, no clock, no goroutine, and decoding
// never allocates more than a small multiple of the frame that it was given,
// whatever lengths the frame claims. What an operation does is left to fsm and server.
package protocol

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
	"unsafe"
)

// NullString stands for jute's null string (length -1), which ZooKeeper keeps
// apart from the empty one. It is not valid UTF-8, so that no decoded string
// can ever equal it.
const NullString = "\xff"

// ErrMalformed is what a Decoder reports for bytes that are not the record
// that was asked for: too short, or with a length out of bounds. ZooKeeper
// answers such a request with MarshallingError.
var ErrMalformed = errors.New("malformed record")

// AppendInt appends v as a jute int: 4 bytes, big-endian.
func AppendInt(b []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(v))
}

// AppendLong appends v as a jute long: 8 bytes, big-endian.
func AppendLong(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

// AppendBool appends v as a jute boolean: one byte.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendString appends s with its length; NullString becomes a null.
func AppendString(b []byte, s string) []byte {
	if s == NullString {
		return AppendInt(b, -1)
	}
	return append(AppendInt(b, int32(len(s))), s...)
}

// AppendBuffer appends p with its length; nil becomes a null.
func AppendBuffer(b []byte, p []byte) []byte {
	if p == nil {
		return AppendInt(b, -1)
	}
	return append(AppendInt(b, int32(len(p))), p...)
}

// AppendStrings appends a vector of strings; nil becomes a null.
func AppendStrings(b []byte, v []string) []byte {
	if v == nil {
		return AppendInt(b, -1)
	}
	b = AppendInt(b, int32(len(v)))
	for _, s := range v {
		b = AppendString(b, s)
	}
	return b
}

// Decoder reads jute fields one after another from a byte slice. The first
// fault sticks: later reads give zero values, and Err reports it. Bytes left
// over at the end are no fault (ZooKeeper ignores them too). A Decoder is not
// safe for concurrent use.
type Decoder struct {
	b      []byte
	failed bool
	view   bool // strings alias b, too
}

// NewDecoder returns a Decoder over b. Buffers that it gives out alias b.
func NewDecoder(b []byte) Decoder { return Decoder{b: b} }

// NewViewDecoder returns a Decoder whose strings alias b as well, which costs no
// memory. Whoever keeps one for longer than b stays as it is has to clone it.
func NewViewDecoder(b []byte) Decoder { return Decoder{b: b, view: true} }

// Err reports ErrMalformed once any read has failed.
func (d *Decoder) Err() error {
	if d.failed {
		return ErrMalformed
	}
	return nil
}

// Rest returns the bytes not read yet; it aliases the input.
func (d *Decoder) Rest() []byte { return d.b }

// Fail marks the input as malformed, for rules that stand above the codec.
func (d *Decoder) Fail() {
	d.failed = true
	d.b = nil
}

// Int reads a 4-byte int.
func (d *Decoder) Int() int32 {
	if len(d.b) < 4 {
		d.Fail()
		return 0
	}
	v := int32(binary.BigEndian.Uint32(d.b))
	d.b = d.b[4:]
	return v
}

// Long reads an 8-byte long.
func (d *Decoder) Long() int64 {
	if len(d.b) < 8 {
		d.Fail()
		return 0
	}
	v := int64(binary.BigEndian.Uint64(d.b))
	d.b = d.b[8:]
	return v
}

// Bool reads a boolean: any byte but 0 is true, as in Java's DataInput.
func (d *Decoder) Bool() bool {
	if len(d.b) < 1 {
		d.Fail()
		return false
	}
	v := d.b[0] != 0
	d.b = d.b[1:]
	return v
}

// Buffer reads a buffer; a null one is nil, an empty one is not. The result
// aliases the input.
func (d *Decoder) Buffer() []byte {
	n := d.Int()
	if d.failed || n == -1 {
		return nil
	}
	if n < 0 || int(n) > len(d.b) {
		d.Fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// String reads a string; a null one is NullString. Malformed UTF-8 becomes
// U+FFFD, one for each malformed part as java.lang.String cuts them.
func (d *Decoder) String() string {
	n := d.Int()
	if d.failed {
		return ""
	}
	if n == -1 {
		return NullString
	}
	if n < 0 || int(n) > len(d.b) {
		d.Fail()
		return ""
	}
	v := d.b[:n]
	d.b = d.b[n:]
	switch {
	case !utf8.Valid(v):
		return javaUTF8(v)
	case d.view:
		return unsafe.String(unsafe.SliceData(v), len(v))
	}
	return string(v)
}

// Strings reads a vector of strings; a null one is nil.
func (d *Decoder) Strings() []string {
	n := d.count(4)
	if n < 0 {
		return nil
	}
	v := make([]string, 0, n)
	for range n {
		v = append(v, d.String())
		if d.failed {
			return nil
		}
	}
	return v
}

// count reads a vector's count, at most as many items of at least size bytes
// as the input can hold; -1 is a null vector, and what lies below is an empty
// one (as in ZooKeeper's jute).
func (d *Decoder) count(size int) int {
	n := d.Int()
	switch {
	case d.failed || n == -1:
		return -1
	case n < -1:
		return 0
	case int(n) > len(d.b)/size:
		d.Fail()
		return -1
	}
	return int(n)
}

// javaUTF8 decodes malformed UTF-8 as java.lang.String does.
func javaUTF8(p []byte) string {
	out := make([]byte, 0, len(p)+8)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n <= 1 {
			n = malformedLength(p)
			out = append(out, "\uFFFD"...)
		} else {
			out = append(out, p[:n]...)
		}
		p = p[n:]
	}
	return string(out)
}

// malformedLength is the length of the malformed part at the start of p: the
// longest prefix of a well-formed sequence, or one byte. An encoded surrogate
// is one part, as in java.lang.String.
func malformedLength(p []byte) int {
	lo, hi, need := byte(0x80), byte(0xBF), 0
	switch c := p[0]; {
	case c >= 0xC2 && c <= 0xDF:
		need = 1
	case c >= 0xE0 && c <= 0xEF:
		need = 2
		if c == 0xE0 {
			lo = 0xA0
		}
	case c >= 0xF0 && c <= 0xF4:
		need = 3
		if c == 0xF0 {
			lo = 0x90
		}
		if c == 0xF4 {
			hi = 0x8F
		}
	}
	n := 1
	for ; n <= need && n < len(p); n++ {
		if p[n] < lo || p[n] > hi {
			break
		}
		lo, hi = 0x80, 0xBF
	}
	return n
}
