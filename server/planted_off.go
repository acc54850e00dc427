//go:build !simulate

package server

// plantLate is for tests: only binaries built with the tag simulate can have
// the fault planted.
func (*conn) plantLate([]byte) bool { return false }
