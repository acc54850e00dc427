package admin

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
)

// environment is what envi prints. The names are ZooKeeper's; what only a JVM
// has is "<NA>".
func (a *Admin) environment() [][2]string {
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	name, home := "<NA>", "<NA>"
	if u, err := user.Current(); err == nil {
		name, home = u.Username, u.HomeDir
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	megabytes := func(n uint64) string { return fmt.Sprintf("%dMB", n>>20) }
	const none = "<NA>"
	return [][2]string{
		{"zookeeper.version", a.version},
		{"host.name", host},
		{"java.version", none},
		{"java.vendor", none},
		{"java.home", none},
		{"java.class.path", none},
		{"java.library.path", none},
		{"java.io.tmpdir", os.TempDir()},
		{"java.compiler", none},
		{"os.name", runtime.GOOS},
		{"os.arch", runtime.GOARCH},
		{"os.version", none},
		{"user.name", name},
		{"user.home", home},
		{"user.dir", dir},
		{"os.memory.free", megabytes(m.HeapIdle - m.HeapReleased)},
		{"os.memory.max", megabytes(m.Sys)},
		{"os.memory.total", megabytes(m.Sys)},
	}
}
