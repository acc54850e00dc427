package admin

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strings"
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
		{"os.name", osName()},
		{"os.arch", runtime.GOARCH},
		{"os.version", osVersion()},
		{"user.name", name},
		{"user.home", home},
		{"user.dir", dir},
		{"os.memory.free", megabytes(m.HeapIdle - m.HeapReleased)},
		{"os.memory.max", megabytes(m.Sys)},
		{"os.memory.total", megabytes(m.Sys)},
	}
}

// osName is the operating system as Java calls it.
func osName() string {
	switch runtime.GOOS {
	case "linux":
		return "Linux"
	case "darwin":
		return "Mac OS X"
	case "freebsd":
		return "FreeBSD"
	}
	return runtime.GOOS
}

// osVersion is the kernel's release where there is a /proc.
func osVersion() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "<NA>"
	}
	return strings.TrimSpace(string(release))
}
