package config

import (
	"io/fs"
	"strings"
	"testing"
)

// The printed forms are ZooKeeper 3.9.4's.
func TestServerLine(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"zk1:2888:3888", "zk1:2888:3888:participant"},
		{"zk1:2888:3888:participant", "zk1:2888:3888:participant"},
		{"zk1:2888:3888:Observer", "zk1:2888:3888:observer"},
		{"zk1:2888:3888:OBSERVER;2181", "zk1:2888:3888:observer;0.0.0.0:2181"},
		{"zk1:2888:3888;2181", "zk1:2888:3888:participant;0.0.0.0:2181"},
		{"zk1:2888:3888;zk1:2181", "zk1:2888:3888:participant;zk1:2181"},
		{"[::1]:2888:3888;2181", "[0:0:0:0:0:0:0:1]:2888:3888:participant;0.0.0.0:2181"},
		{"[2001:DB8::0:1]:2888:3888:participant;[::]:2181", "[2001:db8:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181"},
		{"[::ffff:1.2.3.4]:2888:3888", "1.2.3.4:2888:3888:participant"},
		{"zk1:2888:3888:", "zk1:2888:3888:participant"},
		{"zk1:2888:3888;", "zk1:2888:3888:participant"},
		{"zk1:+2888:3888", "zk1:2888:3888:participant"},
	} {
		m, err := parseMember("7", tc.in)
		if err != nil || m.String() != tc.want || m.ID != 7 {
			t.Errorf("%s: %v, %v", tc.in, m, err)
		}
		again, err := ParseMember("server.7=" + m.String())
		if err != nil || again != m {
			t.Errorf("%s: printed and parsed again: %+v, %v", tc.in, again, err)
		}
	}
	for _, in := range []string{
		"", ";", "zk1", "zk1:2888", "zk1:2888:2888", "zk1:2888:3888:leader", "zk1:2888:3888:participant:9", ":2888:3888",
		"zk1:0:3888", "zk1:2888:65536", "zk1:x:3888", "zk1: 2888:3888", "zk1:2888:3888;2181;2182", "zk1:2888:3888;a:b:2181",
		"zk1:2888:3888;0", "zk1:2888:3888; 2181", "zk1:2888:3888;:2181", "::1:2888:3888", "[::1:2888:3888", "[::1]2888:3888",
		"[zk1]:2888:3888", "[]:2888:3888", "[::x]:2888:3888", "a:1:2|b:1:2", "zk 1:2888:3888", "zk1\n:2888:3888", "[fe80::1%a\nb]:1:2",
	} {
		if m, err := parseMember("7", in); err == nil {
			t.Errorf("%q: taken as %v", in, m)
		}
	}
	for _, id := range []string{"", "0", "256", "-1", "x", "1.2", " 1"} {
		if _, err := parseMember(id, "zk1:2888:3888"); err == nil {
			t.Errorf("server.%s is taken", id)
		}
	}
	for _, line := range []string{"", "server.1", "peer.1=zk1:2888:3888", "server.1=zk1"} {
		if _, err := ParseMember(line); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}

const three = "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n"
const ensemble = base + "initLimit=10\nsyncLimit=5\n"

// disk is a readFile over a map.
type disk map[string]string

