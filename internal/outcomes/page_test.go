package outcomes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRowOnAPage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+tableBegins+"\n"+tableEnds+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	there := Outcomes{"a": Pass, "b": Pass, "c": Fail}
	for _, row := range []Row{
		{Suite: "kazoo", Version: "2", There: there, Here: Outcomes{"a": Pass}, List: "list"},
		{Suite: "Curator", Version: "5", There: there, Here: there, List: "list"},
		{Suite: "kazoo", Version: "3", There: there, Here: Outcomes{"a": Pass, "c": Pass}, List: "list"},
	} {
		if err := row.Write(page); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + tableBegins + `

| suite | version | passed on ZooKeeper 3.9.4 | passed here | passed there, not here |
| --- | --- | --- | --- | --- |
| Curator | 5 | 2 | 2 | none |
| kazoo | 3 | 2 | 2 | [1](list) |

` + tableEnds + "\nafter\n"
	if string(text) != want {
		t.Errorf("the page says\n%s", text)
	}
}

func TestPageWithoutATable(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Row{Suite: "kazoo"}.Write(page)
	if err == nil || !strings.Contains(err.Error(), "suites begin") {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(page); string(text) != "nothing\n" {
		t.Errorf("the page says %q", text)
	}
}
