package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxFileSize bounds what is read of any one file: a thousand times what a
// configuration needs.
const maxFileSize = 1 << 20

var errTooLarge = fmt.Errorf("larger than %d bytes", maxFileSize)

func readLimited(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = errTooLarge
	}
	return text, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f)
}

// Load reads the file at path and those it names. The error is an *Error.
func Load(path string) (*Config, error) {
	c, faults := LoadAll(path)
	if len(faults) > 0 {
		return nil, faults[0]
	}
	return c, nil
}

// LoadAll is Load that goes on behind a line that stops the start. With such
// lines the Config is for Explain alone.
func LoadAll(path string) (*Config, []*Error) {
	f, err := os.Open(path)
	if err != nil {
		c := newConfig()
		c.fault(&Error{File: path, Msg: "cannot be read", Err: unwrapPath(err)})
		return c, c.faults
	}
	defer f.Close()
	c := read(path, f, readFile)
	return c, c.faults
}

// unwrapPath leaves out the path that an os error repeats.
func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Parse reads a file from r; name is what messages call it. The dynamic file
// and myid are read with readFile, which returns an error for which
// errors.Is(err, fs.ErrNotExist) holds if there is none. The error is an *Error.
func Parse(name string, r io.Reader, readFile func(path string) ([]byte, error)) (*Config, error) {
	c := read(name, r, readFile)
	if len(c.faults) > 0 {
		return nil, c.faults[0]
	}
	return c, nil
}

// read is Parse, with what is wrong in faults.
func read(name string, r io.Reader, readFile func(path string) ([]byte, error)) *Config {
	c := newConfig()
	c.name = name
	raw, err := readLimited(r)
	if err != nil {
		c.fault(&Error{File: name, Msg: "cannot be read", Err: unwrapPath(err)})
		return c
	}
	props, line, err := parseProperties(raw)
	if err != nil {
		c.fault(&Error{File: name, Line: line, Msg: "not a line of a properties file", Err: err})
		return c
	}
	c.keepText(raw, props)
	last := map[string]int{} // key: line that wins
	for _, p := range props {
		last[p.key] = p.line
	}
	_, dynamic := last["dynamicConfigFile"]
	var members []memberLine
	for _, p := range props {
		if line := last[p.key]; line != p.line {
			err = doubledMember(name, props, p, line)
			c.note(p, Overridden, "", fmt.Sprintf("Overridden by line %d: the last one counts.", line), true)
		} else if strings.HasPrefix(p.key, "server.") {
			members, err = c.addMember(members, p, dynamic)
		} else {
			err = c.setKey(p)
		}
		if err != nil {
			c.fault(err)
		}
	}
	if err := c.conclude(members, dynamic, readFile); err != nil {
		// With a fault before it, it may only follow from that.
		if len(c.faults) == 0 {
			c.fault(err)
		}
		return c
	}
	c.settleNotes()
	return c
}

// addMember takes a line server.N of the static file.
func (c *Config) addMember(members []memberLine, p property, dynamic bool) ([]memberLine, error) {
	if dynamic {
		return members, c.fail(p, "must be in the file that dynamicConfigFile names")
	}
	m, err := parseMember(strings.TrimPrefix(p.key, "server."), p.value)
	if err != nil {
		return members, c.fail(p, err.Error())
	}
	c.sources[p.key] = fmt.Sprintf("%s:%d", c.name, p.line)
	c.note(p, Honored, m.String(), memberDoc(m), false)
	return append(members, memberLine{m, c.name, p}), nil
}

// conclude is what follows when all lines are read.
func (c *Config) conclude(members []memberLine, dynamic bool, readFile func(path string) ([]byte, error)) (err error) {
	if dynamic {
		if members, err = c.readDynamic(readFile); err != nil {
			return err
		}
	}
	if err := c.setMembers(members); err != nil {
		return err
	}
	return c.finish(readFile)
}

// setKey gives one line of the static file its effect.
func (c *Config) setKey(p property) error {
	if strings.HasPrefix(p.key, "zookeeper.") {
		return c.prefixed(p)
	}
	k := lookup(p.key)
	if k == nil {
		if strings.HasPrefix(p.key, "coordd.") {
			return c.fail(p, "no such key"+nearest(p.key))
		}
		c.note(p, Unknown, "", "Nothing knows this key; it has no effect"+nearest(p.key)+".", true)
		return nil
	}
	if k.Status == Refused {
		if !k.harmless(p.value) {
			return c.fail(p, k.refusal())
		}
		c.note(p, Refused, "", "Accepted with this value only. "+k.Doc, false)
		return nil
	}
	if k.value.set != nil {
		value := p.value
		if k.Property {
			value = decoded(value)
		}
		if err := k.value.set(c, value); err != nil {
			return c.fail(p, "allowed: "+err.Error())
		}
	}
	c.sources[p.key] = fmt.Sprintf("%s:%d", c.name, p.line)
	c.note(p, k.Status, "", k.Doc, false)
	return nil
}