func (d disk) read(path string) ([]byte, error) {
	if text, ok := d[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func TestMembersAsAWhole(t *testing.T) {
	me := disk{"/data/myid": "1\n"}
	for _, tc := range []struct{ text, want string }{ // want "" is no error
		{ensemble + three, ""},
		{ensemble + three + "server.4=zk4:2888:3888:observer\n", ""},
		{ensemble + "server.1=zk1:2888:3888\nstandaloneEnabled=false\n", ""},
		{ensemble + "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888:observer\nstandaloneEnabled=false\n", ""},
		{ensemble + "server.1=h:2888:3888\nserver.2=h:2889:3889\n", ""},
		{base + "server.1=zk1:2888:3888\n", ""},
		{base, ""},
		{ensemble + "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888:observer\n", "zoo.cfg: one participant with observers needs standaloneEnabled=false"},
		{ensemble + "server.1=zk1:2888:3888:observer\n", "zoo.cfg: observers without a participant: add the server.N lines of the ensemble"},
		{ensemble + "standaloneEnabled=false\n", `zoo.cfg:5: standaloneEnabled="false": with false there must be a server.N line with a participant`},
		{ensemble + three + "server.01=zk4:2888:3888\n", `zoo.cfg:8: server.01="zk4:2888:3888": is the same member as server.1 in line 5`},
		{ensemble + three + "server.4=ZK1:3888:2888\n", `zoo.cfg:8: server.4="ZK1:3888:2888": zk1:3888 is an address of server.1 too (line 5)`},
		{ensemble + three + "server.255=zk4:2888:3888\nextendedTypesEnabled=true\n", `zoo.cfg:8: server.255="zk4:2888:3888": with extendedTypesEnabled the N of server.N must be a number from 1 to 254`},
		{ensemble + three + "server.x=zk4:2888:3888\n", `zoo.cfg:8: server.x="zk4:2888:3888": the N of server.N must be a number from 1 to 255`},
		{base + "syncLimit=5\n" + three, "zoo.cfg: initLimit: is not set: servers of an ensemble need it, usually 10"},
		{base + "initLimit=5\nsyncLimit=0\n" + three, `zoo.cfg:4: syncLimit="0": is not set: servers of an ensemble need it, usually 5`},
		{ensemble + "server.1=a:1:2|b:1:2", `zoo.cfg:5: server.1="a:1:2|b:1:2": several addresses for one member are not built yet; give one`},
		{ensemble + three + "server.2=zk4:2888:3888\n", `zoo.cfg:8: server.2="zk4:2888:3888": line 6 has another server.2: give each server a number of its own, and one line`},
	} {
		_, err := Parse("zoo.cfg", strings.NewReader(tc.text), me.read)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.text, got, tc.want)
		}
	}
}

func TestMyID(t *testing.T) {
	four := ensemble + three + "server.255=zk4:2888:3888\n"
	for _, tc := range []struct {
		name, text string
		myid       string // "-" is none
		id         uint8
		err        string
	}{
		{"plain", four, "2", 2, ""},
		{"newline", four, "2\n", 2, ""},
		{"DOS line end and blanks", four, " 3\r\nrest", 3, ""},
		{"highest", four, "255", 255, ""},
		{"missing", four, "-", 0, "/data/myid: is missing: write this server's number into it, one of 1, 2, 3, 255"},
		{"empty", four, "", 0, "/data/myid:1: is empty: write this server's number into it, one of 1, 2, 3, 255"},
		{"not a number", four, "zk1", 0, `/data/myid:1: myid="zk1": allowed: a whole number from 1 to 255, one of 1, 2, 3, 255`},
		{"zero", four, "0", 0, `/data/myid:1: myid="0": allowed: a whole number from 1 to 255, one of 1, 2, 3, 255`},
		{"too large", four, "256", 0, `/data/myid:1: myid="256": allowed: a whole number from 1 to 255, one of 1, 2, 3, 255`},
		{"hexadecimal", four, "0x1", 0, `/data/myid:1: myid="0x1": allowed: a whole number from 1 to 255, one of 1, 2, 3, 255`},
		{"long", four, strings.Repeat("9", 1000), 0, `/data/myid:1: myid="` + strings.Repeat("9", 40) + `": allowed: a whole number from 1 to 255, one of 1, 2, 3, 255`},
		{"not listed", four, "4", 0, `/data/myid:1: myid="4": there is no server.4 in zoo.cfg, only 1, 2, 3, 255`},
		{"extended types", ensemble + three + "extendedTypesEnabled=true", "255", 0, `/data/myid:1: myid="255": allowed: a whole number from 1 to 254, one of 1, 2, 3`},
		{"standalone without", base, "-", 1, ""},
		{"standalone with", base, "9", 9, ""},
		{"standalone, wrong", base, "x", 0, `/data/myid:1: myid="x": allowed: a whole number from 1 to 255`},
		{"only server", base + "server.5=zk:2888:3888", "-", 5, ""},
		{"only server, another id", base + "server.5=zk:2888:3888", "4", 0, `/data/myid:1: myid="4": there is no server.4 in zoo.cfg, only 5`},
		{"ensemble of one", ensemble + "standaloneEnabled=false\nserver.5=zk:2888:3888", "-", 0, "/data/myid: is missing: write this server's number into it, one of 5"},
	} {
		files := disk{}
		if tc.myid != "-" {
			files["/data/myid"] = tc.myid
		}
		c, err := Parse("zoo.cfg", strings.NewReader(tc.text), files.read)
		switch {
		case err != nil && err.Error() != tc.err, err == nil && tc.err != "":
			t.Errorf("%s: %v, want %s", tc.name, err, tc.err)
		case err == nil && c.MyID != tc.id:
			t.Errorf("%s: id %d, want %d", tc.name, c.MyID, tc.id)
		}
	}
}

