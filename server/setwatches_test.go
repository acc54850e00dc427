package server

import (
	"testing"

	"github.com/coordd/coordd/protocol"
)

// TestSetWatchesOddities: what clients that mean it never send, as ZooKeeper
// 3.9.4 answers it.
func TestSetWatchesOddities(t *testing.T) {
	s := startStandalone(t)
	c := dial(t, s)
	hidden := protocol.CreateRequest{Path: "/hidden", ACL: []protocol.ACL{{Perms: protocol.PermRead, ID: protocol.ID{Scheme: "ip", ID: "10.9.8.7"}}}}
	c.call(protocol.OpCreate, &hidden, protocol.OK)
	c.call(protocol.OpGetData, read("/hidden"), protocol.NoAuth)

	// The events of catching up are not filtered by the node's list.
	req := protocol.SetWatchesRequest{Data: []string{"/hidden"}, Exist: []string{"/hidden"}, Child: []string{}}
	c.send(request(1, protocol.OpSetWatches, &req))
	c.expectEvent(protocol.NodeDataChanged, "/hidden")
	c.expectEvent(protocol.NodeCreated, "/hidden")
	c.expect(1, protocol.OK)

	// setWatches has three lists, whatever follows them.
	two := protocol.SetWatches2Request{SetWatchesRequest: protocol.SetWatchesRequest{Data: []string{}, Exist: []string{}, Child: []string{}}}
	c.send(request(2, protocol.OpSetWatches, &two), request(3, protocol.OpSetWatches2, &two), request(4, protocol.OpSetWatches2, &req))
	c.expect(2, protocol.OK)
	c.expect(3, protocol.MarshallingError)
	c.expect(4, protocol.MarshallingError)

	// A null path ends it where the node is looked up, after the events before it.
	for i, lists := range []protocol.SetWatches2Request{
		{SetWatchesRequest: protocol.SetWatchesRequest{Data: []string{"/gone", protocol.NullString}, Exist: []string{"/hidden"}, Child: []string{}}},
		{SetWatchesRequest: protocol.SetWatchesRequest{Data: []string{"/gone"}, Exist: []string{protocol.NullString, "/hidden"}, Child: []string{}}},
		{SetWatchesRequest: protocol.SetWatchesRequest{Data: []string{}, Exist: []string{}, Child: []string{"/gone", protocol.NullString}}},
	} {
		lists.Persistent, lists.PersistentRecursive = []string{}, []string{}
		xid := int32(10 + i)
		c.send(request(xid, protocol.OpSetWatches2, &lists))
		c.expectEvent(protocol.NodeDeleted, "/gone")
		c.expect(xid, protocol.MarshallingError)
	}
}
