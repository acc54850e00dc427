// Package clients runs coordd under the clients people already have: zkCli, the
// Java clients from 3.4 to 3.9, the C and Node clients and kazoo, all as released. It
// has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -tags clients ./test/clients
//
// Expected outputs in testdata come from a real ZooKeeper 3.9.4; adding -update
// records them again from one. Needs Java, Maven, Python and npm, see install.sh,
// gcc and the C client (Debian: libzookeeper-mt-dev).
// With -real, or COORDD_BIN=$PWD/test/clients/zookeeper.sh, the tests test
// themselves, but for those of failures_test.go, whose sentences are coordd's.
package clients