// prefixed deals with a line such as zookeeper.snapCount=…, the name of the
// system property instead of the key. ZooKeeper 3.9 makes it the property
// zookeeper.zookeeper.snapCount, which nothing reads (TestPrefixedKeys). It
// has no effect here either, lest skipACL or a super user come alive at the
// change of servers; but whoever asks for security is refused all the same.
func (c *Config) prefixed(p property) error {
	name := strings.TrimPrefix(p.key, "zookeeper.")
	k := lookup(name)
	if k != nil && k.Status == Refused && !k.harmless(p.value) {
		return c.fail(p, k.refusal())
	}
	hint := ""
	if k != nil {
		hint = " Write it as " + name + "."
	}
	c.note(p, Unknown, "", "In a file this has no effect, as in ZooKeeper, which puts its own zookeeper. before it."+hint, true)
	return nil
}

// finish derives what follows from several keys and checks them against each
// other.
func (c *Config) finish(readFile func(string) ([]byte, error)) error {
	if c.DataDir == "" {
		return c.failKey("dataDir", "is not set: name the directory for snapshots and myid")
	}
	if c.DataLogDir == "" {
		c.DataLogDir = c.DataDir
	}
	if err := c.deriveTiming(); err != nil {
		return err
	}
	if err := c.deriveMode(); err != nil {
		return err
	}
	if err := c.deriveMyID(readFile); err != nil {
		return err
	}
	if err := c.deriveClientPort(); err != nil {
		return err
	}
	c.deriveWords()
	c.deriveThrottle()
	if c.Metrics.Enabled && c.Admin.Enabled && c.Metrics.Port != 0 && c.Metrics.Port == c.Admin.Port {
		return c.failKey("metricsProvider.httpPort", fmt.Sprintf("is the AdminServer's port too (admin.serverPort, %d)", c.Admin.Port))
	}
	if c.Raft.SnapshotThreshold == 0 {
		c.Raft.SnapshotThreshold = uint64(c.snapCount)
	}
	if c.SkipACL {
		c.warn("skipACL", "No ACL is checked: every client may do everything.")
	}
	return nil
}

// deriveWords sets the words a client may use. As in ZooKeeper's
// FourLetterCommands, srvr is always among them, since zkServer.sh asks it,
// and isro is where read-only mode is on, since clients find such servers by it.
func (c *Config) deriveWords() {
	add := func(w string) {
		if w != "" && !slices.Contains(c.FourLetterWords, w) {
			c.FourLetterWords = append(c.FourLetterWords, w)
		}
	}
	for w := range strings.SplitSeq(c.words, ",") {
		w = strings.TrimSpace(w)
		if w == "*" {
			c.FourLetterWords = []string{"*"}
			return
		}
		add(w)
	}
	add("srvr")
	if c.ReadOnlyMode {
		add("isro")
	}
}

// deriveClientPort settles where clients connect. The rules are those of
// QuorumPeerConfig.setupClientPort: the member's own line wins, and a
// clientPort that contradicts it is an error.
func (c *Config) deriveClientPort() error {
	static := c.ClientPort != 0
	if c.ClientAddress != "" && !static {
		return c.failKey("clientPortAddress", "is set but clientPort is not")
	}
	if anyAddress(c.ClientAddress) {
		c.ClientAddress = ""
	}
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.ID == c.MyID })
	if i < 0 || c.Members[i].ClientPort == 0 {
		if !static {
			return c.failKey("clientPort", "is not set: name the port for clients, usually 2181")
		}
		return nil
	}
	m := c.Members[i]
	if static && (m.ClientPort != c.ClientPort || differ(c.ClientAddress, m.ClientAddr)) {
		return c.failKey("clientPort", fmt.Sprintf("clients would connect to %s, but server.%d says %s",
			joinHostPort(c.ClientAddress, c.ClientPort), m.ID, joinHostPort(m.ClientAddr, m.ClientPort)))
	}
	c.ClientAddress, c.ClientPort = m.ClientAddr, m.ClientPort
	if anyAddress(c.ClientAddress) {
		c.ClientAddress = ""
	}
	return nil
}

// differ reports whether two addresses are certainly not the same. A name may
// resolve to any address, so only two addresses can differ; none is any.
func differ(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x != y
}

func anyAddress(host string) bool { return host == "0.0.0.0" || host == "::" }
