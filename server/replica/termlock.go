package replica

import "sync"

// termLock is a lock that one holder has alone or several share. It is held for
// as long as a disk takes a write, so those who come meanwhile wait on a
// condition, which, unlike a sync.RWMutex, lets virtual time pass
// (testing/synctest). The zero value is ready.
type termLock struct {
	mu      sync.Mutex
	freed   *sync.Cond // nil until somebody waits; guarded by mu
	sharers int        // guarded by mu
	taken   bool       // somebody has it alone, or waits only for sharers to go; guarded by mu
}

// take waits until nobody has the lock, and has it alone until release.
func (l *termLock) take() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.taken {
		l.waitLocked()
	}
	l.taken = true
	for l.sharers > 0 {
		l.waitLocked()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken = false
		l.freedLocked()
	}
}

// share waits until nobody has the lock alone, and shares it until release.
func (l *termLock) share() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.taken {
		l.waitLocked()
	}
	l.sharers++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sharers--
		l.freedLocked()
	}
}

func (l *termLock) waitLocked() {
	if l.freed == nil {
		l.freed = sync.NewCond(&l.mu)
	}
	l.freed.Wait()
}

func (l *termLock) freedLocked() {
	if l.freed != nil {
		l.freed.Broadcast()
	}
}
