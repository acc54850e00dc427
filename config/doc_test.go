package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md instead of comparing it")

// TestConfigurationPage holds docs/configuration.md to the table of keys.
func TestConfigurationPage(t *testing.T) {
	const page = "../docs/configuration.md"
	var out strings.Builder
	if err := WriteDoc(&out); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != out.String() {
		t.Errorf("%s is not what the table of keys says: run make generate", page)
	}
}
