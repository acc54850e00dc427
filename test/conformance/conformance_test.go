//go:build conformance

package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/outcomes"
	"github.com/coordd/coordd/internal/zkprocess"
)

var (
	update = flag.Bool("update", false, "run the tests on a real ZooKeeper and record what comes of each in testdata")
	logs   = flag.String("logs", "", "directory to keep each class's output and the servers' logs in")
	page   = flag.String("page", "", "page whose table of suites gets a row of each; when all classes run")
)

// classTimeout bounds one class. The longest takes five minutes on a quiet
// machine.
const classTimeout = 10 * time.Minute

// portRanges is among how many classes ZooKeeper's tests share out their ports:
// some for every one that runs at a time, and for other runs on the machine.
const portRanges = 64

func TestZooKeeper(t *testing.T) { run(t, "zookeeper", "ZooKeeper's Java client") }

func TestCurator(t *testing.T) { run(t, "curator", "Curator: client, framework, recipes") }

// run runs the classes of a suite, as many at a time as -parallel says, and those
// with a test that fails once more, alone: many tests wait for short fixed times,
// and on a busy machine fail on ZooKeeper too. Curator's own build gives them two
// more chances.
func run(t *testing.T, name, title string) {
	binary := "" // none: a real ZooKeeper in the tests' own JVM
	if !*update {
		binary = zkprocess.Coordd(t)
	}
	s := load(t, name)
	dir := install(t)
	ports := make(chan int, portRanges)
	for _, i := range rand.Perm(portRanges) {
		ports <- i + 1
	}
	var mu sync.Mutex
	all, ran, again := results{}, 0, []string{}
	t.Run("classes", func(t *testing.T) {
		for _, class := range s.classes {
			if testing.Short() && s.long[class] {
				continue
			}
			t.Run(shortName(class), func(t *testing.T) {
				t.Parallel()
				port := <-ports
				defer func() { ports <- port }()
				got, _ := runClass(t, dir, binary, class, port)
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(all, got)
				ran++
				if wrong := verdict(s.want.Below(class+"."), got, s.other); !*update && len(wrong) > 0 {
					t.Logf("once more: %s", strings.Join(wrong, "; "))
					again = append(again, class)
				}
			})
		}
	})
	for _, class := range again {
		t.Run(shortName(class), func(t *testing.T) {
			got, reasons := runClass(t, dir, binary, class, <-ports)
			for test, outcome := range got {
				if all[test] != pass {
					all[test] = outcome
				}
			}
			for _, wrong := range verdict(s.want.Below(class+"."), all.Below(class+"."), s.other) {
				test, _, _ := strings.Cut(wrong, ": ")
				t.Errorf("%s\n%.4000s", wrong, reasons[test])
			}
		})
	}
	t.Logf("%d of %d tests of %s pass", all.Count(pass), len(all), name)
	switch {
	case *update:
		recorded := maps.Clone(s.want)
		maps.Copy(recorded, all)
		if ran == len(s.classes) {
			recorded = all
		}
		if err := os.WriteFile(s.file(".txt"), []byte(recorded.String()), 0o666); err != nil {
			t.Errorf("record outcomes: %v", err)
		}
	case *page != "" && ran == len(s.classes):
		row := outcomes.Row{Suite: title, Version: version(t, name), There: s.want, Here: all, List: "../test/conformance/" + s.file(".other")}
		if err := row.Write(*page); err != nil {
			t.Error(err)
		}
	}
}

// shortName is a class's name without its package.
func shortName(class string) string { return class[strings.LastIndex(class, ".")+1:] }

// suite is what testdata has of one.
type suite struct {
	name    string
	classes []string
	long    map[string]bool   // classes that -short leaves out
	want    results           // on a real ZooKeeper
	other   map[string]string // tests that do not pass here, and why
}

func (s *suite) file(ending string) string {
	return filepath.Join("testdata", s.name+ending)
}

func load(t *testing.T, name string) *suite {
	t.Helper()
	s := &suite{name: name, long: map[string]bool{}, want: results{}, other: map[string]string{}}
	for class, mark := range lines(t, s.file(".classes")) {
		s.classes = append(s.classes, class)
		s.long[class] = mark == "long"
	}
	slices.Sort(s.classes)
	maps.Copy(s.other, lines(t, s.file(".other")))
	text, err := os.ReadFile(s.file(".txt"))
	if err == nil {
		s.want, err = outcomes.Parse(string(text))
	}
	if err != nil && (!*update || !errors.Is(err, fs.ErrNotExist)) {
		t.Fatalf("read outcomes: %v", err)
	}
	return s
}

// version is the suite's, from java/pom.xml.
func version(t *testing.T, name string) string {
	t.Helper()
	pom, err := os.ReadFile("java/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(pom), "<"+name+".version>")
	version, _, ok := strings.Cut(rest, "</")
	if !ok {
		t.Fatalf("java/pom.xml has no %s.version", name)
	}
	return version
}

// lines reads a file of lines with a first word and a rest. # begins a comment.
func lines(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			first, rest, _ := strings.Cut(line, " ")
			m[first] = strings.TrimSpace(rest)
		}
	}
	return m
}

// install brings the tests onto this machine and returns where they are.
func install(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("./install.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("install the tests: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// runClass runs a class's tests in a JVM of their own, as ZooKeeper's and Curator's
// builds do, in a fresh directory and on the ports of a range.
func runClass(t *testing.T, dir, binary, class string, ports int) (results, map[string]string) {
	work := t.TempDir()
	here, err := filepath.Abs("java")
	if err != nil {
		t.Fatal(err)
	}
	path := here + ":" + dir + "/jars/*"
	args := []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"--add-opens=java.base/java.lang=ALL-UNNAMED",
		fmt.Sprintf("-Dtest.junit.threads=%d", portRanges), fmt.Sprintf("-Dzookeeper.junit.threadid=%d", ports),
		"-Dbuild.test.dir=" + work + "/build", "-Djava.io.tmpdir=" + work,
		// The password of ZooKeeper's tests is "test".
		"-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU="}
	if binary != "" {
		path = dir + "/classes:" + path
	}
	kept := filepath.Join(work, "logs")
	if *logs != "" {
		kept = filepath.Join(*logs, class)
	}
	if kept, err = filepath.Abs(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(kept, 0o777); err != nil {
		t.Fatal(err)
	}
	args = append(args, "-cp", path, "org.junit.platform.console.ConsoleLauncher",
		"--select-class", class, "--include-classname", ".*", "--reports-dir", kept, "--details", "none", "--disable-banner")

	out := filepath.Join(kept, "output")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), classTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, f, f
	cmd.Env = append(os.Environ(), "COORDD_BIN="+binary, "COORDD_LOGS="+kept)
	// The servers it started go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// The exit status says whether all tests pass, as the report does.
	runErr := cmd.Run()
	if cmd.Process != nil {
		// Servers that a test left behind; without any, nobody is in the group.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}

	report, err := os.Open(filepath.Join(kept, "TEST-junit-jupiter.xml"))
	if err != nil {
		text, _ := os.ReadFile(out)
		t.Errorf("%s has no report (%v): %s", class, runErr, text[max(0, len(text)-4000):])
		return results{}, nil
	}
	defer report.Close()
	got, reasons, err := outcomes.ReadJUnit(report, javaName)
	if err != nil {
		t.Errorf("%s: %v", class, err)
	}
	if servers, _ := filepath.Glob(filepath.Join(kept, "*.log")); len(servers) == 0 && binary != "" {
		t.Errorf("%s started no coordd: whatever it tests, it is something else", class)
	}
	return got, reasons
}
