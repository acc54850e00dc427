package config

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Explain writes what became of every line, for coordd check-config: the line,
// its status and effective value, and a sentence; then what the server is going
// to be, or that it does not start. The error is w's.
func Explain(w io.Writer, c *Config) error {
	b := bufio.NewWriter(w)
	file := ""
	for _, n := range c.notes {
		if n.File != file {
			file = n.File
			fmt.Fprintf(b, "%s\n", file)
		}
		mark := " "
		if n.Warn {
			mark = "!"
		}
		if n.Warn && n.Status == Refused {
			mark = "x"
		}
		fmt.Fprintf(b, "%s %4d  %-10s ", mark, n.Line, n.Status)
		if n.Key != "" {
			fmt.Fprintf(b, " %s=%s", n.Key, printable(n.Value))
		}
		if n.Effective != "" && n.Effective != n.Value {
			fmt.Fprintf(b, "  (runs with %s)", printable(n.Effective))
		}
		fmt.Fprintf(b, "\n                   %s\n", n.Text)
	}
	if len(c.faults) == 0 {
		fmt.Fprintf(b, "\n%s\n", c.summary())
		return b.Flush()
	}
	fmt.Fprint(b, "\ncoordd does not start with this")
	if len(c.faults) > 1 {
		fmt.Fprintf(b, ", for %d reasons, each marked x", len(c.faults))
	}
	fmt.Fprintln(b, ".")
	for _, e := range c.faults {
		if e.Line == 0 || e.Key == "" {
			fmt.Fprintf(b, "%s\n", e) // not at any line
		}
	}
	return b.Flush()
}

// printable keeps control characters of a file off the terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// summary is what the server is going to be, in a few lines.
func (c *Config) summary() string {
	var b strings.Builder
	if c.Standalone {
		fmt.Fprintf(&b, "Standalone server %d", c.MyID)
	} else {
		fmt.Fprintf(&b, "Member %d (%s) of %d, %d of them voting", c.MyID, c.PeerType, len(c.Members), len(c.Voters()))
	}
	address := c.ClientAddress
	if address == "" {
		address = "0.0.0.0"
	}
	fmt.Fprintf(&b, "; clients on %s; data in %s, log in %s.\n", joinHostPort(address, c.ClientPort), c.DataDir, c.DataLogDir)
	fmt.Fprintf(&b, "Tick %v; sessions from %v to %v.", c.TickTime, c.MinSessionTimeout, c.MaxSessionTimeout)
	return b.String()
}

// WriteDoc writes docs/configuration.md from the table of keys. The error is w's.
func WriteDoc(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, docHead)
	for _, part := range []struct {
		title, intro string
		in           func(k *Key) bool
	}{
		{"Keys with an effect", "*Honored* keys mean what they mean in ZooKeeper; *mapped* ones act on the part of Raft that corresponds.",
			func(k *Key) bool { return k.Status <= Mapped && !own(k) }},
		{"Keys of coordd's own", "An unknown key that begins with `coordd.` stops the start.", own},
		{"Keys that stop the start", "They ask for security or a topology that is not built yet. The values in brackets ask for nothing and are accepted.",
			func(k *Key) bool { return k.Status == Refused }},
		{"Keys without an effect", "They are accepted, and the log says so once.",
			func(k *Key) bool { return k.Status == Ignored }},
	} {
		fmt.Fprintf(b, "\n## %s\n\n%s\n\n| Key | Default | Status | Meaning |\n| --- | --- | --- | --- |\n", part.title, part.intro)
		for i := range keys {
			k := &keys[i]
			if !part.in(k) {
				continue
			}
			doc := k.Doc
			if len(k.Harmless) > 0 {
				doc += " (`" + strings.Join(k.Harmless, "`, `") + "`)"
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Name, code(k.Default), k.Status, strings.ReplaceAll(doc, "|", `\|`))
		}
	}
	return b.Flush()
}

func own(k *Key) bool { return strings.HasPrefix(k.Name, "coordd.") }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// Warnings are the notes an operator should look at, and those on lines
// without an effect, for the log at the start.
func (c *Config) Warnings() []Note {
	return slices.DeleteFunc(slices.Clone(c.notes), func(n Note) bool { return !n.Warn && n.Status != Ignored })
}

const docHead = `# Configuration

<!-- Generated from the table of keys in the package config. Do not edit. -->

coordd reads ZooKeeper's zoo.cfg: lines key=value in the syntax of Java
properties, where the last of two lines with one key counts. Every line is
accounted for: coordd check-config prints what becomes of each. A wrong value
stops the start with file, line, key and what is allowed. A key nobody knows is
a warning. Numbers of system properties are read as Java does: 0x10 and #10 are
hexadecimal, 010 is octal.

In a file, a key is written without the prefix zookeeper. of the Java system
property. With it, it has no effect, as in ZooKeeper, and a warning says so.

Members are lines

    server.N=host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]

with N from 1 to 255 (254 with extendedTypesEnabled). IPv6 addresses are in
brackets. Without such a line, or with a single one and standaloneEnabled=true,
the server runs standalone; otherwise the file myid in dataDir holds its N.
`
