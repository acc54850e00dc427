package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// FanOut measures how long one change takes to reach all sessions that watch
// it: each of rounds times, every session of load sets a watch on one znode of
// its own key, and the time runs from sending the change until the last session
// has its event. load says the servers, sessions, data and timeout.
func FanOut(ctx context.Context, load Load, key string, rounds int) (*Latencies, error) {
	var told atomic.Int64
	all := make(chan time.Time, 1)
	load.Notified = func() {
		if told.Add(1) == int64(load.Sessions) {
			all <- time.Now()
		}
	}
	load.Mix, load.Rate, load.Requests, load.Duration = nil, 0, 0, 1<<62
	load.Keys = Keys{Path: func(int) string { return key }, Count: 1}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := Start(ctx, &load)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	writer, err := zkclient.Dial(ctx, load.Servers[0], zkclient.Options{Timeout: load.Timeout})
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	times := new(Latencies)
	for range rounds {
		if err := r.watchAll(ctx); err != nil {
			return nil, err
		}
		told.Store(0)
		start := time.Now()
		change := writer.Go(protocol.OpSetData, &protocol.SetDataRequest{Path: key, Data: load.Data, Version: protocol.AnyVersion})
		select {
		case <-ctx.Done():
			return times, nil
		case end := <-all:
			times.add(end.Sub(start))
		case <-time.After(load.Timeout):
			return nil, fmt.Errorf("after %v, %d of %d sessions were told of the change", load.Timeout, told.Load(), load.Sessions)
		}
		if h, _, err := change.Wait(); err != nil || h.Err != protocol.OK {
			return nil, fmt.Errorf("change %s: %v, %w", key, h.Err, err)
		}
	}
	return times, nil
}

// watchAll sets one more watch at each session and waits for the answers.
func (r *Running) watchAll(ctx context.Context) error {
	want := r.answered.Load() + int64(len(r.sessions))
	for _, s := range r.sessions {
		s.mu.Lock()
		s.under++
		s.watch(Watch, r.now())
		s.flushLocked()
		s.mu.Unlock()
	}
	for end := time.Now().Add(r.load.Timeout); ; {
		ok, failed := r.Answered()
		switch {
		case ok == want:
			return nil
		case failed > 0 || time.Now().After(end):
			return fmt.Errorf("set watches: %d of %d are missing, %d failed", want-ok, len(r.sessions), failed)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
