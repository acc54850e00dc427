package protocol

import "strconv"

// OpCode is a request's type, as it stands in its header
// (org.apache.zookeeper.ZooDefs.OpCode).
type OpCode int32

// The operations of the client protocol, under ZooKeeper's numbers.
const (
	OpNotification         OpCode = 0
	OpCreate               OpCode = 1
	OpDelete               OpCode = 2
	OpExists               OpCode = 3
	OpGetData              OpCode = 4
	OpSetData              OpCode = 5
	OpGetACL               OpCode = 6
	OpSetACL               OpCode = 7
	OpGetChildren          OpCode = 8
	OpSync                 OpCode = 9
	OpPing                 OpCode = 11
	OpGetChildren2         OpCode = 12
	OpCheck                OpCode = 13
	OpMulti                OpCode = 14
	OpCreate2              OpCode = 15
	OpReconfig             OpCode = 16
	OpCheckWatches         OpCode = 17
	OpRemoveWatches        OpCode = 18
	OpCreateContainer      OpCode = 19
	OpDeleteContainer      OpCode = 20
	OpCreateTTL            OpCode = 21
	OpMultiRead            OpCode = 22
	OpAuth                 OpCode = 100
	OpSetWatches           OpCode = 101
	OpSasl                 OpCode = 102
	OpGetEphemerals        OpCode = 103
	OpGetAllChildrenNumber OpCode = 104
	OpSetWatches2          OpCode = 105
	OpAddWatch             OpCode = 106
	OpWhoAmI               OpCode = 107
	OpCreateSession        OpCode = -10
	OpCloseSession         OpCode = -11
	// OpError is the type of a failed operation's result inside a multi.
	OpError OpCode = -1
)

// String is the operation's name, or its number where there is none.
func (c OpCode) String() string {
	if op := Lookup(c); op != nil {
		return op.Name
	}
	return strconv.Itoa(int(c))
}

// Short is ZooKeeper's abbreviation of the operation, "NA" where it has none.
func (c OpCode) Short() string {
	if op := Lookup(c); op != nil {
		return op.Short
	}
	return "NA"
}

// Class says which path an operation takes through the server.
type Class uint8

const (
	// Refused operations have a number but clients may not send them: the
	// answer is Unimplemented, and the connection is closed.
	Refused Class = iota
	// Read operations run on the connection's server against applied state.
	Read
	// Write operations travel through the log and take a zxid.
	Write
	// Order operations travel through the log but take no zxid (sync).
	Order
	// Connection operations concern the connection alone (ping, watches).
	Connection
	// Immediate operations are answered as soon as they are read, ahead of
	// replies that still wait (auth, sasl).
	Immediate
)

// Scope is the node whose ACL decides about an operation.
type Scope uint8

const (
	// Nowhere: no ACL is asked.
	Nowhere Scope = iota
	// Node: the ACL of the node itself.
	Node
	// Parent: the ACL of its parent.
	Parent
)

// Op is all that the wire says about one operation. Routing, ACL checks,
// metric labels, log names and the words of the admin commands are derived
// from this table.
type Op struct {
	// Code is the number in the request header.
	Code OpCode
	// Name is the word for it in logs, metrics and docs.
	Name string
	// Short is ZooKeeper's abbreviation in the `cons` word.
	Short string
	// Class is the path that it takes.
	Class Class
	// Request makes an empty request record; nil where there is no body.
	Request func() Record
	// Response makes an empty response record; nil for a bare header.
	Response func() Record
	// Need is the permission that it takes (any bit suffices), On whose ACL
	// grants it.
	Need Perm
	On   Scope
}

// Record is a jute record. Decode leaves its fault in the decoder.
type Record interface {
	AppendTo(b []byte) []byte
	Decode(d *Decoder)
}

func record[T any, P interface {
	*T
	Record
}]() Record {
	return P(new(T))
}

