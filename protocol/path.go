package protocol

import "strings"

// ValidPath reports whether p is a path that ZooKeeper accepts for a znode
// (org.apache.zookeeper.common.PathUtils.validatePath): absolute, without
// empty, "." or ".." elements, without a trailing slash, and without the
// characters that ZooKeeper refuses. It judges UTF-16 units as Java does, so
// that everything outside the Basic Multilingual Plane is refused.
func ValidPath(p string) bool {
	if p == "" || p == NullString || p[0] != '/' {
		return false
	}
	if p == "/" {
		return true
	}
	if p[len(p)-1] == '/' {
		return false
	}
	for _, r := range p {
		if refusedRune(r) {
			return false
		}
	}
	for rest := p[1:]; ; {
		element, after, more := strings.Cut(rest, "/")
		if element == "" || element == "." || element == ".." {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
}

func refusedRune(r rune) bool {
	return r <= 0x1f || r >= 0x7f && r <= 0x9f ||
		r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0
}

// SplitPath cuts p at its last slash into the parent's path ("/" for a child
// of the root) and the node's name. It reports false when there is no slash.
func SplitPath(p string) (parent, name string, ok bool) {
	i := strings.LastIndexByte(p, '/')
	switch {
	case i < 0:
		return "", "", false
	case i == 0:
		return "/", p[1:], true
	}
	return p[:i], p[i+1:], true
}
