// Package bench puts load on a running coordd or ZooKeeper and measures it.
//
// It speaks the client protocol raw and pipelined: one goroutine a session
// takes all replies that have come, and sends the requests that follow in one
// write, so that the load costs the machine it runs on as little as may be. A
// latency runs from the moment a request was due, which is the moment it was
// sent only while nothing held it up: a server that stalls shows in every
// request that should have been sent meanwhile.
//
// What a load creates lies in directories that its caller gives it. The package
// starts and ends no servers, and prints nothing.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Load says what to send, where, and how fast.
type Load struct {
	Servers []string // client addresses; sessions are spread over them in turn
	// Mix is what to send; a load without one keeps sessions alive by pings.
	Mix         Mix
	Sessions    int
	Outstanding int // requests under way, over all sessions
	// Rate is how many requests are due a second, evenly spaced, over all
	// sessions; 0 is a closed loop, in which a request is due when a reply has
	// made room for it.
	Rate     float64
	Duration time.Duration
	Requests int64  // that many instead of Duration, unless 0
	Dir      string // where creates go, alone in it
	Keys     Keys   // the znodes that all other requests are about
	Data     []byte
	// MultiSize is how many writes a multi has.
	MultiSize int
	Timeout   time.Duration // of a session
	// Connecting bounds the sessions that are being opened at a time; 0 is 64.
	Connecting int
	// Notified is called for each watch event, by the goroutine of its session.
	Notified func()

	// Tests have a network and a time of their own.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	nap  func(time.Duration)
}

// Running is a load under way.
type Running struct {
	// Connected is the time until all sessions were open, and ConnectTimes that
	// of each.
	Connected    time.Duration
	ConnectTimes []time.Duration

	load     *Load
	sessions []*session
	base     time.Time       // moments are times since then
	from     time.Duration   // when requests began
	taken    time.Duration   // the last Take
	left     *atomic.Int64   // requests that may still be sent; nil: no limit
	stopping context.Context // ends when no more requests are to be sent
	stop     context.CancelFunc
	ending   context.Context // ends with Close
	end      context.CancelFunc
	busy     sync.WaitGroup // sessions that send or wait for replies
	loops    sync.WaitGroup
	ended    time.Duration // when Wait returned

	answered atomic.Int64 // requests answered with OK
	failed   atomic.Int64
	last     atomic.Int64 // moment of the last such answer at any session
	stall    atomic.Int64 // the longest time without one
}

// Start opens the sessions and begins to send. The load stops by itself, as it
// says, or when ctx ends; its sessions stay open until Close.
func Start(ctx context.Context, load *Load) (*Running, error) {
	if load.Sessions < 1 || len(load.Servers) == 0 {
		return nil, errors.New("a load needs sessions and servers")
	}
	own := *load
	if own.dial == nil {
		own.dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	if own.nap == nil {
		own.nap = nap
	}
	r := &Running{load: &own, base: time.Now()}
	r.ending, r.end = context.WithCancel(context.WithoutCancel(ctx))
	if own.Requests > 0 {
		r.left = new(atomic.Int64)
		r.left.Store(own.Requests)
	}
	for i := range own.Sessions {
		r.sessions = append(r.sessions, newSession(r, i))
	}
	r.loops.Go(r.ping) // from now on: to open many sessions may take longer than a timeout
	if err := r.connect(ctx); err != nil {
		r.Close()
		return nil, err
	}
	if own.Requests > 0 {
		r.stopping, r.stop = context.WithCancel(ctx)
	} else {
		r.stopping, r.stop = context.WithTimeout(ctx, own.Duration)
	}
	r.from = r.now()
	r.taken = r.from
	r.last.Store(int64(r.from))
	r.busy.Add(len(r.sessions))
	for _, s := range r.sessions {
		s.begin()
		r.loops.Go(s.read)
		if own.Rate > 0 {
			r.loops.Go(s.pace)
		}
	}
	context.AfterFunc(r.stopping, func() {
		for _, s := range r.sessions {
			s.stop()
		}
	})
	return r, nil
}

func (r *Running) now() time.Duration { return time.Since(r.base) }

// connect opens all sessions.
func (r *Running) connect(ctx context.Context) error {
	limit := r.load.Connecting
	if limit <= 0 {
		limit = 64
	}
	turns := make(chan struct{}, limit)
	errs := make([]error, len(r.sessions))
	r.ConnectTimes = make([]time.Duration, len(r.sessions))
	var wg sync.WaitGroup
	start := r.now()
	for i, s := range r.sessions {
		turns <- struct{}{}
		wg.Go(func() {
			from := r.now()
			errs[i] = s.connect(ctx)
			r.ConnectTimes[i] = r.now() - from
			<-turns
		})
	}
	wg.Wait()
	r.Connected = r.now() - start
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Answered is how many requests were answered with OK, and how many failed, so
// far.
func (r *Running) Answered() (ok, failed int64) { return r.answered.Load(), r.failed.Load() }

// Wait waits until the load has stopped and every request is answered, or
// the session timeout has passed since then.
func (r *Running) Wait() {
	<-r.stopping.Done()
	answered := make(chan struct{})
	go func() {
		r.busy.Wait()
		close(answered)
	}()
	late := time.NewTimer(r.load.Timeout)
	defer late.Stop()
	select {
	case <-answered:
	case <-late.C:
		for _, s := range r.sessions {
			s.abandon(fmt.Errorf("no reply within %v", r.load.Timeout))
		}
		<-answered
	}
	r.ended = r.now()
}

// Close stops the load where Wait has not, closes the sessions, and returns
// when they are gone or their servers have not answered for a session timeout.
func (r *Running) Close() {
	started := r.stop != nil
	if started {
		r.stop()
	}
	r.end()
	for _, s := range r.sessions {
		s.close()
		if !started && s.conn != nil {
			s.conn.Close() // nobody reads the answer
		}
	}
	r.loops.Wait()
}

// take reports whether one more request may be sent.
func (r *Running) take() bool {
	if r.left == nil || r.left.Add(-1) >= 0 {
		return true
	}
	r.stop()
	return false
}

// answeredAt notes that requests were answered with OK at a moment.
func (r *Running) answeredAt(now time.Duration, n int64) {
	r.answered.Add(n)
	pause := int64(now) - r.last.Swap(int64(now))
	for longest := r.stall.Load(); pause > longest; longest = r.stall.Load() {
		if r.stall.CompareAndSwap(longest, pause) {
			return
		}
	}
}

// ping keeps those sessions alive that have nothing to send.
func (r *Running) ping() {
	tick := time.NewTicker(max(r.load.Timeout/30, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-r.ending.Done():
			return
		case <-tick.C:
		}
		now := r.now()
		for _, s := range r.sessions {
			s.pingAt(now)
		}
	}
}
