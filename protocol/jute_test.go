package protocol

import (
	"errors"
	"reflect"
	"runtime"
	"testing"
)

func TestDecoder(t *testing.T) {
	str := func(d *Decoder) any { return d.String() }
	buffer := func(d *Decoder) any { return d.Buffer() }
	list := func(d *Decoder) any { return d.Strings() }
	acls := func(d *Decoder) any { return d.ACLs() }
	boolean := func(d *Decoder) any { return d.Bool() }
	for _, c := range []struct {
		name string
		read func(*Decoder) any
		in   string
		want any // nil where the input is malformed
		rest string
	}{
		{"int", func(d *Decoder) any { return d.Int() }, "\xff\xff\xff\xfez", int32(-2), "z"},
		{"short int", func(d *Decoder) any { return d.Int() }, "\x00\x00\x00", nil, ""},
		{"long", func(d *Decoder) any { return d.Long() }, "\x80\x00\x00\x00\x00\x00\x00\x01", int64(-1<<63 + 1), ""},
		{"short long", func(d *Decoder) any { return d.Long() }, "\x00\x00\x00\x00\x00\x00\x00", nil, ""},
		{"true", boolean, "\x01", true, ""},
		{"2 is true", boolean, "\x02", true, ""},
		{"false", boolean, "\x00", false, ""},
		{"no boolean", boolean, "", nil, ""},
		{"string", str, "\x00\x00\x00\x02abc", "ab", "c"},
		{"empty string", str, "\x00\x00\x00\x00", "", ""},
		{"null string", str, "\xff\xff\xff\xffz", NullString, "z"},
		{"string -2", str, "\xff\xff\xff\xfeab", nil, ""},
		{"string least", str, "\x80\x00\x00\x00ab", nil, ""},
		{"string too long", str, "\x00\x00\x00\x03ab", nil, ""},
		{"string far too long", str, "\x7f\xff\xff\xffab", nil, ""},
		{"byte ff is not null", str, "\x00\x00\x00\x01\xff", "\uFFFD", ""},
		{"buffer", buffer, "\x00\x00\x00\x02\xff\x00z", []byte{0xff, 0}, "z"},
		{"empty buffer", buffer, "\x00\x00\x00\x00", []byte{}, ""},
		{"null buffer", buffer, "\xff\xff\xff\xffz", []byte(nil), "z"},
		{"buffer -2", buffer, "\xff\xff\xff\xfe", nil, ""},
		{"buffer too long", buffer, "\x00\x00\x00\x02a", nil, ""},
		{"list", list, "\x00\x00\x00\x02\x00\x00\x00\x01a\xff\xff\xff\xffz", []string{"a", NullString}, "z"},
		{"empty list", list, "\x00\x00\x00\x00", []string{}, ""},
		{"null list", list, "\xff\xff\xff\xffz", []string(nil), "z"},
		{"list of -2", list, "\xff\xff\xff\xfez", []string{}, "z"},
		{"list of least", list, "\x80\x00\x00\x00z", []string{}, "z"},
		{"list too long", list, "\x00\x00\x00\x02\x00\x00\x00\x00", nil, ""},
		{"list far too long", list, "\x7f\xff\xff\xff\x00\x00\x00\x00", nil, ""},
		{"list with a bad item", list, "\x00\x00\x00\x01\x00\x00\x00\x09", nil, ""},
		{"ACL", acls, "\x00\x00\x00\x01\x00\x00\x00\x1f\x00\x00\x00\x01s\xff\xff\xff\xff", []ACL{{PermAll, ID{"s", NullString}}}, ""},
		{"null ACL", acls, "\xff\xff\xff\xff", []ACL(nil), ""},
		{"ACL of -2", acls, "\xff\xff\xff\xfe", []ACL{}, ""},
		{"ACL too long", acls, "\x00\x00\x00\x02\x00\x00\x00\x1f\x00\x00\x00\x01s\xff\xff\xff\xff", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder([]byte(c.in))
			got := c.read(&d)
			if c.want == nil {
				if !errors.Is(d.Err(), ErrMalformed) || !reflect.ValueOf(got).IsZero() {
					t.Fatalf("got %#v, error %v, want %v", got, d.Err(), ErrMalformed)
				}
				if d.Int() != 0 || d.String() != "" || d.Buffer() != nil || d.Long() != 0 || d.Bool() || d.Err() == nil {
					t.Fatal("the fault does not stick")
				}
				return
			}
			if d.Err() != nil || !reflect.DeepEqual(got, c.want) || string(d.Rest()) != c.rest {
				t.Fatalf("got %#v, left over %q, error %v; want %#v, %q", got, d.Rest(), d.Err(), c.want, c.rest)
			}
		})
	}
}

