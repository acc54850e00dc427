//go:build chaos

package chaos

import (
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

// The tests mount disks, make networks and leave processes behind when they are
// interrupted.
func TestMain(m *testing.M) {
	zkprocess.Isolate(m, func(string) []string { return nil })
}
