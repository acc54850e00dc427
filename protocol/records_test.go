package protocol

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// records has an empty value of every record of this package.
var records = []Record{
	new(Stat), new(ConnectRequest), new(ConnectResponse), new(RequestHeader), new(ReplyHeader),
	new(WatcherEvent), new(CreateRequest), new(CreateTTLRequest), new(Create2Response),
	new(DeleteRequest), new(PathRequest), new(PathWatchRequest), new(PathTypeRequest),
	new(SetDataRequest), new(SetACLRequest), new(StatResponse), new(GetDataResponse),
	new(GetACLResponse), new(StringsResponse), new(GetChildren2Response), new(IntResponse),
	new(ReconfigRequest), new(AuthRequest), new(SaslRecord), new(SetWatchesRequest),
	new(SetWatches2Request), new(WhoAmIResponse), new(MultiHeader), new(MultiRequest),
	new(MultiResponse),
}

func empty(r Record) Record { return reflect.New(reflect.TypeOf(r).Elem()).Interface().(Record) }

// draw fills v with values that survive encoding.
func draw(t *rapid.T, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *MultiRequest:
		kinds := [][]OpCode{
			{OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL, OpDelete, OpCheck, OpSetData},
			{OpGetData, OpGetChildren},
		}[rapid.IntRange(0, 1).Draw(t, "reads")]
		for _, op := range rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 5).Draw(t, "ops") {
			body := multiBody(op)
			draw(t, reflect.ValueOf(body).Elem())
			p.Ops = append(p.Ops, MultiOp{op, body})
		}
		return
	case *MultiResponse:
		kinds := []OpCode{OpCreate, OpCreate2, OpSetData, OpGetData, OpGetChildren, OpDelete, OpCheck, OpError}
		bodies := map[OpCode]func() Record{
			OpCreate: record[PathResponse], OpCreate2: record[Create2Response], OpSetData: record[StatResponse],
			OpGetData: record[GetDataResponse], OpGetChildren: record[StringsResponse],
		}
		for _, op := range rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 5).Draw(t, "results") {
			res := MultiResult{Type: op, Err: ErrCode(rapid.Int32().Draw(t, "err"))}
			if bodies[op] != nil {
				res.Body = bodies[op]()
				draw(t, reflect.ValueOf(res.Body).Elem())
			}
			p.Results = append(p.Results, res)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i))
		}
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", NullString, "/a"})).Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, "int")))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "long"))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, "byte")))
	case reflect.Slice:
		n := rapid.IntRange(-1, 4).Draw(t, "count")
		if n < 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(t, v.Index(i))
		}
	default:
		t.Fatalf("no generator for %s", v.Type())
	}
	switch p := v.Addr().Interface().(type) {
	case *ConnectRequest:
		p.ReadOnly = p.ReadOnly && p.HasReadOnly
	case *ConnectResponse:
		p.ReadOnly = p.ReadOnly && p.HasReadOnly
	case *WhoAmIResponse: // has no null
		if len(p.Infos) == 0 {
			p.Infos = nil
		}
	}
}

// Every record decodes to what was encoded, leaves alone what stands before
// and behind it, and decodes from no shorter input.
func TestRecordsRoundTrip(t *testing.T) {
	for _, zero := range records {
		t.Run(reflect.TypeOf(zero).Elem().Name(), rapid.MakeCheck(func(t *rapid.T) {
			want := empty(zero)
			draw(t, reflect.ValueOf(want).Elem())
			b := want.AppendTo([]byte("before"))
			if !bytes.HasPrefix(b, []byte("before")) {
				t.Fatalf("encoding changed what stood before: %q", b)
			}
			b = b[len("before"):]
			legacy := false // the last byte of the record may be missing
			switch r := want.(type) {
			case *ConnectRequest:
				legacy = !r.HasReadOnly
			case *ConnectResponse:
				legacy = !r.HasReadOnly
			}
			input := append(bytes.Clone(b), "behind"...)
			if legacy {
				input = input[:len(b)]
			}
			d := NewDecoder(input)
			got := empty(zero)
			got.Decode(&d)
			if d.Err() != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%x: got %+v (%v), want %+v", b, got, d.Err(), want)
			}
			if !bytes.Equal(d.Rest(), input[len(b):]) {
				t.Fatalf("%x: left over %q", b, d.Rest())
			}
			cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
			d = NewDecoder(b[:cut])
			empty(zero).Decode(&d)
			_, isRequest := want.(*ConnectRequest)
			_, isResponse := want.(*ConnectResponse)
			wholeLegacy := (isRequest || isResponse) && !legacy && cut == len(b)-1
			if (d.Err() == nil) != wholeLegacy {
				t.Fatalf("%x cut at %d: error %v", b, cut, d.Err())
			}
		}))
	}
}