func TestClientPort(t *testing.T) {
	head := "dataDir=/data\ninitLimit=10\nsyncLimit=5\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n"
	for _, tc := range []struct {
		text, addr string
		port       int
		err        bool
	}{
		{"server.1=zk1:2888:3888\nclientPort=2181", "", 2181, false},
		{"server.1=zk1:2888:3888\nclientPort=2181\nclientPortAddress=10.0.0.1", "10.0.0.1", 2181, false},
		{"server.1=zk1:2888:3888\nclientPort=2181\nclientPortAddress=0.0.0.0", "", 2181, false},
		{"server.1=zk1:2888:3888;2182", "", 2182, false},
		{"server.1=zk1:2888:3888;10.0.0.1:2182", "10.0.0.1", 2182, false},
		{"server.1=zk1:2888:3888;10.0.0.1:2182\nclientPort=2182", "10.0.0.1", 2182, false},
		{"server.1=zk1:2888:3888;10.0.0.1:2182\nclientPort=2182\nclientPortAddress=10.0.0.1", "10.0.0.1", 2182, false},
		{"server.1=zk1:2888:3888;127.0.0.1:2182\nclientPort=2182\nclientPortAddress=localhost", "127.0.0.1", 2182, false},
		{"server.1=zk1:2888:3888;10.0.0.1:2182\nclientPort=2182\nclientPortAddress=10.0.0.2", "", 0, true},
		{"server.1=zk1:2888:3888;2182\nclientPort=2181", "", 0, true},
		{"server.1=zk1:2888:3888;2182\nclientPortAddress=10.0.0.1", "", 0, true},
		{"server.1=zk1:2888:3888\nclientPortAddress=10.0.0.1", "", 0, true},
		{"server.1=zk1:2888:3888", "", 0, true},
	} {
		c, err := Parse("zoo.cfg", strings.NewReader(head+tc.text), disk{"/data/myid": "1"}.read)
		if (err != nil) != tc.err {
			t.Errorf("%s: %v", tc.text, err)
		} else if err == nil && (c.ClientAddress != tc.addr || c.ClientPort != tc.port) {
			t.Errorf("%s: %s:%d", tc.text, c.ClientAddress, c.ClientPort)
		}
	}
}

func TestDynamicFile(t *testing.T) {
	static := "dataDir=/data\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n"
	name := "/conf/zoo.cfg.dynamic.1f"
	files := disk{"/data/myid": "2", name: three, "/conf/d": three + "version=2a\n", "/conf/d.5": three + "version=2a\n",
		"/conf/other": three + "clientPort=2181\n", "/conf/group": three + "group.1=1:2:3\n", "/conf/bad": "\nserver.1=zk1\n",
		"/conf/escape": "a=\\u1", "/conf/version": three + "version=0x1\n", "/conf/empty": "", "/conf/twice": three + "server.3=zk4:2888:3888\n"}
	c, err := Parse("zoo.cfg", strings.NewReader(static+"dynamicConfigFile="+name), files.read)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Members) != 3 || c.MyID != 2 || c.ConfigVersion != 0x1f || c.Standalone || c.Source("server.2") != name+":2" {
		t.Errorf("%+v", c)
	}
	for file, version := range map[string]int64{"/conf/d": 0x2a, "/conf/d.5": 5} {
		c, err := Parse("zoo.cfg", strings.NewReader(static+"version=77\ndynamicConfigFile="+file), files.read)
		if err != nil || c.ConfigVersion != version {
			t.Errorf("%s: %v", file, err)
		}
	}
	for file, want := range map[string]string{
		"/conf/none":    `zoo.cfg:5: dynamicConfigFile="/conf/none": cannot be read: file does not exist`,
		"/conf/twice":   `/conf/twice:4: server.3="zk4:2888:3888": line 3 has another server.3: give each server a number of its own, and one line`,
		"/conf/other":   `/conf/other:4: clientPort="2181": only server.N and version may be in this file`,
		"/conf/group":   `/conf/group:4: group.1="1:2:3": is not built yet, so coordd does not start with it; remove the line if you can do without`,
		"/conf/bad":     `/conf/bad:2: server.1="zk1": ` + errMemberForm.Error(),
		"/conf/escape":  `/conf/escape:1: not a line of a properties file: ` + errBadEscape.Error(),
		"/conf/version": `/conf/version:4: version="0x1": allowed: a hexadecimal number`,
	} {
		_, err := Parse("zoo.cfg", strings.NewReader(static+"dynamicConfigFile="+file), files.read)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", file, err, want)
		}
	}
	for _, line := range []string{"server.1=zk1:2888:3888", "group.1=1", "weight.1=1"} {
		if _, err := Parse("zoo.cfg", strings.NewReader(static+line+"\ndynamicConfigFile="+name), files.read); err == nil {
			t.Errorf("%s is taken beside dynamicConfigFile", line)
		}
	}
	c, err = Parse("zoo.cfg", strings.NewReader(static+"dynamicConfigFile=/conf/empty"), files.read)
	if err != nil || !c.Standalone {
		t.Errorf("without members in the dynamic file: %v", err)
	}
}

