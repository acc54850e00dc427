//go:build simulate

package server

import (
	"slices"
	"time"

	"github.com/coordd/coordd/server/replica"
)

// PlantLateEvents is a fault for replica.Planted.
const PlantLateEvents = "watch events behind the replies that they belong before"

// plantLate holds an event back for a while, if that is the fault planted.
func (c *conn) plantLate(frame []byte) bool {
	if replica.Planted != PlantLateEvents {
		return false
	}
	frame = slices.Clone(frame)
	time.AfterFunc(20*time.Millisecond, func() {
		c.mu.Lock()
		if !c.overflowLocked() {
			c.out = append(c.out, frame...)
		}
		c.mu.Unlock()
		c.flush()
	})
	return true
}
