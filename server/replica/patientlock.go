package replica

import "sync"

// patientLock is a lock that one holder has alone or several share. It is for
// what is held while a disk or another server is waited for: those who come
// meanwhile wait on a condition, which, unlike a sync.Mutex, lets virtual time
// pass (testing/synctest). The zero value is ready.
type patientLock struct {
	mu      sync.Mutex
	freed   *sync.Cond // nil until somebody waits; guarded by mu
	sharers int        // guarded by mu
	taken   bool       // somebody has it alone, or waits only for sharers to go; guarded by mu
}

// take waits until nobody has the lock, and has it alone until release.
func (l *patientLock) take() (release func()) {
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
func (l *patientLock) share() (release func()) {
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

func (l *patientLock) waitLocked() {
	if l.freed == nil {
		l.freed = sync.NewCond(&l.mu)
	}
	l.freed.Wait()
}

func (l *patientLock) freedLocked() {
	if l.freed != nil {
		l.freed.Broadcast()
	}
}