func TestPeerType(t *testing.T) {
	text := ensemble + three + "server.4=zk4:2888:3888:observer\n"
	for _, tc := range []struct {
		myid, line string
		want       PeerType
		warn       bool
	}{
		{"1", "", Participant, false},
		{"4", "", Observer, false},
		{"4", "peerType=observer", Observer, false},
		{"4", "peerType=participant", Observer, true},
		{"1", "peerType=observer", Participant, true},
	} {
		c, err := Parse("zoo.cfg", strings.NewReader(text+tc.line), disk{"/data/myid": tc.myid}.read)
		if err != nil || c.PeerType != tc.want {
			t.Fatalf("%+v: %v", tc, err)
		}
		warned := false
		for _, n := range c.Notes() {
			warned = warned || n.Key == "peerType" && n.Warn
		}
		if warned != tc.warn {
			t.Errorf("%+v: warned %v", tc, warned)
		}
	}
}

func TestDynamicText(t *testing.T) {
	c, err := Parse("zoo.cfg", strings.NewReader(ensemble+"server.10=c:1:2:observer;[::1]:2183\nserver.2=b:1:2;2182\nserver.1=a:1:2\n"), disk{"/data/myid": "1"}.read)
	if err != nil {
		t.Fatal(err)
	}
	want := "server.1=a:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:2182\n" +
		"server.10=c:1:2:observer;[0:0:0:0:0:0:0:1]:2183\nversion=100000000"
	if got := c.DynamicText(1 << 32); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := mustParse(t, base+"server.1=a:1:2").DynamicText(0); got != "" {
		t.Errorf("standalone: %q", got)
	}
}

func TestMembershipDigest(t *testing.T) {
	digest := func(members string) [32]byte {
		t.Helper()
		c, err := Parse("zoo.cfg", strings.NewReader(ensemble+members), disk{"/data/myid": "1"}.read)
		if err != nil {
			t.Fatal(err)
		}
		return c.MembershipDigest()
	}
	one := digest("server.1=a:1:2\nserver.2=[::1]:1:2")
	for _, same := range []string{
		"server.2=[::1]:1:2\nserver.1=a:1:2",
		"server.1=A:1:2:participant;2181\nserver.2=[0:0:0:0:0:0:0:1]:1:2",
		"server.1=a:1:2\nserver.2=[::1]:1:2\nserver.3=c:1:2:observer",
	} {
		if digest(same) != one {
			t.Errorf("differs: %s", same)
		}
	}
	for _, other := range []string{
		"server.1=a:1:2\nserver.3=[::1]:1:2",
		"server.1=b:1:2\nserver.2=[::1]:1:2",
		"server.1=a:3:2\nserver.2=[::1]:1:2",
		"server.1=a:1:3\nserver.2=[::1]:1:2",
		"server.1=a:1:2\nserver.2=[::1]:1:2\nserver.3=c:1:2",
	} {
		if digest(other) == one {
			t.Errorf("is the same: %s", other)
		}
	}
}

func TestDifferingMembers(t *testing.T) {
	parse := func(members string) *Config {
		t.Helper()
		c, err := Parse("zoo.cfg", strings.NewReader(ensemble+members), disk{"/data/myid": "1"}.read)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const one, two, three = "server.1=a:1:2\n", "server.2=b:1:2\n", "server.3=c:1:2\n"
	own := parse(one + two + three)
	for _, tc := range []struct{ other, want string }{
		{one + two + "server.3=d:1:2\n", "server.3=c:1:2:participant here"},
		{one + two, "server.3=c:1:2:participant here"},
		{one + two + three + "server.4=d:1:2\n", "no server.4 that votes here"},
		{one + two + three + "server.16=d:1:2\n", "no server.16 that votes here"},
		{one + "server.2=b:1:3\nserver.3=c:1:3\n", "server.2=b:1:2:participant here, server.3=c:1:2:participant here"},
		{one + two + "server.3=c:1:2:observer\n", "server.3=c:1:2:participant here"},
	} {
		if got := own.DifferingMembers(parse(tc.other).MembershipDigest()); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.other, got, tc.want)
		}
	}
}
