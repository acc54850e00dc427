// Package suites runs the test suites of other projects' clients against coordd:
// kazoo's with one and with three servers, and go-zookeeper's, which starts one
// or three as each of its tests wants. It has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -tags suites ./test/suites
//
// testdata has what a real ZooKeeper 3.9.4 makes of each of their tests; -update
// records it again. Whatever passes there has to pass here, but for the tests in
// testdata/later.txt, which need what coordd does not have yet; -real tests the
// tests against a real ZooKeeper. The suites are as released, at pinned versions:
// only the script that starts a server (launch) is ours.
//
// Needs Java, Maven and Python as test/clients does, and Go's module proxy.
package suites
