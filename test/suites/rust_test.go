//go:build suites

package suites

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRustClient(t *testing.T) {
	t.Parallel()
	judge(t, "rust", "Rust zookeeper-client", rustClient{home: t.TempDir()})
}

// rustClient is the suite of the crate zookeeper-client. Its tests start servers
// by testcontainers, for which rust/testcontainers stands in.
type rustClient struct{ home string }

func (r rustClient) version(t *testing.T) string {
	return pinned(t, "rust/Cargo.toml", "zookeeper-client = \"=", "\"")
}

func (r rustClient) run(t *testing.T, test string) (results, map[string]string) {
	binary := filepath.Join(r.home, "zookeeper")
	if _, err := os.Stat(binary); err != nil {
		r.build(t, binary)
	}
	threads := "4" // nearly all of their time they sleep; JVMs start one by one
	if *update || *realZooKeeper {
		threads = "1"
	}
	args := []string{binary, "--test-threads", threads}
	if test != "" {
		args = append(args, "--exact", test)
	}
	report, err := os.Create(filepath.Join(r.home, "report"))
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	cmd, finish := command(t, r.home, report, args...)
	cmd.Env = append(cmd.Env, "SUITES_LAUNCH="+launch(t), "RUST_BACKTRACE=0")
	runErr := cmd.Run() // an error when a test failed, too
	finish()
	if _, err := report.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	o, reasons, err := readLibtest(report)
	if err != nil {
		t.Fatalf("run zookeeper-client's tests: %v, %v\n%s", runErr, err, tail(report.Name()))
	}
	return o, reasons
}

// build compiles the tests of the crate, where cargo finds what it compiled before.
func (r rustClient) build(t *testing.T, binary string) {
	install := exec.Command("../clients/install.sh")
	classpath, err := install.Output()
	if err != nil {
		t.Fatalf("run install.sh: %v", err)
	}
	target := filepath.Join(filepath.Dir(string(classpath)), "rust")
	source := filepath.Join(target, "source")
	if err := os.RemoveAll(source); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(source, os.DirFS("rust")); err != nil {
		t.Fatal(err)
	}
	cargo := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("cargo", args...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("cargo %s: %v\n%s", args[0], err, errs.String())
		}
		return out
	}
	var crates struct {
		Packages []struct {
			Name     string
			Manifest string `json:"manifest_path"`
		}
	}
	if err := json.Unmarshal(cargo("metadata", "--locked", "--format-version", "1"), &crates); err != nil {
		t.Fatalf("read cargo's metadata: %v", err)
	}
	for _, crate := range crates.Packages {
		if crate.Name != "zookeeper-client" {
			continue
		}
		tests, err := os.ReadFile(filepath.Join(filepath.Dir(crate.Manifest), "tests", "zookeeper.rs"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, "zookeeper.rs"), tests, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(string(cargo("test", "--locked", "--test", "zookeeper", "--no-run", "--message-format", "json"))) {
		var message struct {
			Target     struct{ Name string }
			Executable string
		}
		if err := json.Unmarshal([]byte(line), &message); err != nil {
			t.Fatalf("read what cargo says: %v", err)
		}
		if message.Target.Name == "zookeeper" && message.Executable != "" {
			if err := os.Symlink(message.Executable, binary); err != nil {
				t.Fatal(err)
			}
		}
	}
}
