package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// parseVersion parses a membership version, as Long.parseLong(s, 16).
func parseVersion(s string) (int64, error) {
	v, err := strconv.ParseInt(s, 16, 64)
	if err != nil || v < 0 {
		return 0, errors.New("a hexadecimal number")
	}
	return v, nil
}

func formatVersion(v int64) string { return strconv.FormatUint(uint64(v), 16) }

// readDynamic reads the file dynamicConfigFile names. Its name's end gives the
// version of the membership, as in QuorumPeerConfig.getVersionFromFilename. A
// line version=, which ZooKeeper 3.9 does not start with, is taken if the name
// has none.
func (c *Config) readDynamic(readFile func(string) ([]byte, error)) ([]memberLine, error) {
	file := c.DynamicConfigFile
	raw, err := readWith(readFile, file)
	if err != nil {
		e := c.failKey("dynamicConfigFile", "cannot be read")
		e.Err = err
		return nil, e
	}
	props, line, err := parseProperties(raw)
	if err != nil {
		return nil, &Error{File: file, Line: line, Msg: "not a line of a properties file", Err: err}
	}
	main := c.name
	c.name = file
	defer func() { c.name = main }()
	last := map[string]int{}
	for _, p := range props {
		last[p.key] = p.line
	}
	fromName := false
	c.ConfigVersion = 0
	if i := strings.LastIndexByte(file, '.'); i >= 0 {
		v, err := parseVersion(file[i+1:])
		if fromName = err == nil; fromName {
			c.ConfigVersion = v
		}
	}
	var members []memberLine
	for _, p := range props {
		id, isServer := strings.CutPrefix(p.key, "server.")
		if line := last[p.key]; line != p.line {
			if err := doubledMember(file, props, p, line); err != nil {
				return nil, err
			}
			c.note(p, Overridden, "", fmt.Sprintf("Overridden by line %d: the last one counts.", line), true)
			continue
		}
		c.sources[p.key] = fmt.Sprintf("%s:%d", file, p.line)
		if isServer {
			m, err := parseMember(id, p.value)
			if err != nil {
				return nil, lineError(file, p, err.Error())
			}
			c.note(p, Honored, m.String(), memberDoc(m), false)
			members = append(members, memberLine{m, file, p})
			continue
		}
		if p.key != "version" {
			msg := "only server.N and version may be in this file"
			if k := lookup(p.key); k != nil && k.Status == Refused {
				msg = k.refusal()
			}
			return nil, lineError(file, p, msg)
		}
		v, err := parseVersion(p.value)
		if err != nil {
			return nil, lineError(file, p, "allowed: "+err.Error())
		}
		if !fromName {
			c.ConfigVersion = v
		}
		c.note(p, Honored, formatVersion(c.ConfigVersion), "ZooKeeper wants the version in the file's name only, where it wins.", true)
	}
	return members, nil
}

// readWith reads a small file; without a reader there are no files.
func readWith(readFile func(string) ([]byte, error), path string) ([]byte, error) {
	if readFile == nil {
		return nil, fs.ErrNotExist
	}
	raw, err := readFile(path)
	if err != nil {
		return nil, unwrapPath(err)
	}
	if len(raw) > maxFileSize {
		return nil, errTooLarge
	}
	return raw, nil
}