func TestBufferCannotGrowIntoTheFrame(t *testing.T) {
	in := []byte("\x00\x00\x00\x01az")
	d := NewDecoder(in)
	_ = append(d.Buffer(), '!')
	if string(in[5:]) != "z" {
		t.Errorf("appending to a buffer overwrote the frame: %q", in)
	}
}

// The expectations come from OpenJDK 17's new String(bytes, UTF_8).
func TestMalformedUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"a\x80b":                   "a�b",
		"\xc0\x80":                 "��",
		"\xc1\xbf":                 "��",
		"\xc2":                     "�",
		"\xc2A":                    "�A",
		"\xe0\x80\x80":             "���",
		"\xe0\xa0":                 "�",
		"\xe0\xa0A":                "�A",
		"\xe1\x80":                 "�",
		"\xed\xa0":                 "�", // a surrogate is one part, whole or cut
		"\xed\xa0\x80":             "�",
		"\xed\xa0A":                "�A",
		"\xed\xa0\xbd\xed\xb8\x80": "��",
		"\xf0\x80\x80\x80":         "����",
		"\xf0\x90\x80":             "�",
		"\xf0\x90\x80A":            "�A",
		"\xf0\x90A":                "�A",
		"\xf4\x8f\xbf":             "�",
		"\xf4\x90\x80\x80":         "����",
		"\xf5\x80\x80\x80":         "����",
		"\xff\xfe":                 "��",
		"é\xffé":                   "é�é",
	} {
		d := NewDecoder(AppendBuffer(nil, []byte(in)))
		if got := d.String(); got != want || d.Err() != nil {
			t.Errorf("%+q decodes to %+q (%v), want %+q", in, got, d.Err(), want)
		}
	}
}

// maxAmplification bounds the bytes allocated for one byte of input. The worst
// is a multi of bare results: an entry of 24 bytes for 9, and slices that grow.
const maxAmplification = 16

// No frame makes a record allocate more than a multiple of its own length.
func TestDecodeAllocatesLittle(t *testing.T) {
	const size = 64 << 10
	for _, zero := range records {
		for _, unit := range []string{"\x00", "\x7f\xff\xff\xff", "\x00\x00\x3f\x00", "\x00\x00\x0a\x00\x00\x00\x00\x00", "\xff",
			"\x00\x00\x00\x0d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x02\x00\x00\x00\x00\x00"} {
			for _, head := range []string{"", "\x00\x00\x1f\xf0", "\x00\x00\x3f\xf0", "\x7f\xff\xff\xff", "\x00\x00\x00\x00"} {
				in := []byte(head)
				for len(in) < size {
					in = append(in, unit...)
				}
				least := uint64(1 << 62)
				for range 3 { // other goroutines of the runtime may allocate too
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					d := NewDecoder(in)
					r := empty(zero)
					r.Decode(&d)
					runtime.ReadMemStats(&after)
					least = min(least, after.TotalAlloc-before.TotalAlloc)
				}
				if least > maxAmplification*size {
					t.Errorf("%T of %q then %q: %d bytes allocated for %d", zero, head, unit, least, size)
				}
			}
		}
	}
}

// TestViews: a view's strings are the input's own bytes, and malformed UTF-8 is
// mended in a copy.
func TestViews(t *testing.T) {
	sound, broken := AppendString(nil, "/a/b"), append(AppendInt(nil, 2), '/', 0xff)
	for _, in := range [][]byte{sound, broken} {
		d, v := NewDecoder(in), NewViewDecoder(in)
		if s, view := d.String(), v.String(); s != view {
			t.Errorf("%x: %q, as a view %q", in, s, view)
		}
	}
	v := NewViewDecoder(sound)
	if n := testing.AllocsPerRun(100, func() { v = NewViewDecoder(sound); _ = v.String() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
