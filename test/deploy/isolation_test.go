//go:build deploy

package deploy

import (
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

// workVar is the folder that is removed when all is over.
const workVar = "COORDD_DEPLOY_WORK"

// A caller's engine is not this one.
func TestMain(m *testing.M) {
	zkprocess.Isolate(m, func(work string) []string {
		return []string{workVar + "=" + work, "DOCKER_HOST=unix://" + work + "/sock", "DOCKER_CONTEXT=", "DOCKER_CONFIG=" + work}
	})
}
