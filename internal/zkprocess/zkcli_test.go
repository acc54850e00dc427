package zkprocess

import (
	"bytes"
	"strings"
	"testing"
)

func TestNormalise(t *testing.T) {
	got := normalise(`> stat /a
cZxid = 0x10000000a
ctime = Mon Nov 23 10:01:39 UTC 2026
mZxid = 0x10000000c
mtime = Mon Nov 23 10:01:39 UTC 2026
pZxid = 0x10000000a
ephemeralOwner = 0x1000014ec550000
> stat /
cZxid = 0x0
ephemeralOwner = 0x0
> set /a
WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 4294967308
> removewatches /a
WatchedEvent state:SyncConnected type:DataWatchRemoved path:/a zxid: -1
> get /a
cZxid in data stays 0x10000000a
> whoami
Auth scheme: User
ip: 127.0.0.1
digest: alice
> ls /
`)
	want := `> stat /a
cZxid = <zxid 1>
ctime = <time>
mZxid = <zxid 2>
mtime = <time>
pZxid = <zxid 1>
ephemeralOwner = <session>
> stat /
cZxid = <zxid 0>
ephemeralOwner = 0x0
> set /a
WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: <zxid 2>
> removewatches /a
WatchedEvent state:SyncConnected type:DataWatchRemoved path:/a zxid: -1
> get /a
cZxid in data stays 0x10000000a
> whoami
Auth scheme: User
digest: alice
ip: 127.0.0.1
> ls /
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStepPutsEventsLast(t *testing.T) {
	lines := make(chan string, 20)
	for _, line := range []string{
		"", "WATCHER::", "", "WatchedEvent first", "Created /x",
		"10:01:38.233 WARN  ClientCnxn something", "an error without newline" + stepEnd,
		"WATCHER::", "WatchedEvent second", "of the next step",
	} {
		lines <- line
	}
	var sent bytes.Buffer
	printed, err := (&zkCliSession{stdin: &sent, lines: lines}).step("create /x", 2)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(printed, "|"), "Created /x|an error without newline|WatchedEvent first|WatchedEvent second"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if got, want := sent.String(), "create /x\nprintwatches\n"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	if len(lines) != 1 {
		t.Errorf("%d lines left for the next step, want 1", len(lines))
	}
}

func TestStepReportsAnExit(t *testing.T) {
	lines := make(chan string, 1)
	lines <- "last words"
	close(lines)
	printed, err := (&zkCliSession{stdin: &bytes.Buffer{}, lines: lines}).step("ls /", 0)
	if err == nil || len(printed) != 1 {
		t.Errorf("got %q, %v, want the last words and an error", printed, err)
	}
}
