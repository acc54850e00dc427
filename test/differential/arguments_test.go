//go:build differential

package differential

import (
	"math"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// What requests are filled with. Some of it is common, so that requests meet
// each other's nodes, and some is what only a tester or an attacker sends.

var names = []string{"a", "b", "c"}

// oddPaths are paths that servers refuse, or do not, for reasons of their own.
var oddPaths = []string{
	"", "/", "//", home + "/", home + "//a", home + "/a/", home + "/a//", "/" + home, home + "/.", home + "/..",
	home + "/./a", home + "/a/../b", home + "/...", home + "/.a", home + "/a..", home + "/a\x00b", home + "/\x00",
	home + "/\x01", home + "/\x1f", home + "/a\x7f", home + "/\u0080", home + "/\u009f", home + "/\u00a0",
	home + "/ ", home + "/\u00e9", home + "/\u202e", home + "/\ud7ff", home + "/\ue000", home + "/\uf8ff",
	home + "/\uf900", home + "/\uffef", home + "/\ufff0", home + "/\ufffd", home + "/\uffff", home + "/\U0001f600",
	home + "/\xff", home + "/\xed\xa0\x80", home + "/\xed\xa0\x80\xed\xb0\x80", home + "/\xc0\x80", home + "/\xe2\x82",
	home + "/\xf0\x9f\x98", home + "/\xf5\x80\x80\x80", home + "/\xe2\x82\xffx", home + "/\xf0\x80\x80\x80",
	"noslash", placeholder, "a/b", "\x00", "/\x00", home + "/" + strings.Repeat("n", 3000), home + strings.Repeat("/d", 150),
	protocol.NullString, home + "/a/b/c/d/e", home + "/zookeeper", home + "/a\n", home + "/%s", home + "/\"",
}

// systemPaths are nodes of the server's own; none is without its parent.
var systemPaths = []string{
	"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/" + placeholder, "/zookeeper/none/x",
	"/zookeeper/quota" + home, "/zookeeper/config/x",
}

var (
	versions = []int32{-1, -1, -1, -1, -1, -1, 0, 0, 1, 2, 3, -2, math.MaxInt32, math.MinInt32}
	datas    = [][]byte{nil, {}, []byte("x"), []byte("hello"), []byte("some more data"), []byte(strings.Repeat("d", 300)),
		{0, 1, 0xff}, []byte("count=1,bytes=1")}
	allPerms = []protocol.Perm{31, 31, 31, 1, 2, 4, 8, 16, 3, 7, 15, 30, 0, 63, -1, math.MinInt32, 32}
)

// users are what auth requests claim; the last is the super user.
var users = []string{"ann:secret", "bob:pw", "ann:other", superUser}

// ids that ACL lists name. The first are sound, the others mostly are not.
var soundIDs = []protocol.ID{
	{Scheme: "world", ID: "anyone"}, {Scheme: "world", ID: "anyone"}, {Scheme: "ip", ID: "127.0.0.1"}, {Scheme: "ip", ID: "10.1.2.3"},
	{Scheme: "ip", ID: "127.0.0.0/8"}, {Scheme: "auth", ID: ""}, {Scheme: "auth", ID: "whatever"}, {Scheme: "digest", ID: annDigest}, {Scheme: "digest", ID: bobDigest},
}

var oddIDs = []protocol.ID{
	{Scheme: "world", ID: "someone"}, {Scheme: "world", ID: ""}, {Scheme: "world", ID: protocol.NullString}, {Scheme: "WORLD", ID: "anyone"},
	{Scheme: "digest", ID: "a"}, {Scheme: "digest", ID: ""}, {Scheme: "digest", ID: ":"}, {Scheme: "digest", ID: "a:"}, {Scheme: "digest", ID: ":b"},
	{Scheme: "digest", ID: "a:b"}, {Scheme: "digest", ID: "a:b:c"}, {Scheme: "digest", ID: "a::b"}, {Scheme: "digest", ID: "a:b:"}, {Scheme: "digest", ID: protocol.NullString},
	{Scheme: "digest", ID: "::b"}, {Scheme: "digest", ID: " : "},
	{Scheme: "ip", ID: ""}, {Scheme: "ip", ID: "1.2.3"}, {Scheme: "ip", ID: "1.2.3.4.5"}, {Scheme: "ip", ID: "1.2.3.256"}, {Scheme: "ip", ID: "1.2.3.-4"},
	{Scheme: "ip", ID: "01.2.3.4"}, {Scheme: "ip", ID: "+1.2.3.4"}, {Scheme: "ip", ID: "1.2.3.4/"}, {Scheme: "ip", ID: "1.2.3.4/0"}, {Scheme: "ip", ID: "1.2.3.4/32"},
	{Scheme: "ip", ID: "1.2.3.4/33"}, {Scheme: "ip", ID: "1.2.3.4/-1"}, {Scheme: "ip", ID: "1.2.3.4/+8"}, {Scheme: "ip", ID: "1.2.3.4/08"}, {Scheme: "ip", ID: "1.2.3.4/8/8"},
	{Scheme: "ip", ID: "127.0.0.1/7"}, {Scheme: "ip", ID: "126.0.0.1/7"}, {Scheme: "ip", ID: "127.1.0.0/9"}, {Scheme: "ip", ID: "127.200.0.0/9"}, {Scheme: "ip", ID: "1.2.3.4/x"},
	{Scheme: "ip", ID: "::1"}, {Scheme: "ip", ID: "::"}, {Scheme: "ip", ID: "::1/128"}, {Scheme: "ip", ID: "::1/129"}, {Scheme: "ip", ID: "1::2::3"},
	{Scheme: "ip", ID: "1:2:3:4:5:6:7:8"}, {Scheme: "ip", ID: "1:2:3:4:5:6:7"}, {Scheme: "ip", ID: "fe80::1%lo"}, {Scheme: "ip", ID: "::ffff:127.0.0.1"}, {Scheme: "ip", ID: "12345::"},
	{Scheme: "ip", ID: "1.2.3.4 "}, {Scheme: "ip", ID: "localhost"}, {Scheme: "ip", ID: "0x7f.0.0.1"}, {Scheme: "ip", ID: protocol.NullString}, {Scheme: "ip", ID: "/8"},
	{Scheme: "x509", ID: "CN=a"}, {Scheme: "sasl", ID: "a"}, {Scheme: "super", ID: ""}, {Scheme: "foo", ID: "bar"}, {Scheme: "", ID: ""},
	{Scheme: protocol.NullString, ID: "x"}, {Scheme: protocol.NullString, ID: protocol.NullString}, {Scheme: "auth", ID: protocol.NullString}, {Scheme: "foo", ID: protocol.NullString},
	{Scheme: "x509", ID: protocol.NullString},
}

// auths are odd auth requests; those with ok are answered with OK.
var auths = []struct {
	scheme string
	auth   []byte
	ok     bool
}{
	{"ip", nil, true}, {"ip", []byte("x"), true}, {"digest", []byte{}, true}, {"digest", []byte("nocolon"), true}, {"digest", []byte("a:b:c"), true},
	{"digest", []byte(":"), true}, {"digest", []byte("\xff\xfe:x"), true}, {"digest", []byte("super:wrong"), true},
	{"digest", nil, false}, {"world", []byte("anyone"), false}, {"auth", nil, false}, {"super", []byte("x"), false}, {"sasl", []byte("x"), false},
	{"x509", []byte("x"), false}, {"", nil, false}, {"foo", []byte{}, false}, {protocol.NullString, []byte("x"), false}, {"DIGEST", []byte("a:b"), false},
}

// quotaTexts are what limits nodes hold.
var quotaTexts = []string{
	"count=5,bytes=100", "count=1,bytes=1", "count=-1,bytes=-1", "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1", "", "garbage", "count=x,bytes=",
	"count=1,bytes=1=;byteHardLimit=300;countHardLimit=4", "byteHardLimit=20", "countHardLimit=3", "countHardLimit=-1,byteHardLimit=", "count=1=2",
	"bytes=-5;countHardLimit=-2", "other=3", "=", "count", "count=+1;byteHardLimit=+9", "count=99999999999999999999", ",;,", " count=1", "countHardLimit= 3",
}

// unknownOps are operations that nobody knows, or that clients may not send.
// Not among them are deleteContainer (20) and createSession (-10): ZooKeeper
// carries them out, and coordd refuses.
var unknownOps = []protocol.OpCode{0, -1, -2, 10, 13, 23, 99, 108, 1000, -12, -100, math.MaxInt32, math.MinInt32}

// badFrames are no frames; the server closes the connection.
var badFrames = [][]byte{
	{0, 0, 0, 0}, {0, 0, 0, 4, 0, 0, 0, 1}, {0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0x7f, 0xff, 0xff, 0xff}, {0, 0x10, 0, 0}, []byte("ruok"),
}

// timeouts are what handshakes ask for.
var timeouts = []int32{60000, 60000, 30000, 20000, 19999, 0, -1, 1, 60001, 1_000_000_000, math.MinInt32, math.MaxInt32}
