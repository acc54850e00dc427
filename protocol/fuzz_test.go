package protocol

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzFrame decodes what a connection may send: a ConnectRequest, or a request
// header and the body of its opcode.
func FuzzFrame(f *testing.F) {
	for _, fr := range readTranscripts(f) {
		if fr.request {
			f.Add(fr.data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecode(t, new(ConnectRequest), data)
		d := NewDecoder(data)
		var h RequestHeader
		h.Decode(&d)
		if (d.Err() == nil) != (len(data) >= RequestHeaderSize) {
			t.Fatalf("header of %d bytes: error %v", len(data), d.Err())
		}
		if op := Lookup(h.Op); d.Err() == nil && op != nil && op.Request != nil {
			checkDecode(t, op.Request(), d.Rest())
		}
	})
}

// FuzzRequestByOpcode decodes any bytes as the body of any operation, both as
// its request and as its response.
func FuzzRequestByOpcode(f *testing.F) {
	for _, fr := range readTranscripts(f) {
		if fr.op == "connect" {
			continue
		}
		if fr.request {
			d := NewDecoder(fr.data)
			var h RequestHeader
			h.Decode(&d)
			f.Add(int32(h.Op), d.Rest())
			continue
		}
		for _, op := range Ops {
			if op.Name == fr.op {
				f.Add(int32(op.Code), fr.data[ReplyHeaderSize:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, code int32, body []byte) {
		op := Lookup(OpCode(code))
		if op == nil {
			return
		}
		for _, make := range []func() Record{op.Request, op.Response} {
			if make != nil {
				checkDecode(t, make(), body)
			}
		}
	})
}

// checkDecode decodes r from b: what it holds must stay within a multiple of
// the input, and if it is well formed it must encode to something that decodes
// to the same again.
func checkDecode(t *testing.T, r Record, b []byte) {
	input := bytes.Clone(b)
	d := NewDecoder(b)
	r.Decode(&d)
	if !bytes.Equal(b, input) {
		t.Fatalf("%T: decoding changed the input", r)
	}
	if got := held(reflect.ValueOf(r)); got > 256+maxAmplification*len(b) {
		t.Fatalf("%T: holds %d bytes decoded from %d", r, got, len(b))
	}
	if d.Err() != nil {
		return
	}
	encoded := r.AppendTo(nil)
	d = NewDecoder(encoded)
	again := empty(r)
	again.Decode(&d)
	if d.Err() != nil || len(d.Rest()) != 0 || !reflect.DeepEqual(again, r) {
		t.Fatalf("%T: %x decodes to %+v, %x to %+v (%v)", r, b, r, encoded, again, d.Err())
	}
}

// held is the memory in bytes that v keeps alive.
func held(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return held(v.Elem())
	case reflect.String:
		return int(v.Type().Size()) + v.Len()
	case reflect.Slice:
		n := int(v.Type().Size()) + v.Cap()*int(v.Type().Elem().Size())
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				n += held(v.Index(i))
			}
		}
		return n
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += held(v.Field(i))
		}
		return n
	}
	return int(v.Type().Size())
}
