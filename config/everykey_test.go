package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// everyKey reads testdata/every-key.cfg as the machine would that it is for.
func everyKey(t *testing.T, text string) *Config {
	t.Helper()
	return read("zoo.cfg", strings.NewReader(text), func(path string) ([]byte, error) {
		switch path {
		case "/var/lib/coordd/myid":
			return []byte("2\n"), nil
		case "/etc/coordd/every-key.dynamic":
			return os.ReadFile("testdata/every-key.dynamic")
		}
		return nil, fs.ErrNotExist
	})
}

// A file with every key set to another value than its default is explained line
// by line, and starts once the lines are taken out that stop it.
func TestEveryKeyIsExplained(t *testing.T) {
	raw, err := os.ReadFile("testdata/every-key.cfg")
	if err != nil {
		t.Fatal(err)
	}
	props, _, err := parseProperties(raw)
	if err != nil {
		t.Fatal(err)
	}
	rows, stopping := map[string]bool{}, 0
	for _, p := range props {
		k := lookup(p.key)
		if k == nil || rows[k.Name] {
			t.Errorf("line %d: %s has no row, or one that another line has too", p.line, p.key)
			continue
		}
		rows[k.Name] = true
		onlyOne := k.Name == "electionAlg" // 3 is all that ZooKeeper takes
		if strings.EqualFold(p.value, k.Default) && !onlyOne || k.Status == Refused && k.harmless(p.value) {
			t.Errorf("line %d: %s=%s asks for nothing", p.line, p.key, p.value)
		}
		if k.Status == Refused {
			stopping++
		}
	}
	for i := range keys {
		if !rows[keys[i].Name] {
			t.Errorf("testdata/every-key.cfg has no line for %s", keys[i].Name)
		}
	}

	c := everyKey(t, string(raw))
	var out strings.Builder
	if err := Explain(&out, c); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "every-key.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("%s is not what is explained: go test ./config -run TestEveryKey -args -update, and look at the difference", golden)
	}
	if len(c.faults) != stopping {
		t.Errorf("%d lines stop the start, want %d", len(c.faults), stopping)
	}
	explained := map[int]bool{}
	for _, n := range c.Notes() {
		if n.File == "zoo.cfg" {
			explained[n.Line] = true
		}
	}
	lines := strings.Split(string(raw), "\n")
	for _, p := range props {
		if !explained[p.line] {
			t.Errorf("line %d is not explained: %s", p.line, lines[p.line-1])
		}
	}
	for _, e := range c.faults {
		lines[e.Line-1] = ""
	}
	if rest := everyKey(t, strings.Join(lines, "\n")); len(rest.faults) != 0 {
		t.Errorf("without the lines that stop the start: %v", rest.faults)
	}
}

// All that is wrong is said, not only the first of it; but not what may follow
// from a line before.
func TestAllFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zoo.cfg")
	for _, tc := range []struct{ text, want string }{
		{base, ""},
		{base + "tickTime=x\nsslQuorum=true\ncoordd.x=1\n", "3 tickTime|4 sslQuorum|5 coordd.x"},
		{base + "server.1=a\nserver.2=b:1:2\nserver.2=c:1:2\n", "3 server.1|5 server.2"},
		{base + "clientPort=x\n", "3 clientPort"},
		{base + "minSessionTimeout=70000\n", "3 minSessionTimeout"},
		{"clientPort=2181\nsslQuorum=true\n", "2 sslQuorum"},
		{"clientPort=2181\n", "0 dataDir"},
		{"a=\\u1\n", "1 "},
	} {
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, faults := LoadAll(path)
		var got []string
		for _, e := range faults {
			got = append(got, strings.TrimSpace(strings.Join([]string{string(rune('0' + e.Line)), e.Key}, " ")))
		}
		if want := strings.TrimSpace(tc.want); strings.Join(got, "|") != want {
			t.Errorf("%q: %v, want %s", tc.text, got, want)
		}
		var out strings.Builder
		if err := Explain(&out, c); err != nil {
			t.Fatal(err)
		}
		for _, e := range faults {
			if !strings.Contains(out.String(), e.Msg) {
				t.Errorf("%q: %v is not said in\n%s", tc.text, e, &out)
			}
		}
		if starts := strings.Contains(out.String(), "Standalone server"); starts != (len(faults) == 0) {
			t.Errorf("%q: %s", tc.text, &out)
		}
		if _, err := Load(path); (err == nil) != (len(faults) == 0) {
			t.Errorf("%q: %v", tc.text, err)
		}
	}
	if _, faults := LoadAll(path + ".not"); len(faults) != 1 {
		t.Errorf("a missing file: %v", faults)
	}
}
