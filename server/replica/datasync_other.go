//go:build !linux

package replica

import "os"

func datasync(f *os.File) error { return f.Sync() }
