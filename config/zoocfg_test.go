package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// The sample file that comes with ZooKeeper, and what its parser makes of it.
func TestSampleFile(t *testing.T) {
	c := mustParse(t, `# The number of milliseconds of each tick
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/tmp/zookeeper
clientPort=2181
#maxClientCnxns=60
#autopurge.snapRetainCount=3
`)
	if c.TickTime != 2*time.Second || c.MinSessionTimeout != 4*time.Second || c.MaxSessionTimeout != 40*time.Second {
		t.Errorf("tick %v, sessions %v to %v", c.TickTime, c.MinSessionTimeout, c.MaxSessionTimeout)
	}
	if c.DataLogDir != "/tmp/zookeeper" || c.ClientPort != 2181 || !c.Standalone || c.MyID != 1 || c.MaxClientCnxns != 60 {
		t.Errorf("%+v", c)
	}
	if c.InitTimeout() != 20*time.Second || c.SyncTimeout() != 10*time.Second {
		t.Errorf("limits %v, %v", c.InitTimeout(), c.SyncTimeout())
	}
	if got := []string{c.Source("tickTime"), c.Source("clientPort"), c.Source("maxClientCnxns")}; !slices.Equal(got, []string{"zoo.cfg:2", "zoo.cfg:6", ""}) {
		t.Errorf("sources %q", got)
	}
}

func TestUnsetKeys(t *testing.T) {
	c := mustParse(t, base)
	if c.TickTime != 3*time.Second || c.MaxBuffer != 1048575 || c.GlobalOutstandingLimit != 1000 || c.SessionlessTimeout != 10*time.Second {
		t.Errorf("%+v", c)
	}
	r := Raft{500 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond, 10 * time.Millisecond, 100000, 10240, WAL, BootstrapMajority}
	if c.Raft != r {
		t.Errorf("%+v", c.Raft)
	}
	if c := mustParse(t, base+"coordd.heartbeatTimeout=100"); c.Raft.LeaderLeaseTimeout != 100*time.Millisecond {
		t.Errorf("a leader's lease of %v, and heartbeats are missed after 100 ms", c.Raft.LeaderLeaseTimeout)
	}
	if a := (Admin{true, "0.0.0.0", 8080, "/commands", 30 * time.Second, true, 300 * time.Millisecond}); c.Admin != a {
		t.Errorf("%+v", c.Admin)
	}
	if c.Metrics.Enabled || c.SkipACL || c.EnforceQuota || !c.DigestAuthEnabled || !c.LeaderServes || !c.DataDirAutocreate {
		t.Errorf("%+v", c)
	}
	if got := mustParse(t, base+"snapCount=1\ncoordd.snapshotThreshold=50").Raft.SnapshotThreshold; got != 50 {
		t.Errorf("snapshotThreshold %d", got)
	}
	if got := mustParse(t, base+"snapCount=1").Raft.SnapshotThreshold; got != 2 {
		t.Errorf("snapCount=1: threshold %d", got)
	}
}

func TestDefaultConfig(t *testing.T) {
	c := Default()
	if !c.Standalone || c.ClientPort != 2181 || c.DataDir != "coordd-data" || c.DataLogDir != "coordd-data" || c.TickTime != 2*time.Second ||
		!c.Allows("wchp") || !c.Admin.Enabled || c.Admin.Port != 8080 || c.MyID != 1 {
		t.Errorf("%+v", c)
	}
}

func TestFourLetterWords(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"", "srvr"},
		{"readonlymode.enabled=true", "srvr isro"},
		{"4lw.commands.whitelist=ruok, mntr", "ruok mntr srvr"},
		{"4lw.commands.whitelist=isro,srvr\nreadonlymode.enabled=true", "isro srvr"},
		{"4lw.commands.whitelist=ruok,*", "*"},
		{"4lw.commands.whitelist=", "srvr"},
	} {
		c := mustParse(t, base+tc.line)
		if got := strings.Join(c.FourLetterWords, " "); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.line, got, tc.want)
		}
		if all := c.Allows("cons"); all != (tc.want == "*") || !c.Allows("srvr") {
			t.Errorf("%q: cons %v", tc.line, all)
		}
	}
}

