package config

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Member is one server.N line.
type Member struct {
	ID uint8 // N, 1 to 255; the Raft server id is its decimal text
	// Host is a name as written or an address in its one form, without brackets.
	Host         string
	QuorumPort   int // streams between servers; 1 to 65535
	ElectionPort int // Raft's transport; 1 to 65535, not QuorumPort
	Observer     bool
	// ClientAddr and ClientPort are the part behind the semicolon: "" and 0
	// without one, 0.0.0.0 if it is a port alone.
	ClientAddr string
	ClientPort int
}

// maxMembers is where ids end: an id is the top byte of session ids.
const maxMembers = 255

// QuorumAddr is host:port for streams between servers.
func (m Member) QuorumAddr() string { return joinHostPort(m.Host, m.QuorumPort) }

// ElectionAddr is host:port of Raft's transport.
func (m Member) ElectionAddr() string { return joinHostPort(m.Host, m.ElectionPort) }

// String is the right side of a server.N line as ZooKeeper prints it:
// QuorumPeer.QuorumServer.toString, IPv6 addresses with all eight groups.
func (m Member) String() string {
	s := fmt.Sprintf("%s:%d:%d:%s", javaHost(m.Host), m.QuorumPort, m.ElectionPort, m.role())
	if m.ClientPort != 0 {
		s += fmt.Sprintf(";%s:%d", javaHost(m.ClientAddr), m.ClientPort)
	}
	return s
}

func (m Member) role() PeerType {
	if m.Observer {
		return Observer
	}
	return Participant
}

func javaHost(h string) string {
	a, err := netip.ParseAddr(h)
	if err != nil || a.Is4() {
		return h
	}
	b := a.As16()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = strconv.FormatUint(uint64(b[2*i])<<8|uint64(b[2*i+1]), 16)
	}
	h = strings.Join(groups, ":")
	if a.Zone() != "" {
		h += "%" + a.Zone()
	}
	return "[" + h + "]"
}

