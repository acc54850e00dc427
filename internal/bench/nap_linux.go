package bench

import (
	"syscall"
	"time"
)

// nap sleeps a short while by the kernel's clock. Go's own timers are up to a
// millisecond late, which would count as the server's latency.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal only wakes it early
}
