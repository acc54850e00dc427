// Package conformance runs the tests that ZooKeeper's Java client and Apache
// Curator are released with against coordd. It has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -tags conformance ./test/conformance
//
// Those tests start their servers themselves, in their own JVM. The classes in
// java/src are put before theirs on the class path, and start a coordd process
// instead; everything else is as released, at the versions in java/pom.xml.
//
// testdata/*.classes lists the classes that are run and testdata/*.txt has what a
// real ZooKeeper 3.9.4 makes of each test; -update records it again. Whatever
// passes there has to pass here, but for the tests in testdata/*.other, each with
// the reason. -short leaves out what is marked long. It needs Java and Maven.
package conformance
