package config

import (
	"slices"
	"strings"
	"testing"
)

// The expectations were produced by java.util.Properties of Java 17.
func TestPropertiesSyntax(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a=b", "a|b"},
		{"a:b", "a|b"},
		{"a b", "a|b"},
		{"a   b", "a|b"},
		{"a = b", "a|b"},
		{"a : b", "a|b"},
		{"a\t:\tb", "a|b"},
		{"\fa=b", "a|b"},
		{"a == b", "a|= b"},
		{"a:=b", "a|=b"},
		{"a:::b", "a|::b"},
		{"a b=c", "a|b=c"},
		{"a", "a|"},
		{"=b", "|b"},
		{"a=b#c", "a|b#c"},
		{"#c\na=b", "a|b"},
		{"  !c\na=b", "a|b"},
		{"#c\\\na=b", "a|b"},
		{"\n \n\t\na=b\n", "a|b"},
		{"a=b\rc=d", "a|b c|d"},
		{"a=b\r\nc=d", "a|b c|d"},
		{"a=b\\\n  c", "a|bc"},
		{"a=b\\\r\n  c", "a|bc"},
		{"a=b\\\rc", "a|bc"},
		{"a=b\\\n#c", "a|b#c"},
		{"a=b\\\n  #c\nd=e", "a|b#c d|e"},
		{"a=b\\\n\nc=d", "a|b c|d"},
		{"a=b\\\\\nc=d", `a|b\ c|d`},
		{"a=b\\\\\\\nc", `a|b\c`},
		{"a=\\\n\\\nb", "a|b"},
		{"a\\\nb=c", "ab|c"},
		{"a\\\n  =c", "a|c"},
		{"\\\na=b", "a|b"},
		{"  \\\n#c=d", ""},
		{"\\\n", "|"},
		{"a=b\\", "a|b"},
		{`a\ b=c`, "a b|c"},
		{`a\=b=c`, "a=b|c"},
		{`a\:b c`, "a:b|c"},
		{`\#a=b`, "#a|b"},
		{`\u0023a=b`, "#a|b"},
		{`\=b`, "=b|"},
		{`a=x\t\ny`, "a|x\t\ny"},
		{`a=\q`, "a|q"},
		{`a=\u0041b`, "a|Ab"},
		{`a=\U0041`, "a|U0041"},
		{`a=\uD83D\uDE00`, "a|\U0001F600"},
		{`a=\uD83Dx`, "a|\ufffdx"},
		{`dataDir=C:\zk\data`, "dataDir|C:zkdata"},
		{"a=1\na=2", "a|1 a|2"},
		{"a= b \t", "a|b"},
		// Not Java's way: UTF-8 is taken as such, a byte order mark left out.
		{"a=\u00e9", "a|\u00e9"},
		{"a=\xe9", "a|\u00e9"},
		{"\ufeffa=b", "a|b"},
	} {
		props, _, err := parseProperties([]byte(tc.in))
		if err != nil {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		var got []string
		for _, p := range props {
			got = append(got, p.key+"|"+p.value)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%q: got %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestPropertiesBadEscape(t *testing.T) {
	for _, in := range []string{`a=\u00g1`, `a=\u12`, `a=\u004`, `a=\uuuu0041`, `a=\u+041`, `a\u=b`, `a=\u`} {
		_, line, err := parseProperties([]byte("x=y\n\n" + in))
		if err == nil || line != 3 {
			t.Errorf("%q: line %d, error %v", in, line, err)
		}
	}
}

func TestPropertiesLineNumbers(t *testing.T) {
	for _, eol := range []string{"\n", "\r", "\r\n"} {
		lines := []string{"# comment", "a=1", "", "b=2\\", "  3\\", "4", "!x", "   c=5", "\\", "d=6", "e=7"}
		props, _, err := parseProperties([]byte(strings.Join(lines, eol)))
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, p := range props {
			got = append(got, p.line)
		}
		if want := []int{2, 4, 8, 10, 11}; !slices.Equal(got, want) {
			t.Errorf("with %q: lines %v, want %v", eol, got, want)
		}
	}
}

// A file of nothing but continuations is read in one pass.
func TestPropertiesManyContinuations(t *testing.T) {
	props, _, err := parseProperties([]byte("a=" + strings.Repeat("b\\\n", 300_000)))
	if err != nil || len(props) != 1 || len(props[0].value) != 300_000 {
		t.Fatalf("%d properties, %v", len(props), err)
	}
}
