package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// deriveMode decides between a standalone server and an ensemble, as
// QuorumPeerConfig.parseDynamicConfig and isDistributed do.
func (c *Config) deriveMode() error {
	voters := len(c.Voters())
	observers := len(c.Members) - voters
	c.Standalone = c.StandaloneEnabled && voters <= 1
	switch {
	case voters == 0 && !c.StandaloneEnabled:
		return c.failKey("standaloneEnabled", "with false there must be a server.N line with a participant")
	case voters == 0 && observers > 0:
		return &Error{File: c.memberFile(), Msg: "observers without a participant: add the server.N lines of the ensemble"}
	case c.Standalone && observers > 0:
		return &Error{File: c.memberFile(), Msg: "one participant with observers needs standaloneEnabled=false"}
	}
	if c.Standalone {
		if len(c.Members) == 1 {
			c.warn(fmt.Sprintf("server.%d", c.Members[0].ID), "The only server: it runs standalone and opens no port for others.")
		}
		return nil
	}
	if c.InitLimit == 0 {
		return c.failKey("initLimit", "is not set: servers of an ensemble need it, usually 10")
	}
	if c.SyncLimit == 0 {
		return c.failKey("syncLimit", "is not set: servers of an ensemble need it, usually 5")
	}
	switch {
	case voters <= 2:
		c.warn(memberKey(c.Members), "With one or two voters no failure is tolerated; three is the least that helps.")
	case voters%2 == 0:
		c.warn(memberKey(c.Members), fmt.Sprintf("%d voters tolerate no more failures than %d.", voters, voters-1))
	}
	return nil
}

// memberKey is the key at which a remark about the whole list is made.
func memberKey(members []Member) string { return fmt.Sprintf("server.%d", members[0].ID) }

func (c *Config) memberFile() string {
	if c.DynamicConfigFile != "" {
		return c.DynamicConfigFile
	}
	return c.name
}

// deriveMyID finds out which member this server is, and with that its role.
func (c *Config) deriveMyID(readFile func(string) ([]byte, error)) error {
	c.MyID = 1
	if len(c.Members) == 1 {
		c.MyID = c.Members[0].ID
	}
	path := filepath.Join(c.DataDir, "myid")
	raw, err := readWith(readFile, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !c.Standalone {
			return &Error{File: path, Msg: "is missing: write this server's number into it" + c.oneOfMembers()}
		}
	case errors.Is(err, syscall.ENOTDIR):
		return c.failKey("dataDir", "is not a directory")
	case err != nil:
		return &Error{File: path, Msg: "cannot be read", Err: err}
	default:
		if err := c.setMyID(path, raw); err != nil {
			return err
		}
	}
	m, listed := c.Member(c.MyID)
	if !listed && len(c.Members) > 0 {
		return &Error{File: path, Line: 1, Value: fmt.Sprint(c.MyID), Key: "myid",
			Msg: fmt.Sprintf("there is no server.%d in %s, only %s", c.MyID, c.memberFile(), c.memberIDs())}
	}
	if listed && m.role() != c.PeerType {
		if c.Source("peerType") != "" {
			c.warn("peerType", fmt.Sprintf("The line of server.%d says %s, and that counts.", m.ID, m.role()))
		}
		c.PeerType = m.role()
	}
	return nil
}

// setMyID reads the first line of myid. ZooKeeper takes no blanks around the
// number; here they do no harm.
func (c *Config) setMyID(path string, raw []byte) error {
	line, _, _ := strings.Cut(string(raw), "\n")
	line = javaTrim(line)
	most := int64(maxMembers)
	if c.ExtendedTypesEnabled {
		most-- // the top byte 255 marks TTL nodes
	}
	if line == "" {
		return &Error{File: path, Line: 1, Msg: "is empty: write this server's number into it" + c.oneOfMembers()}
	}
	id, err := integer(line, 1, most)
	if err != nil {
		if len(line) > 40 {
			line = line[:40]
		}
		return &Error{File: path, Line: 1, Key: "myid", Value: line, Msg: "allowed: " + err.Error() + c.oneOfMembers()}
	}
	c.MyID = uint8(id)
	return nil
}

// oneOfMembers continues the sentence that a number is wanted.
func (c *Config) oneOfMembers() string {
	if len(c.Members) == 0 {
		return ""
	}
	return ", one of " + c.memberIDs()
}

// memberIDs lists the ids of the file for messages.
func (c *Config) memberIDs() string {
	var ids []string
	for _, m := range c.Members {
		ids = append(ids, fmt.Sprint(m.ID))
	}
	return strings.Join(ids, ", ")
}
