// Package applications runs real applications, as released, on three coordd
// servers: once in peace, and once with the leader of those servers killed while
// the application works. It has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -v -tags applications ./test/applications
//
// Each application loses a process of its own as well, kill -9, and something else
// has to take over: how long that took is in the table at the end. -real puts a
// real ZooKeeper in coordd's place, which tests the tests and gives the times to
// compare with.
//
// The folder of an application pins its version; install.sh brings it onto this
// machine, from Maven Central or from Debian.
package applications
