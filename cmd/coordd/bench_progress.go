package main

import (
	"fmt"
	"os"
	"time"
)

// showProgress writes a line to stderr from time to time, each second over the
// last one where that is a terminal, until the returned function is called.
func showProgress(line func() string) (done func()) {
	every, before, after := 10*time.Second, "", "\n"
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		every, before, after = time.Second, "\r\x1b[K", ""
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				fmt.Fprint(os.Stderr, before)
				return
			case <-tick.C:
				fmt.Fprintf(os.Stderr, "%s%3.0f s  %s%s", before, time.Since(start).Seconds(), line(), after)
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
