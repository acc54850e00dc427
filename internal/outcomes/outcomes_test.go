package outcomes

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestTheWorstIsKept(t *testing.T) {
	for _, order := range [][]string{{Pass, Fail}, {Fail, Pass}, {Fail, Skip}} {
		o := Outcomes{}
		for _, outcome := range order {
			o.Add("t", outcome)
		}
		if o["t"] != Fail {
			t.Errorf("%v: %s", order, o["t"])
		}
	}
}

func TestParse(t *testing.T) {
	text := "fail a::b\nskip c d\npass e[1]\n"
	o, err := Parse(text)
	if err != nil || o["c d"] != Skip || o.String() != text {
		t.Errorf("%v, %v", o, err)
	}
	if _, err := Parse("perhaps a\n"); err == nil {
		t.Error("an unknown outcome is taken")
	}
	if below := o.Below("a::"); len(below) != 1 || below["a::b"] != Fail {
		t.Errorf("below a: %v", below)
	}
}

func TestRegressions(t *testing.T) {
	want := Outcomes{"a": Pass, "b": Pass, "c": Fail, "d": Skip, "e": Pass, "known": Pass}
	got := Outcomes{"a": Pass, "b": Skip, "c": Pass, "new": Fail}
	tests, outcome := Regressions(want, got, map[string]string{"known": "why"})
	if !slices.Equal(tests, []string{"b", "e"}) || !slices.Equal(outcome, []string{Skip, Missing}) {
		t.Errorf("%v %v", tests, outcome)
	}
}

func TestReadJUnit(t *testing.T) {
	const cases = `<testcase classname="T" name="pass"/>
<testcase classname="T" name="fail"><system-out>id</system-out><failure message="m">why</failure></testcase>
<testcase classname="T" name="error"><error>broken</error></testcase>
<testcase classname="U" name="skip[x]"><skipped/></testcase>
<testcase classname="U" name="teardown"/>
<testcase classname="U" name="teardown"><error>left over</error></testcase>`
	want := Outcomes{"T.pass": Pass, "T.fail": Fail, "T.error": Fail, "U.skip[x]": Skip, "U.teardown": Fail}
	for writer, report := range map[string]string{
		"JUnit":  `<testsuite name="x"><properties><property name="x" value="y"/></properties>` + cases + `</testsuite>`,
		"pytest": `<testsuites><testsuite>` + cases + `</testsuite></testsuites>`,
	} {
		o, reasons, err := ReadJUnit(strings.NewReader(report), func(class, name string) string { return class + "." + name })
		if err != nil || !maps.Equal(o, want) || reasons["T.fail"] != "why" || reasons["T.error"] != "broken" {
			t.Errorf("%s: %v, %v, %v", writer, o, reasons, err)
		}
	}
	if _, _, err := ReadJUnit(strings.NewReader("no xml"), nil); err == nil {
		t.Error("what is no XML is taken")
	}
}