// parsePackage returns the package's files without its tests.
func parsePackage(t *testing.T) []*ast.File {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatalf("list files: %v", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatalf("parse %s: %v", name, err)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		t.Fatal("found no files of the package")
	}
	return files
}

func TestEveryRecordIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, r := range records {
		listed[reflect.TypeOf(r).Elem().Name()] = true
	}
	found := 0
	for _, f := range parsePackage(t) {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "Decode" {
				continue
			}
			found++
			name := fn.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name
			if !listed[name] {
				t.Errorf("record %s is missing from records", name)
			}
		}
	}
	if found != len(records) {
		t.Errorf("found %d Decode methods for %d records", found, len(records))
	}
}

func TestImports(t *testing.T) {
	allowed := "encoding/binary errors strconv strings unicode/utf8 unsafe"
	for _, f := range parsePackage(t) {
		for _, imp := range f.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			if !strings.Contains(" "+allowed+" ", " "+path+" ") {
				t.Errorf("protocol imports %s", path)
			}
		}
	}
}

func TestMultiHolds(t *testing.T) {
	read := MultiOp{OpGetData, &PathWatchRequest{Path: "/a"}}
	write := MultiOp{OpDelete, &DeleteRequest{Path: "/a"}}
	for _, c := range []struct {
		name  string
		ops   []MultiOp
		ok    bool
		reads bool
	}{
		{"nothing", nil, true, false},
		{"reads", []MultiOp{read, {OpGetChildren, &PathWatchRequest{Path: "/a"}}}, true, true},
		{"writes", []MultiOp{write, {OpCheck, &CheckRequest{Path: "/a"}}}, true, false},
		{"a write after a read", []MultiOp{read, write}, false, false},
		{"a read after a write", []MultiOp{write, read}, false, false},
		{"exists", []MultiOp{{OpExists, &PathWatchRequest{Path: "/a"}}}, false, false},
		{"deleteContainer", []MultiOp{{OpDeleteContainer, &PathRequest{Path: "/a"}}}, false, false},
		{"a multi", []MultiOp{{OpMulti, new(MultiRequest)}}, false, false},
	} {
		d := NewDecoder((&MultiRequest{Ops: c.ops}).AppendTo(nil))
		var r MultiRequest
		r.Decode(&d)
		if (d.Err() == nil) != c.ok || c.ok && r.Reads() != c.reads {
			t.Errorf("%s: error %v, reads %v", c.name, d.Err(), r.Reads())
		}
	}
}

// TestMultiSound: what ZooKeeper cannot decode in the creates of a multi, and
// what it stumbles over.
func TestMultiSound(t *testing.T) {
	create := func(mode CreateMode, acl []ACL) MultiOp {
		return MultiOp{OpCreate, &CreateRequest{Path: "/a", ACL: acl, Mode: mode}}
	}
	ttl := MultiOp{OpCreateTTL, &CreateTTLRequest{CreateRequest: CreateRequest{Path: "/a", Mode: 99}}}
	for _, c := range []struct {
		ops             []MultiOp
		sound, stumbles bool
	}{
		{nil, true, false},
		{[]MultiOp{create(Container, WorldAnyone), ttl}, true, false},
		{[]MultiOp{create(7, WorldAnyone)}, false, false},
		{[]MultiOp{create(PersistentTTL, WorldAnyone)}, false, false},
		{[]MultiOp{create(PersistentTTL, nil)}, false, true},
		{[]MultiOp{create(7, nil)}, false, false},
		{[]MultiOp{create(Persistent, nil), create(7, nil)}, false, true},
		{[]MultiOp{create(7, nil), create(Persistent, nil)}, false, false},
	} {
		sound, stumbles := (&MultiRequest{c.ops}).Sound()
		if sound != c.sound || stumbles != c.stumbles {
			t.Errorf("%+v: %v %v", c.ops, sound, stumbles)
		}
	}
}