func joinHostPort(host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// memberLine is a Member and where it was written.
type memberLine struct {
	Member
	file string
	prop property
}

// doubledMember refuses a server line that a later one, at line last, says
// differently. ZooKeeper takes the last without a word, and with a slip of the
// pen in the number runs an ensemble of one server less than its file lists.
func doubledMember(file string, props []property, p property, last int) error {
	if !strings.HasPrefix(p.key, "server.") {
		return nil
	}
	i := slices.IndexFunc(props, func(q property) bool { return q.key == p.key && q.line == last })
	if i < 0 || props[i].value == p.value {
		return nil
	}
	return lineError(file, props[i], fmt.Sprintf("line %d has another %s: give each server a number of its own, and one line", p.line, p.key))
}

func memberDoc(m Member) string {
	if m.Observer {
		return "A member that does not vote (a Raft nonvoter)."
	}
	return "A member that votes (a Raft voter)."
}

var (
	errMemberForm = errors.New("allowed: host:quorumPort:electionPort, then perhaps :participant or :observer, then perhaps ;clientPort or ;clientAddress:clientPort; IPv6 addresses in brackets")
	errMultiple   = errors.New("several addresses for one member are not built yet; give one")
	errSamePorts  = errors.New("quorum port and election port must be different")
	errMemberID   = errors.New("the N of server.N must be a number from 1 to 255")
)

// ParseMember parses a server line, key and all, as in
// "server.1=host:2888:3888:participant;2181".
func ParseMember(line string) (Member, error) {
	key, value, ok := strings.Cut(line, "=")
	id, isServer := strings.CutPrefix(strings.TrimSpace(key), "server.")
	if !ok || !isServer {
		return Member{}, fmt.Errorf("%q does not begin with server.N=", line)
	}
	return parseMember(id, strings.TrimSpace(value))
}

// parseMember takes what QuorumServer's constructor takes, but looks at
// everything: an empty host or a port out of range never gets through.
func parseMember(id, v string) (m Member, err error) {
	n, err := strconv.ParseUint(id, 10, 8)
	if err != nil || n == 0 {
		return m, errMemberID
	}
	m.ID = uint8(n)
	parts := javaSplit(v, ";")
	if len(parts) == 0 || len(parts) > 2 {
		return m, errMemberForm
	}
	if strings.Contains(parts[0], "|") {
		return m, errMultiple
	}
	server, err := hostAndPorts(parts[0])
	if err != nil || len(server) < 3 || len(server) > 4 {
		return m, errMemberForm
	}
	if m.Host, err = normalHost(server[0]); err != nil {
		return m, fmt.Errorf("%q is not %w", server[0], err)
	}
	if m.QuorumPort, err = parsePort(server[1]); err != nil {
		return m, err
	}
	if m.ElectionPort, err = parsePort(server[2]); err != nil {
		return m, err
	}
	if m.QuorumPort == m.ElectionPort {
		return m, errSamePorts
	}
	if len(server) == 4 {
		switch PeerType(strings.ToLower(strings.TrimSpace(server[3]))) {
		case Observer:
			m.Observer = true
		case Participant:
		default:
			return m, fmt.Errorf("role %q: allowed: participant or observer", server[3])
		}
	}
	if len(parts) == 1 {
		return m, nil
	}
	client, err := hostAndPorts(parts[1])
	if err != nil || len(client) == 0 || len(client) > 2 {
		return m, errMemberForm
	}
	m.ClientAddr = "0.0.0.0"
	if len(client) == 2 {
		if m.ClientAddr, err = normalHost(client[0]); err != nil {
			return m, fmt.Errorf("%q is not %w", client[0], err)
		}
	}
	m.ClientPort, err = parsePort(client[len(client)-1])
	return m, err
}

func parsePort(s string) (int, error) {
	n, err := integer(s, 1, 65535)
	if err != nil {
		return 0, fmt.Errorf("port %q: allowed: %w", s, err)
	}
	return int(n), nil
}

// hostAndPorts is ConfigUtils.getHostAndPort: fields between colons, the first
// of which may be an IPv6 address in brackets.
func hostAndPorts(s string) ([]string, error) {
	rest, ok := strings.CutPrefix(s, "[")
	if !ok {
		return javaSplit(s, ":"), nil
	}
	host, rest, ok := strings.Cut(rest, "]")
	if !ok || !strings.Contains(host, ":") {
		return nil, errMemberForm
	}
	rest, ok = strings.CutPrefix(rest, ":")
	if !ok {
		return nil, errMemberForm
	}
	return append([]string{host}, javaSplit(rest, ":")...), nil
}

// javaSplit is String.split, which leaves out empty parts at the end.
func javaSplit(s, sep string) []string {
	parts := strings.Split(s, sep)
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

// setMembers checks the list as a whole and puts it into c, sorted.
func (c *Config) setMembers(lines []memberLine) error {
	byID := map[uint8]memberLine{}
	byAddr := map[string]memberLine{}
	for _, l := range lines {
		if other, ok := byID[l.ID]; ok {
			return lineError(l.file, l.prop, fmt.Sprintf("is the same member as %s in line %d", other.prop.key, other.prop.line))
		}
		byID[l.ID] = l
		if c.ExtendedTypesEnabled && l.ID == maxMembers {
			return lineError(l.file, l.prop, "with extendedTypesEnabled the N of server.N must be a number from 1 to 254")
		}
		for _, addr := range []string{l.QuorumAddr(), l.ElectionAddr()} {
			addr = strings.ToLower(addr)
			if other, ok := byAddr[addr]; ok && other.ID != l.ID {
				return lineError(l.file, l.prop, fmt.Sprintf("%s is an address of %s too (line %d)", addr, other.prop.key, other.prop.line))
			}
			byAddr[addr] = l
		}
		c.Members = append(c.Members, l.Member)
	}
	slices.SortFunc(c.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// Voters are the members that vote, sorted by ID.
func (c *Config) Voters() []Member {
	var voters []Member
	for _, m := range c.Members {
		if !m.Observer {
			voters = append(voters, m)
		}
	}
	return voters
}

// Member finds a member by its id.
func (c *Config) Member(id uint8) (Member, bool) {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return c.Members[i], true
}

// DynamicText is the data of /zookeeper/config: a line for each member and the
// version in hexadecimal, without a newline at the end. A client address shows
// only if the server line has one. On a standalone server it is empty.
func (c *Config) DynamicText(version int64) string {
	if c.Standalone {
		return ""
	}
	var b strings.Builder
	for _, m := range c.Members {
		fmt.Fprintf(&b, "server.%d=%s\n", m.ID, m)
	}
	b.WriteString("version=" + formatVersion(version))
	return b.String()
}

// MembershipDigest stands for the list of voters in a first start: servers
// whose files name the same voters at the same addresses agree on it, whatever
// the order of lines, the case of host names, the client addresses or the
// observers. Its first half is of the whole list; byte N modulo 16 of its second
// half is of the line server.N, so that DifferingMembers can name it.
func (c *Config) MembershipDigest() [sha256.Size]byte {
	var all strings.Builder
	var digest [sha256.Size]byte
	for _, m := range c.Voters() {
		line := fmt.Sprintf("server.%d=%s:%d:%d\n", m.ID, javaHost(strings.ToLower(m.Host)), m.QuorumPort, m.ElectionPort)
		all.WriteString(line)
		sum := sha256.Sum256([]byte(line))
		digest[digestHalf+int(m.ID)%digestHalf] ^= sum[0] | 1 // never 0, as no line is
	}
	whole := sha256.Sum256([]byte(all.String()))
	copy(digest[:digestHalf], whole[:])
	return digest
}

const digestHalf = sha256.Size / 2

// DifferingMembers names, for an operator, the voters in which a list with the
// given MembershipDigest differs from this one: their lines here, or that there
// is none. A line may go unnamed by chance, one in 128; of members 16 numbers
// apart both are named.
func (c *Config) DifferingMembers(other [sha256.Size]byte) string {
	own := c.MembershipDigest()
	var differ []string
	for slot := range digestHalf {
		if own[digestHalf+slot] == other[digestHalf+slot] {
			continue
		}
		here := false
		for _, m := range c.Voters() {
			if int(m.ID)%digestHalf == slot {
				differ = append(differ, fmt.Sprintf("server.%d=%s here", m.ID, m))
				here = true
			}
		}
		if !here {
			id := slot
			if id == 0 {
				id = digestHalf
			}
			differ = append(differ, fmt.Sprintf("no server.%d that votes here", id))
		}
	}
	if differ == nil {
		return "one of the lines"
	}
	return strings.Join(differ, ", ")
}
