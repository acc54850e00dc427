// Package overload holds the tests that ask more of coordd than it can do, or
// ask for harm: loads ten times beyond what the machine serves, ten thousand
// clients that come back at once, floods and bombs from strangers. Meanwhile
// well-behaved clients must keep their sessions and their leader, memory must
// stay bounded, and afterwards all must be as before. The build tag overload
// keeps them out of `go test ./...`:
//
//	COORDD_BIN=$PWD/bin/coordd go test -v -tags overload ./test/overload -args -scale 0.1
//
// They print what was held, the peak of memory, and the sessions that expired.
package overload
