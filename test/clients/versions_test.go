//go:build clients

package clients

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
)

// otherClients are the Java clients of other releases than 3.9.4, each with the
// classes of java/versions/src that have what it offers beyond the oldest.
var otherClients = []struct {
	version string
	parts   []string
	flags   []string // for Java
}{
	{"3.4.14", nil, []string{"-Djdk.net.hosts.file=java/versions/hosts"}},
	{"3.5.10", []string{"Since35"}, nil},
	{"3.6.4", []string{"Since35", "Since36"}, nil},
	{"3.7.2", []string{"Since35", "Since36", "Since37"}, nil},
	{"3.8.4", []string{"Since35", "Since36", "Since37"}, nil},
	{"3.8.6", []string{"Since35", "Since36", "Since37"}, nil},
	{"3.9.5", []string{"Since35", "Since36", "Since37"}, nil},
}

// TestJavaVersions runs one program with each of them: its classes are compiled
// against the oldest, as those of an old application are, and the parts against
// the first that has all of them. All live through one death of a leader together.
func TestJavaVersions(t *testing.T) {
	classes := t.TempDir()
	compile := func(version string, sources ...string) {
		classpath := classes + ":" + zkprocess.ClassesOf(t, version)
		for i, source := range sources {
			sources[i] = filepath.Join("java/versions/src", source+".java")
		}
		run(t, exec.Command("javac", append([]string{"-nowarn", "-proc:none", "-cp", classpath, "-d", classes}, sources...)...))
	}
	compile("3.4.14", "Check", "Client", "Crossing", "Operations", "Part")
	compile("3.7.2", "Since35", "Since36", "Since37")

	var programs []crossing
	for _, client := range otherClients {
		java := append([]string{"java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}, client.flags...)
		programs = append(programs, crossing{
			program: append(java, "-cp", classes+":"+zkprocess.ClassesOf(t, client.version), "Crossing"),
			more:    append([]string{"/v" + client.version}, client.parts...),
		})
	}
	t.Run("alone", func(t *testing.T) {
		addr := zkprocess.Start(t, program(t), 1, serverLines...)[0].Addr()
		for i, client := range otherClients {
			t.Run(client.version, func(t *testing.T) {
				run(t, programs[i].command(t.Context(), "operations", addr))
			})
		}
	})
	t.Run("leader killed", func(t *testing.T) { crossKill(t, programs...) })
}
