package config

import (
	"maps"
	"strings"
)

// Text is the file as written, with *** for credentials; empty if there was no
// file.
func (c *Config) Text() string { return c.text }

// Properties are the lines that ZooKeeper would make Java system properties, by
// the properties' names, with *** for credentials. The map is the caller's.
func (c *Config) Properties() map[string]string { return maps.Clone(c.props) }

func (c *Config) keepText(raw []byte, props []property) {
	c.text, c.props = string(raw), map[string]string{}
	for _, p := range props {
		shown := masked(p.key, p.value)
		if shown != p.value {
			if !strings.Contains(c.text, p.value) {
				c.text = "" // written with escapes: rather nothing than the credential
			}
			c.text = strings.ReplaceAll(c.text, p.value, shown)
		}
		if k := lookup(p.key); k == nil || k.Property { // lines server.N among them
			c.props["zookeeper."+p.key] = shown
		}
	}
}