func noteFor(t *testing.T, c *Config, line int) Note {
	t.Helper()
	for _, n := range c.Notes() {
		if n.Line == line {
			return n
		}
	}
	t.Fatalf("no note for line %d", line)
	return Note{}
}

// No line is dropped in silence.
func TestNotes(t *testing.T) {
	c := mustParse(t, base+
		"tickTime=1000\n"+ // 3
		"tickTime=2000\n"+
		"electionAlg=3\n"+
		"someThing=1\n"+ // 6
		"TickTime=5\n"+
		"sslQuorum=false\n"+
		"autopurge.snapRetainCount=1\n"+ // 9
		"skipACL=yes\n"+
		"forceSync=no\n"+
		"server.3=zk1:2888:3888\n"+ // 12
		"metricsProvider.some=1\n"+
		"=x\n"+
		"jute.maxbuffer=0x100000\n")
	for _, tc := range []struct {
		line      int
		status    Status
		effective string
		warn      bool
		text      string
	}{
		{1, Honored, "/data", false, "Directory"},
		{3, Overridden, "", true, "line 4"},
		{4, Mapped, "2000", false, "tick"},
		{5, Ignored, "", false, "Raft elects"},
		{6, Unknown, "", true, "Nothing knows"},
		{7, Unknown, "", true, "did you mean tickTime?"},
		{8, Refused, "", false, "Accepted with this value only"},
		{9, Mapped, "3", true, "3 at least"},
		{10, Honored, "yes", true, "No ACL is checked"},
		{11, Ignored, "", false, "cannot be switched off"},
		{12, Honored, "zk1:2888:3888:participant", true, "standalone"},
		{13, Ignored, "", false, "metrics provider"},
		{14, Unknown, "", true, "Nothing knows"},
		{15, Honored, "1048576", false, "Longest request"},
	} {
		n := noteFor(t, c, tc.line)
		if n.Status != tc.status || n.Effective != tc.effective || n.Warn != tc.warn || !strings.Contains(n.Text, tc.text) || n.File != "zoo.cfg" {
			t.Errorf("line %d: %+v", tc.line, n)
		}
	}
	for _, n := range c.Warnings() {
		if !n.Warn && n.Status != Ignored {
			t.Errorf("for the log: %+v", n)
		}
	}
	var out strings.Builder
	if err := Explain(&out, c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tickTime=1000", "ignored", "(runs with 3)", "Standalone server 3; clients on 0.0.0.0:2181"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestExplainReportsWriteErrors(t *testing.T) {
	full := errors.New("disk full")
	if err := Explain(failingWriter{full}, Default()); !errors.Is(err, full) {
		t.Errorf("Explain: %v", err)
	}
	if err := WriteDoc(failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("WriteDoc: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// ZooKeeper 3.9.4 makes zookeeper.X in a file the property zookeeper.zookeeper.X,
// which has no effect.
func TestPrefixedKeys(t *testing.T) {
	c := mustParse(t, base+"zookeeper.skipACL=yes\nzookeeper.DigestAuthenticationProvider.superDigest=super:x\n"+
		"zookeeper.4lw.commands.whitelist=*\nzookeeper.snapCount=7\nzookeeper.nonsense=1\n")
	if c.SkipACL || c.SuperDigest != "" || c.Allows("cons") || c.Raft.SnapshotThreshold != 100000 {
		t.Errorf("%+v", c)
	}
	for line := 3; line <= 7; line++ {
		if n := noteFor(t, c, line); n.Status != Unknown || !n.Warn {
			t.Errorf("%+v", n)
		}
	}
	if n := noteFor(t, c, 6); !strings.Contains(n.Text, "Write it as snapCount.") {
		t.Errorf("%+v", n)
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "zoo.cfg: dataDir: is not set: name the directory for snapshots and myid"},
		{"dataDir=/x", "zoo.cfg: clientPort: is not set: name the port for clients, usually 2181"},
		{base + "tickTime=fast", `zoo.cfg:3: tickTime="fast": allowed: a whole number from 1 to 107374182 (milliseconds)`},
		{base + "\n\nmaxCnxns=-1", `zoo.cfg:5: maxCnxns="-1": allowed: a whole number, 0 or more`},
		{base + "a=\\u12", `zoo.cfg:3: not a line of a properties file: \u must be followed by four hexadecimal digits`},
		{base + "coordd.Bootstrap=all", `zoo.cfg:3: coordd.Bootstrap="all": no such key; did you mean coordd.bootstrap?`},
		{base + "coordd.x=\x01", `zoo.cfg:3: coordd.x: no such key`},
		{base + "minSessionTimeout=70000", `zoo.cfg:3: minSessionTimeout="70000": minSessionTimeout (70000 ms) must not be larger than maxSessionTimeout (60000 ms)`},
		{base + "maxSessionTimeout=5000", `zoo.cfg:3: maxSessionTimeout="5000": minSessionTimeout (6000 ms) must not be larger than maxSessionTimeout (5000 ms)`},
		{base + "tickTime=1000\ninitLimit=2147484", `zoo.cfg:4: initLimit="2147484": times tickTime (1000 ms) is more than 2147483647 ms`},
		{base + "coordd.heartbeatTimeout=600", `zoo.cfg: coordd.electionTimeout: allowed: at least coordd.heartbeatTimeout (600ms)`},
		{base + "coordd.leaderLeaseTimeout=600", `zoo.cfg:3: coordd.leaderLeaseTimeout="600": allowed: at most coordd.heartbeatTimeout (500ms)`},
		{base + "sslQuorum=true", `zoo.cfg:3: sslQuorum="true": is not built yet, so coordd does not start with it; allowed: false, or no such line`},
		{base + "metricsProvider.className=" + prometheusProvider + "\nmetricsProvider.httpPort=8080",
			`zoo.cfg:4: metricsProvider.httpPort="8080": is the AdminServer's port too (admin.serverPort, 8080)`},
		{base + "tickTime=x\ntickTime=0\ntickTime=1000\nskipACL=maybe", `zoo.cfg:6: skipACL="maybe": allowed: yes or no`},
	} {
		_, err := parse(t, tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%q:\n got %v\nwant %s", tc.text, err, tc.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Parse("zoo.cfg", iotest.ErrReader(broken), noFiles); !errors.Is(err, broken) {
		t.Errorf("reader: %v", err)
	}
	if _, err := Parse("zoo.cfg", strings.NewReader(strings.Repeat("#", maxFileSize+1)), noFiles); !errors.Is(err, errTooLarge) {
		t.Errorf("large file: %v", err)
	}
	fail := func(string) ([]byte, error) { return nil, broken }
	if _, err := Parse("zoo.cfg", strings.NewReader(base), fail); !errors.Is(err, broken) {
		t.Errorf("myid: %v", err)
	}
	if _, err := Parse("zoo.cfg", strings.NewReader(base+"dynamicConfigFile=/d"), fail); !errors.Is(err, broken) {
		t.Errorf("dynamic file: %v", err)
	}
	huge := func(string) ([]byte, error) { return make([]byte, maxFileSize+1), nil }
	if _, err := Parse("zoo.cfg", strings.NewReader(base), huge); !errors.Is(err, errTooLarge) {
		t.Errorf("large myid: %v", err)
	}
	if c, err := Parse("zoo.cfg", strings.NewReader(base), nil); err != nil || c.MyID != 1 {
		t.Errorf("without a reader: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "zoo.cfg")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || err.Error() != path+": cannot be read: no such file or directory" {
		t.Errorf("missing file: %v", err)
	}
	write("zoo.cfg", "dataDir="+dir+"\nclientPort=2181\ninitLimit=10\nsyncLimit=5\ndynamicConfigFile="+filepath.Join(dir, "zoo.cfg.dynamic")+"\n")
	write("zoo.cfg.dynamic", three)
	write("myid", "3\n")
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil || c.MyID != 3 || c.Source("server.3") != filepath.Join(dir, "zoo.cfg.dynamic")+":3" {
		t.Fatalf("%+v, %v", c, err)
	}
	if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
		t.Errorf("something was written: %v, %v", after, err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory is taken for a file")
	}
}

func TestNoteIsOneLine(t *testing.T) {
	c := mustParse(t, base+"some.key=a\\nb")
	if got, want := c.Warnings()[0].String(), `zoo.cfg:3: some.key="a\nb": Nothing knows this key; it has no effect.`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
