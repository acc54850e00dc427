//go:build !linux

package bench

import "time"

// nap sleeps a short while.
func nap(d time.Duration) { time.Sleep(d) }
