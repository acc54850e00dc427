//go:build differential

package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// walk reads the whole tree as the super user, parents first.
func (s *side) walk() ([]node, error) {
	var nodes []node
	for level := []string{"/"}; len(level) > 0; {
		slices.Sort(level)
		for _, path := range level {
			read := protocol.PathWatchRequest{Path: path}
			for _, op := range []protocol.OpCode{protocol.OpGetData, protocol.OpGetACL, protocol.OpGetChildren2} {
				s.super.put(read.AppendTo(header(2, op)), true)
			}
		}
		if err := s.super.w.Flush(); err != nil {
			return nil, err
		}
		var next []string
		for _, path := range level {
			n := node{path: path}
			for _, to := range []*[]byte{&n.data, &n.acl, &n.parent} {
				var err error
				if *to, err = s.super.read(patience); err != nil {
					return nil, err
				}
			}
			var h protocol.ReplyHeader
			var children protocol.GetChildren2Response
			d := protocol.NewDecoder(n.parent)
			h.Decode(&d)
			children.Decode(&d)
			if h.Err != 0 || d.Err() != nil {
				return nil, fmt.Errorf("children of %q: %v", path, h.Err)
			}
			for _, name := range children.Names {
				next = append(next, strings.TrimSuffix(path, "/")+"/"+name)
			}
			nodes = append(nodes, n)
		}
		level = next
	}
	return nodes, nil
}

// clean removes all that is not part of an empty tree.
func (s *side) clean(nodes []node) error {
	sent := 0
	for _, n := range slices.Backward(nodes) {
		switch n.path {
		case "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config":
			continue
		}
		req := protocol.DeleteRequest{Path: n.path, Version: protocol.AnyVersion}
		s.super.put(req.AppendTo(header(3, protocol.OpDelete)), true)
		sent++
	}
	if err := s.super.w.Flush(); err != nil {
		return err
	}
	for range sent {
		reply, err := s.super.read(patience)
		if err != nil {
			return err
		}
		var h protocol.ReplyHeader
		d := protocol.NewDecoder(reply)
		h.Decode(&d)
		if h.Err != 0 && h.Err != protocol.NoNode { // ephemerals went with their sessions
			return fmt.Errorf("delete: %v", h.Err)
		}
	}
	return nil
}
