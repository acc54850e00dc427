package zkprocess

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stepTimeout bounds one zkCli command and the watch events it is to cause.
const stepTimeout = 30 * time.Second

// ZkCliOnce runs one command as `zkCli -server addr args...` does and returns
// its stdout, stderr and exit code.
func ZkCliOnce(t testing.TB, addr string, args ...string) (stdout, stderr string, exitCode int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := zkCli(t, addr, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run zkCli: %v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func zkCli(t testing.TB, addr string, args ...string) *exec.Cmd {
	java := []string{"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", Classpath(t),
		"org.apache.zookeeper.ZooKeeperMain", "-server", addr}
	return exec.Command("java", append(java, args...)...)
}

// ZkCliScript feeds script to one zkCli, a line at a time, and returns each
// command followed by what it printed, normalised so that two correct servers
// give the same text:
//
//   - times, session ids and log lines are replaced or dropped, and zxids become
//     their rank among all zxids of the output, so their order is still compared;
//   - the identities that whoami lists, which have no order, are sorted;
//   - watch events stand behind the output of the command that caused them.
//
// Lines that start with '#' and empty lines are kept as they are. A line
// "# events N" waits until the last command has caused N watch events: zkCli
// prints them from a thread of its own, so without it their place is luck.
func ZkCliScript(t testing.TB, addr, script string) string {
	t.Helper()
	cmd := zkCli(t, addr)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("run zkCli: %v", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatalf("run zkCli: %v", err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer // one pipe, so errors keep their place
	err = cmd.Start()
	_ = writer.Close() // the process has its own, whose end ends the reading
	if err != nil {
		t.Fatalf("run zkCli: %v", err)
	}
	lines := make(chan string)
	go func() {
		scanner := bufio.NewScanner(reader)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		close(lines)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means it is gone
		for range lines {      // until the pipe is at its end
		}
		_ = cmd.Wait() // it was killed: nothing to learn
		_ = reader.Close()
	})

	cli := &zkCliSession{stdin: stdin, lines: lines}
	if _, err := cli.step("", 1); err != nil { // the connection event
		t.Fatalf("connect zkCli to %s: %v", addr, err)
	}
	var transcript []string
	commands := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i, command := range commands {
		if command == "" || strings.HasPrefix(command, "#") {
			transcript = append(transcript, command)
			continue
		}
		events := 0
		if i+1 < len(commands) {
			_, _ = fmt.Sscanf(commands[i+1], "# events %d", &events) // no such line, no events
		}
		printed, err := cli.step(command, events)
		transcript = append(transcript, "> "+command)
		transcript = append(transcript, printed...)
		if err != nil {
			t.Fatalf("zkCli %q: %v; so far:\n%s", command, err, strings.Join(transcript, "\n"))
		}
	}
	return normalise(strings.Join(transcript, "\n") + "\n")
}

// zkCliSession is a zkCli that waits for its next command.
type zkCliSession struct {
	stdin io.Writer
	lines <-chan string
}

// stepEnd is what `printwatches` without an argument prints. zkCli answers it
// without asking the server, so it marks the end of the command before.
const stepEnd = "printwatches is on"

// step runs one command, waits for its end and for the given number of watch
// events, and returns what was printed, the events last.
func (c *zkCliSession) step(command string, events int) ([]string, error) {
	if _, err := fmt.Fprintf(c.stdin, "%s\nprintwatches\n", command); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	var printed, seen []string
	timeout := time.After(stepTimeout)
	for ended := false; !ended || len(seen) < events; {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return append(printed, seen...), errors.New("zkCli exited")
			}
			if before, found := strings.CutSuffix(line, stepEnd); found {
				line, ended = before, true // some errors lack their newline
			}
			switch {
			case strings.HasPrefix(line, "WatchedEvent "):
				seen = append(seen, line)
			case line != "" && line != "WATCHER::" && !logLine.MatchString(line):
				printed = append(printed, line)
			}
		case <-timeout:
			return append(printed, seen...), fmt.Errorf("end of command seen: %v, watch events: %d of %d after %v", ended, len(seen), events, stepTimeout)
		}
	}
	return append(printed, seen...), nil
}

var (
	logLine    = regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} (TRACE|DEBUG|INFO |WARN |ERROR) `) // as in logback.xml
	timeLine   = regexp.MustCompile(`(?m)^([cm]time) = .*$`)
	ownerLine  = regexp.MustCompile(`(?m)^(ephemeralOwner) = 0x[0-9a-f]{2,}$`)
	identities = regexp.MustCompile(`Auth scheme: User\n(\w+: .*\n)+`)
	zxidText   = regexp.MustCompile(`(?m)(^[cmp]Zxid = 0x| zxid: )([0-9a-f]+)$`)
)

func normalise(transcript string) string {
	transcript = timeLine.ReplaceAllString(transcript, "$1 = <time>")
	transcript = ownerLine.ReplaceAllString(transcript, "$1 = <session>")
	transcript = identities.ReplaceAllStringFunc(transcript, func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		slices.Sort(lines[1 : len(lines)-1])
		return strings.Join(lines, "")
	})
	value := func(match []string) uint64 {
		base := 16
		if strings.HasSuffix(match[1], ": ") {
			base = 10 // a watch event
		}
		v, _ := strconv.ParseUint(match[2], base, 64) // the expression matches digits only
		return v
	}
	ranks := []uint64{0} // zxid 0 is the state before any write, shown or not
	for _, match := range zxidText.FindAllStringSubmatch(transcript, -1) {
		ranks = append(ranks, value(match))
	}
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	return zxidText.ReplaceAllStringFunc(transcript, func(s string) string {
		match := zxidText.FindStringSubmatch(s)
		rank, _ := slices.BinarySearch(ranks, value(match))
		return strings.TrimSuffix(match[1], "0x") + fmt.Sprintf("<zxid %d>", rank)
	})
}
