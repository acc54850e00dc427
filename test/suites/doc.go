// Package suites runs the test suites of other projects' clients against coordd:
// kazoo's with one and with three servers, go-zookeeper's and that of the crate
// zookeeper-client, which start one or three as each of their tests wants, and that
// of ZooKeeper's C client. It has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -tags suites ./test/suites
//
// testdata has what a real ZooKeeper 3.9.4 makes of each of their tests; -update
// records it again. Whatever passes there has to pass here, but for the tests in
// testdata/later.txt, which need what coordd does not have yet; -real tests the
// tests against a real ZooKeeper. The suites are as released, at pinned versions:
// only what starts a server is ours (launch, and rust/testcontainers).
//
// Needs Java, Maven and Python as test/clients does, and Go's module proxy;
// TestRustClient cargo with crates.io; TestCClient Debian's archive and packages that
// c/install.sh names.
package suites
