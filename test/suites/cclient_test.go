//go:build suites

package suites

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCClient runs before the others: its server has a port that they could take.
func TestCClient(t *testing.T) {
	judge(t, "c", "C client (Debian)", cClient{home: t.TempDir()})
}

// cClient is the suite of ZooKeeper's C client, as Debian packages it. Its tests
// run ./tests/zkServer.sh.
type cClient struct{ home string }

// cClasses are its classes, but for those that have nothing to test here:
// TestReconfigServer, whose every test needs reconfig and servers numbered from 0,
// and Zookeeper_SASLAuth, which is empty in a build without SASL.
var cClasses = []string{
	"Zookeeper_init", "Zookeeper_close", "Zookeeper_reconfig", "Zookeeper_clientretry", "Zookeeper_operations",
	"Zookeeper_multi", "Zookeeper_watchers", "Zookeeper_simpleSystem", "Zookeeper_readOnly", "Zookeeper_logClientEnv",
}

// cPort is where their server is.
const cPort = 22181

func (c cClient) version(t *testing.T) string { return pinned(t, "c/install.sh", "\nversion=", "\n") }

func (c cClient) run(t *testing.T, test string) (results, map[string]string) {
	install := exec.Command("c/install.sh")
	install.Stderr = os.Stderr
	out, err := install.Output()
	if err != nil {
		t.Fatalf("build the C client's tests: %v", err)
	}
	if test != "" {
		return c.runClass(t, strings.TrimSpace(string(out)), test)
	}
	all, reasons := results{}, map[string]string{}
	for _, class := range cClasses { // each in a process of its own, since a failing one may take the rest along
		o, why := c.runClass(t, strings.TrimSpace(string(out)), class)
		maps.Copy(all, o)
		maps.Copy(reasons, why)
	}
	return all, reasons
}

// runClass runs all tests of a class, or one, Class::test.
func (c cClient) runClass(t *testing.T, binary, name string) (results, map[string]string) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cPort))
	if err != nil {
		t.Fatalf("the C client's tests need port %d: %v", cPort, err)
	}
	l.Close()
	dir, err := os.MkdirTemp(c.home, "class")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tests"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(launch(t), "c-zkServer.sh"), filepath.Join(dir, "tests", "zkServer.sh")); err != nil {
		t.Fatal(err)
	}
	report, err := os.Create(filepath.Join(dir, "report"))
	if err != nil {
		t.Fatal(err)
	}
	defer report.Close()
	cmd, finish := command(t, dir, report, binary, name)
	cmd.Env = append(cmd.Env, "SUITES_LAUNCH="+launch(t))
	runErr := cmd.Run() // an error when a test failed, too
	finish()
	text, err := os.ReadFile(report.Name())
	if err != nil {
		t.Fatal(err)
	}
	o, reasons := readCppUnit(string(text))
	if len(o) == 0 {
		t.Fatalf("run %s: %v\n%s", name, runErr, tail(report.Name()))
	}
	return o, reasons
}
