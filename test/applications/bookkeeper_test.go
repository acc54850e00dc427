//go:build applications

package applications

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
)

// bookieSession is BookKeeper's default zkTimeout.
const bookieSession = 10 * time.Second

const auditorElection = "/ledgers/underreplication/auditorelection"

// bookkeeper is three bookies, which also see to it that every entry stays on two,
// and what is needed to use them.
type bookkeeper struct {
	servers  *onlooker
	commands map[string]command // by bookieId
	bookies  map[string]*program
	client   func(args ...string) []string
}

// TestBookKeeper kills the bookie that is the auditor, then the leader of the
// servers, then both at once, while a client writes and begins one ledger after
// the other.
func TestBookKeeper(t *testing.T) {
	zoo := startZoo(t)
	b := startBookKeeper(t, zoo)
	w := startLoad(t, command{name: "writer", argv: b.client("write")})
	w.awaitWrites(t, 50, patience)

	b.failover(t, w, nil)
	zoo.withoutLeader(t, "BookKeeper", w, bookieSession, b.state)
	leader := zoo.leader(t)
	b.failover(t, w, leader)
	zoo.revive(t, leader)

	w.end(t)
	w.check(t, command{name: "reader", argv: b.client("read")}.run(t, patience))
}

func startBookKeeper(t *testing.T, zoo *zoo) *bookkeeper {
	t.Helper()
	client := absolute("bookkeeper/Client.java")
	classes := classPath(t, "bookkeeper")
	options := []string{"-Dlog4j.configurationFile=" + absolute("bookkeeper/log4j2.xml"), "-XX:MaxDirectMemorySize=128m"}
	metadata := "zk+hierarchical://" + strings.ReplaceAll(zoo.connect(), ",", ";") + "/ledgers"
	b := &bookkeeper{
		servers:  zoo.onlooker(t),
		commands: map[string]command{},
		bookies:  map[string]*program{},
		client: func(args ...string) []string {
			return java(classes, options, client, append(args, metadata)...)
		},
	}
	var config string
	for i, port := range zkprocess.FreePorts(t, "127.0.0.1", 3) {
		id := fmt.Sprintf("bookie%d", i+1)
		dir := t.TempDir()
		config = filepath.Join(dir, "bookie.conf")
		text := fmt.Sprintf(`bookieId=%s
bookiePort=%d
listeningInterface=lo
allowLoopback=true
metadataServiceUri=%s
journalDirectories=%s
ledgerDirectories=%s
autoRecoveryDaemonEnabled=true
diskUsageThreshold=0.99
`, id, port, metadata, filepath.Join(dir, "journal"), filepath.Join(dir, "ledgers"))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatalf("configure a bookie: %v", err)
		}
		b.commands[id] = command{name: id, dir: dir, argv: java(classes, options, "org.apache.bookkeeper.server.Main", "--conf", config)}
	}
	shell := java(classes, options, "org.apache.bookkeeper.bookie.BookieShell", "-conf", config, "initnewcluster")
	command{name: "initnewcluster", argv: shell}.run(t, patience)
	for id, c := range b.commands {
		b.bookies[id] = c.start(t)
	}
	b.awaitBookies(t)
	return b
}

// awaitBookies waits until all three are available and stand for election.
func (b *bookkeeper) awaitBookies(t *testing.T) {
	t.Helper()
	eventually(t, patience, "three bookies, and an auditor of them", func() error {
		elected, err := b.servers.children(auditorElection)
		if err != nil {
			return err
		}
		if len(elected) != 3 {
			return fmt.Errorf("%d stand for election", len(elected))
		}
		if _, err := b.auditor(); err != nil {
			return err
		}
		_, err = b.state()
		return err
	})
}

// state is the bookies' ephemerals.
func (b *bookkeeper) state() (string, error) {
	paths := []string{"/ledgers/available/bookie1", "/ledgers/available/bookie2", "/ledgers/available/bookie3"}
	elected, err := b.servers.children(auditorElection)
	if err != nil {
		return "", err
	}
	slices.Sort(elected)
	for _, name := range elected {
		paths = append(paths, auditorElection+"/"+name)
	}
	return b.servers.births(paths...)
}

var bookieID = regexp.MustCompile(`bookie\d`)

// auditor is the bookie that looks for ledgers on dead ones.
func (b *bookkeeper) auditor() (string, error) {
	data, _, err := b.servers.get(auditorElection)
	if err != nil {
		return "", err
	}
	id := bookieID.Find(data)
	if id == nil {
		return "", fmt.Errorf("%s names no bookie: %q", auditorElection, data)
	}
	return string(id), nil
}

// failover kills the auditor, and just before it server unless nil. The writer is
// to go on with the other bookies, one of which becomes the auditor and has
// everything copied that the dead one had.
func (b *bookkeeper) failover(t *testing.T, w *load, server *zkprocess.Server) {
	t.Helper()
	old, err := b.auditor()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "a ledger is on "+old, func() error {
		on, err := b.ledgersOn(old)
		if err == nil && on == 0 {
			err = errors.New("there is none")
		}
		return err
	})
	session := fmt.Sprintf(" (session %v)", bookieSession)
	start := time.Now()
	if server != nil {
		server.Kill()
	}
	b.bookies[old].kill()
	eventually(t, patience, "another auditor", func() error {
		now, err := b.auditor()
		if err == nil && now == old {
			err = fmt.Errorf("it is still %s", old)
		}
		return err
	})
	report(t, "BookKeeper", "bookie killed: another is auditor"+session, server != nil, time.Since(start))
	eventually(t, patience, "every ledger is on living bookies", func() error {
		on, err := b.ledgersOn(old)
		if err == nil && on > 0 {
			err = fmt.Errorf("%d are on %s", on, old)
		}
		return err
	})
	report(t, "BookKeeper", "bookie killed: all ledgers on two again"+session, server != nil, time.Since(start))
	w.awaitWrites(t, 50, patience)
	report(t, "BookKeeper", "bookie killed: longest wait of a writer", server != nil, w.longestWait(t, start))
	b.bookies[old] = b.commands[old].start(t)
	b.awaitBookies(t)
}

// ledgersOn counts the ledgers that have entries on a bookie. The metadata of
// ledger 12 is in /ledgers/00/0000/L0012, and names the bookies in plain text.
func (b *bookkeeper) ledgersOn(bookie string) (int, error) {
	count := 0
	high, err := b.servers.children("/ledgers/00")
	if err != nil {
		return 0, err
	}
	for _, h := range high {
		low, err := b.servers.children("/ledgers/00/" + h)
		if err != nil {
			return 0, err
		}
		for _, l := range low {
			data, _, err := b.servers.get("/ledgers/00/" + h + "/" + l)
			if err != nil {
				return 0, err
			}
			if bytes.Contains(data, []byte(bookie)) {
				count++
			}
		}
	}
	return count, nil
}
