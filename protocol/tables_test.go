package protocol

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// constants returns the values of the constants of the type name.
func constants(t *testing.T, name string) map[string]int {
	t.Helper()
	values := map[string]int{}
	for _, f := range parsePackage(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != name {
				return true
			}
			expr, sign := spec.Values[0], 1
			if u, ok := expr.(*ast.UnaryExpr); ok && u.Op == token.SUB {
				expr, sign = u.X, -1
			}
			v, err := strconv.Atoi(expr.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatalf("constant %s: %v", spec.Names[0].Name, err)
			}
			values[spec.Names[0].Name] = sign * v
			return true
		})
	}
	return values
}

func TestErrorCodes(t *testing.T) {
	consts := constants(t, "ErrCode")
	if len(consts) != len(errNames) || len(consts) < 30 {
		t.Errorf("%d constants and %d names", len(consts), len(errNames))
	}
	seen := map[int]string{}
	for name, v := range consts {
		if other, ok := seen[v]; ok {
			t.Errorf("%s and %s are both %d", name, other, v)
		}
		seen[v] = name
		want := name
		if v == 0 {
			want = "Ok"
		}
		if got := ErrCode(v).String(); got != want {
			t.Errorf("ErrCode(%d) is %q, want %q", v, got, want)
		}
		if got := ErrCode(v).Error(); got != "zookeeper: "+want {
			t.Errorf("ErrCode(%d) as an error is %q", v, got)
		}
	}
	if got := ErrCode(-99).String(); got != "-99" {
		t.Errorf("unknown code is %q", got)
	}
}

func TestOps(t *testing.T) {
	codes, names := map[OpCode]bool{}, map[string]bool{}
	for i := range Ops {
		op := &Ops[i]
		if codes[op.Code] || names[op.Name] || op.Name == "" || op.Short == "" {
			t.Errorf("row %d (%d %q %q) repeats another or lacks a name", i, op.Code, op.Name, op.Short)
		}
		codes[op.Code], names[op.Name] = true, true
		if i > 0 && Ops[i-1].Code >= op.Code {
			t.Errorf("%s stands out of order", op.Name)
		}
		if Lookup(op.Code) != op {
			t.Errorf("Lookup(%d) does not find %s", op.Code, op.Name)
		}
		if (op.Need == 0) != (op.On == Nowhere) {
			t.Errorf("%s needs %d on %d", op.Name, op.Need, op.On)
		}
		for _, make := range []func() Record{op.Request, op.Response} {
			if make != nil && make() == make() {
				t.Errorf("%s hands out one record twice", op.Name)
			}
		}
	}
	consts := constants(t, "OpCode")
	if len(consts) != len(Ops)+2 { // OpNotification and OpError are no requests
		t.Errorf("%d constants for %d rows", len(consts), len(Ops))
	}
	for name, v := range consts {
		word := strings.TrimPrefix(name, "Op")
		word = strings.ToLower(word[:1]) + word[1:]
		if name == "OpNotification" || name == "OpError" {
			word = strconv.Itoa(v)
		}
		if got := OpCode(v).String(); got != word {
			t.Errorf("%s is %q, want %q", name, got, word)
		}
	}
	for _, c := range []OpCode{-1 << 31, -12, -9, -1, 0, 10, 23, 99, 108, 1<<31 - 1} {
		if op := Lookup(c); op != nil {
			t.Errorf("Lookup(%d) finds %s", c, op.Name)
		}
	}
}

func TestCreateModes(t *testing.T) {
	for m, want := range map[CreateMode][4]bool{ // valid, ephemeral, sequential, TTL
		-1: {}, Persistent: {true}, Ephemeral: {true, true}, PersistentSequential: {true, false, true},
		EphemeralSequential: {true, true, true}, Container: {true}, PersistentTTL: {true, false, false, true},
		PersistentSequentialTTL: {true, false, true, true}, 7: {},
	} {
		if got := [4]bool{m.Valid(), m.Ephemeral(), m.Sequential(), m.TTL()}; got != want {
			t.Errorf("mode %d: %v, want %v", m, got, want)
		}
	}
}

// The expectations are those of PathUtils.validatePath.
func TestValidPath(t *testing.T) {
	for _, p := range []string{"/", "/a", "/a/b", "/...", "/a..", "/..a", "/.a", "/a.", "/a b", "/ä/本", "/\u00a0", "/~",
		"/\ud7ff", "/\uf900", "/\uffef", "/a/.../b", "/zookeeper"} {
		if !ValidPath(p) {
			t.Errorf("%q is refused", p)
		}
	}
	for _, p := range []string{"", NullString, "a", "a/b", "//", "/a/", "/a//b", "/.", "/..", "/./a", "/../a", "/a/.", "/a/..",
		"/a/./b", "/a/../b", "/\x00", "/a\x00b", "/\x01", "/\x1f", "/\x7f", "/\u0080", "/\u009f", "/\ue000", "/\uf8ff",
		"/\ufff0", "/\ufffd", "/\uffff", "/😀", "/\U00010000", "/\xff", "/a\xed\xa0\x80"} {
		if ValidPath(p) {
			t.Errorf("%q is accepted", p)
		}
	}
}

func TestSplitPath(t *testing.T) {
	for _, c := range []struct {
		path, parent, name string
		ok                 bool
	}{
		{"/a", "/", "a", true}, {"/a/b", "/a", "b", true}, {"/a/b/c", "/a/b", "c", true}, {"/", "/", "", true},
		{"/a/", "/a", "", true}, {"//", "/", "", true}, {"a/b", "a", "b", true},
		{"", "", "", false}, {"a", "", "", false}, {NullString, "", "", false},
	} {
		parent, name, ok := SplitPath(c.path)
		if parent != c.parent || name != c.name || ok != c.ok {
			t.Errorf("SplitPath(%q) = %q, %q, %v", c.path, parent, name, ok)
		}
	}
}