// Ops is the table of all operations, in order of their codes.
var Ops = []Op{
	{OpCloseSession, "closeSession", "CLOS", Write, nil, nil, 0, Nowhere},
	{OpCreateSession, "createSession", "SESS", Refused, nil, nil, 0, Nowhere},
	{OpCreate, "create", "CREA", Write, record[CreateRequest], record[PathResponse], PermCreate, Parent},
	{OpDelete, "delete", "DELE", Write, record[DeleteRequest], nil, PermDelete, Parent},
	{OpExists, "exists", "EXIS", Read, record[PathWatchRequest], record[StatResponse], PermRead, Node},
	{OpGetData, "getData", "GETD", Read, record[PathWatchRequest], record[GetDataResponse], PermRead, Node},
	{OpSetData, "setData", "SETD", Write, record[SetDataRequest], record[StatResponse], PermWrite, Node},
	{OpGetACL, "getACL", "GETA", Read, record[PathRequest], record[GetACLResponse], PermRead | PermAdmin, Node},
	{OpSetACL, "setACL", "SETA", Write, record[SetACLRequest], record[StatResponse], PermAdmin, Node},
	{OpGetChildren, "getChildren", "GETC", Read, record[PathWatchRequest], record[StringsResponse], PermRead, Node},
	{OpSync, "sync", "SYNC", Order, record[PathRequest], record[PathResponse], 0, Nowhere},
	{OpPing, "ping", "PING", Connection, nil, nil, 0, Nowhere},
	{OpGetChildren2, "getChildren2", "GETC", Read, record[PathWatchRequest], record[GetChildren2Response], PermRead, Node},
	{OpCheck, "check", "CHEC", Refused, record[CheckRequest], nil, PermRead, Node},
	{OpMulti, "multi", "MULT", Write, record[MultiRequest], record[MultiResponse], 0, Nowhere},
	{OpCreate2, "create2", "CREA", Write, record[CreateRequest], record[Create2Response], PermCreate, Parent},
	{OpReconfig, "reconfig", "RECO", Write, record[ReconfigRequest], record[GetDataResponse], PermWrite, Node},
	{OpCheckWatches, "checkWatches", "CHKW", Connection, record[PathTypeRequest], nil, 0, Nowhere},
	{OpRemoveWatches, "removeWatches", "REMW", Connection, record[PathTypeRequest], nil, 0, Nowhere},
	{OpCreateContainer, "createContainer", "CREA", Write, record[CreateRequest], record[Create2Response], PermCreate, Parent},
	{OpDeleteContainer, "deleteContainer", "DELE", Refused, record[PathRequest], nil, 0, Nowhere},
	{OpCreateTTL, "createTTL", "CREA", Write, record[CreateTTLRequest], record[Create2Response], PermCreate, Parent},
	{OpMultiRead, "multiRead", "MLTR", Read, record[MultiRequest], record[MultiResponse], 0, Nowhere},
	{OpAuth, "auth", "NA", Immediate, record[AuthRequest], nil, 0, Nowhere},
	{OpSetWatches, "setWatches", "SETW", Read, record[SetWatchesRequest], nil, 0, Nowhere},
	{OpSasl, "sasl", "NA", Immediate, record[SaslRecord], record[SaslRecord], 0, Nowhere},
	{OpGetEphemerals, "getEphemerals", "GETE", Read, record[PathRequest], record[StringsResponse], 0, Nowhere},
	{OpGetAllChildrenNumber, "getAllChildrenNumber", "GETACN", Read, record[PathRequest], record[IntResponse], PermRead, Node},
	{OpSetWatches2, "setWatches2", "STW2", Read, record[SetWatches2Request], nil, 0, Nowhere},
	{OpAddWatch, "addWatch", "ADDW", Connection, record[PathTypeRequest], record[IntResponse], 0, Nowhere},
	{OpWhoAmI, "whoAmI", "HOMI", Connection, nil, record[WhoAmIResponse], 0, Nowhere},
}

// opIndex finds the table's row by code, from the lowest code on.
var opIndex = func() [int(OpWhoAmI) - int(OpCloseSession) + 1]*Op {
	var ix [int(OpWhoAmI) - int(OpCloseSession) + 1]*Op
	for i := range Ops {
		ix[Ops[i].Code-OpCloseSession] = &Ops[i]
	}
	return ix
}()

// Lookup returns the row of code, or nil when ZooKeeper knows no such
// operation. The row must not be changed.
func Lookup(code OpCode) *Op {
	if code < OpCloseSession || code > OpWhoAmI {
		return nil
	}
	return opIndex[code-OpCloseSession]
}
