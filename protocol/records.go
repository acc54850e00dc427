package protocol

import "encoding/binary"

// Perm is a set of permissions in an ACL entry. Bits that mean nothing are
// kept as they came.
type Perm int32

// The permissions, under ZooKeeper's numbers (ZooDefs.Perms).
const (
	PermRead   Perm = 1
	PermWrite  Perm = 2
	PermCreate Perm = 4
	PermDelete Perm = 8
	PermAdmin  Perm = 16
	PermAll    Perm = 31
)

// ID is an identity: a scheme, and whom the scheme means by it.
type ID struct {
	Scheme string
	ID     string
}

// ACL is one entry of a znode's access list.
type ACL struct {
	Perms Perm
	ID    ID
}

// WorldAnyone is the access list that lets everybody do everything
// (ZooDefs.Ids.OPEN_ACL_UNSAFE).
var WorldAnyone = []ACL{{PermAll, ID{"world", "anyone"}}}

// CreateMode says what kind of znode a create makes
// (org.apache.zookeeper.CreateMode).
type CreateMode int32

// The create modes, under ZooKeeper's numbers.
const (
	Persistent              CreateMode = 0
	Ephemeral               CreateMode = 1
	PersistentSequential    CreateMode = 2
	EphemeralSequential     CreateMode = 3
	Container               CreateMode = 4
	PersistentTTL           CreateMode = 5
	PersistentSequentialTTL CreateMode = 6
)

// Valid reports whether m is a mode that ZooKeeper knows.
func (m CreateMode) Valid() bool { return m >= Persistent && m <= PersistentSequentialTTL }

// Ephemeral reports whether m ties the znode to its session.
func (m CreateMode) Ephemeral() bool { return m == Ephemeral || m == EphemeralSequential }

// Sequential reports whether m appends the parent's counter to the name.
func (m CreateMode) Sequential() bool {
	return m == PersistentSequential || m == EphemeralSequential || m == PersistentSequentialTTL
}

// TTL reports whether m gives the znode a time to live.
func (m CreateMode) TTL() bool { return m == PersistentTTL || m == PersistentSequentialTTL }

// AnyVersion in a request matches whatever version the znode has.
const AnyVersion int32 = -1

// Stat is a znode's metadata as clients see it. Times are milliseconds since
// the Unix epoch.
type Stat struct {
	Czxid          int64
	Mzxid          int64
	Ctime          int64
	Mtime          int64
	Version        int32
	Cversion       int32
	Aversion       int32
	EphemeralOwner int64
	DataLength     int32
	NumChildren    int32
	Pzxid          int64
}

// StatSize is the length of an encoded Stat in bytes.
const StatSize = 68

// AppendTo appends the record.
func (s *Stat) AppendTo(b []byte) []byte {
	b = append(b, make([]byte, StatSize)...) // most replies have one: room is made once
	p := (*[StatSize]byte)(b[len(b)-StatSize:])
	binary.BigEndian.PutUint64(p[0:], uint64(s.Czxid))
	binary.BigEndian.PutUint64(p[8:], uint64(s.Mzxid))
	binary.BigEndian.PutUint64(p[16:], uint64(s.Ctime))
	binary.BigEndian.PutUint64(p[24:], uint64(s.Mtime))
	binary.BigEndian.PutUint32(p[32:], uint32(s.Version))
	binary.BigEndian.PutUint32(p[36:], uint32(s.Cversion))
	binary.BigEndian.PutUint32(p[40:], uint32(s.Aversion))
	binary.BigEndian.PutUint64(p[44:], uint64(s.EphemeralOwner))
	binary.BigEndian.PutUint32(p[52:], uint32(s.DataLength))
	binary.BigEndian.PutUint32(p[56:], uint32(s.NumChildren))
	binary.BigEndian.PutUint64(p[60:], uint64(s.Pzxid))
	return b
}

// Decode reads the record.
func (s *Stat) Decode(d *Decoder) {
	s.Czxid, s.Mzxid, s.Ctime, s.Mtime = d.Long(), d.Long(), d.Long(), d.Long()
	s.Version, s.Cversion, s.Aversion = d.Int(), d.Int(), d.Int()
	s.EphemeralOwner = d.Long()
	s.DataLength, s.NumChildren = d.Int(), d.Int()
	s.Pzxid = d.Long()
}

// AppendACLs appends an access list; nil becomes a null.
func AppendACLs(b []byte, acls []ACL) []byte {
	if acls == nil {
		return AppendInt(b, -1)
	}
	b = AppendInt(b, int32(len(acls)))
	for _, a := range acls {
		b = AppendInt(b, int32(a.Perms))
		b = AppendString(b, a.ID.Scheme)
		b = AppendString(b, a.ID.ID)
	}
	return b
}

// ACLs reads an access list; a null one is nil.
func (d *Decoder) ACLs() []ACL {
	n := d.count(12)
	if n < 0 {
		return nil
	}
	v := make([]ACL, 0, n)
	for range n {
		v = append(v, ACL{Perm(d.Int()), ID{d.String(), d.String()}})
		if d.failed {
			return nil
		}
	}
	return v
}

// ConnectRequest is the first frame of a connection; it has no header.
type ConnectRequest struct {
	ProtocolVersion int32
	LastZxidSeen    int64
	TimeoutMs       int32
	SessionID       int64
	Password        []byte
	// ReadOnly: the client takes a read-only server too.
	ReadOnly bool
	// HasReadOnly: the frame had the byte at all; clients before 3.4 omit it.
	HasReadOnly bool
}

// AppendTo appends the record.
func (r *ConnectRequest) AppendTo(b []byte) []byte {
	b = AppendInt(b, r.ProtocolVersion)
	b = AppendLong(b, r.LastZxidSeen)
	b = AppendInt(b, r.TimeoutMs)
	b = AppendLong(b, r.SessionID)
	b = AppendBuffer(b, r.Password)
	if r.HasReadOnly {
		b = AppendBool(b, r.ReadOnly)
	}
	return b
}

// Decode reads the record.
func (r *ConnectRequest) Decode(d *Decoder) {
	r.ProtocolVersion, r.LastZxidSeen, r.TimeoutMs = d.Int(), d.Long(), d.Int()
	r.SessionID, r.Password = d.Long(), d.Buffer()
	if d.Err() == nil && len(d.Rest()) > 0 {
		r.HasReadOnly, r.ReadOnly = true, d.Bool()
	}
}

// ConnectResponse answers a ConnectRequest. All zero (with 16 zero bytes of
// password) it says that the session has expired.
type ConnectResponse struct {
	ProtocolVersion int32
	TimeoutMs       int32
	SessionID       int64
	Password        []byte
	ReadOnly        bool
	HasReadOnly     bool // whether the request had the byte
}

// AppendTo appends the record.
func (r *ConnectResponse) AppendTo(b []byte) []byte {
	b = AppendInt(b, r.ProtocolVersion)
	b = AppendInt(b, r.TimeoutMs)
	b = AppendLong(b, r.SessionID)
	b = AppendBuffer(b, r.Password)
	if r.HasReadOnly {
		b = AppendBool(b, r.ReadOnly)
	}
	return b
}

// Decode reads the record.
func (r *ConnectResponse) Decode(d *Decoder) {
	r.ProtocolVersion, r.TimeoutMs = d.Int(), d.Int()
	r.SessionID, r.Password = d.Long(), d.Buffer()
	if d.Err() == nil && len(d.Rest()) > 0 {
		r.HasReadOnly, r.ReadOnly = true, d.Bool()
	}
}

// The xids that mean something of their own.
const (
	XidNotification int32 = -1
	XidPing         int32 = -2
	XidAuth         int32 = -4
	XidSetWatches   int32 = -8
)

// RequestHeader stands before every request's body.
type RequestHeader struct {
	Xid int32
	Op  OpCode
}

// RequestHeaderSize is its length in bytes.
const RequestHeaderSize = 8

// AppendTo appends the record.
func (h *RequestHeader) AppendTo(b []byte) []byte {
	return AppendInt(AppendInt(b, h.Xid), int32(h.Op))
}

// Decode reads the record.
func (h *RequestHeader) Decode(d *Decoder) { h.Xid, h.Op = d.Int(), OpCode(d.Int()) }

// ReplyHeader stands before every reply and notification.
type ReplyHeader struct {
	Xid  int32
	Zxid int64
	Err  ErrCode
}

// ReplyHeaderSize is its length in bytes.
const ReplyHeaderSize = 16

// AppendTo appends the record.
func (h *ReplyHeader) AppendTo(b []byte) []byte {
	return AppendInt(AppendLong(AppendInt(b, h.Xid), h.Zxid), int32(h.Err))
}

// Decode reads the record.
func (h *ReplyHeader) Decode(d *Decoder) {
	h.Xid, h.Zxid, h.Err = d.Int(), d.Long(), ErrCode(d.Int())
}

// EventType is what happened to a watched znode (Watcher.Event.EventType).
type EventType int32

// The event types that servers send, under ZooKeeper's numbers.
const (
	NodeCreated         EventType = 1
	NodeDeleted         EventType = 2
	NodeDataChanged     EventType = 3
	NodeChildrenChanged EventType = 4
)

// StateSyncConnected is the only state that notifications carry.
const StateSyncConnected int32 = 3

// WatcherEvent is the body of a notification.
type WatcherEvent struct {
	Type  EventType
	State int32
	Path  string
}

// AppendTo appends the record.
func (r *WatcherEvent) AppendTo(b []byte) []byte {
	return AppendString(AppendInt(AppendInt(b, int32(r.Type)), r.State), r.Path)
}

// Decode reads the record.
func (r *WatcherEvent) Decode(d *Decoder) {
	r.Type, r.State, r.Path = EventType(d.Int()), d.Int(), d.String()
}

// CreateRequest is the body of create, create2 and createContainer.
type CreateRequest struct {
	Path string
	Data []byte // nil is null, which getData shows
	ACL  []ACL
	Mode CreateMode
}

// AppendTo appends the record.
func (r *CreateRequest) AppendTo(b []byte) []byte {
	return AppendInt(AppendACLs(AppendBuffer(AppendString(b, r.Path), r.Data), r.ACL), int32(r.Mode))
}

// Decode reads the record.
func (r *CreateRequest) Decode(d *Decoder) {
	r.Path, r.Data, r.ACL, r.Mode = d.String(), d.Buffer(), d.ACLs(), CreateMode(d.Int())
}

// CreateTTLRequest is the body of createTTL.
type CreateTTLRequest struct {
	CreateRequest
	TTLMs int64
}

// AppendTo appends the record.
func (r *CreateTTLRequest) AppendTo(b []byte) []byte {
	return AppendLong(r.CreateRequest.AppendTo(b), r.TTLMs)
}

// Decode reads the record.
func (r *CreateTTLRequest) Decode(d *Decoder) {
	r.CreateRequest.Decode(d)
	r.TTLMs = d.Long()
}

// Create2Response answers create2, createContainer and createTTL.
type Create2Response struct {
	Path string
	Stat Stat
}

// AppendTo appends the record.
func (r *Create2Response) AppendTo(b []byte) []byte { return r.Stat.AppendTo(AppendString(b, r.Path)) }

// Decode reads the record.
func (r *Create2Response) Decode(d *Decoder) {
	r.Path = d.String()
	r.Stat.Decode(d)
}

// DeleteRequest is the body of delete.
type DeleteRequest struct {
	Path    string
	Version int32
}

// AppendTo appends the record.
func (r *DeleteRequest) AppendTo(b []byte) []byte {
	return AppendInt(AppendString(b, r.Path), r.Version)
}

// Decode reads the record.
func (r *DeleteRequest) Decode(d *Decoder) { r.Path, r.Version = d.String(), d.Int() }

// CheckRequest is the body of a check inside a multi.
type CheckRequest = DeleteRequest

// PathRequest is the body of requests that name a path alone.
type PathRequest struct{ Path string }

// AppendTo appends the record.
func (r *PathRequest) AppendTo(b []byte) []byte { return AppendString(b, r.Path) }

// Decode reads the record.
func (r *PathRequest) Decode(d *Decoder) { r.Path = d.String() }

// PathResponse answers create and sync.
type PathResponse = PathRequest

// PathWatchRequest is the body of exists, getData, getChildren, getChildren2.
type PathWatchRequest struct {
	Path  string
	Watch bool
}

// AppendTo appends the record.
func (r *PathWatchRequest) AppendTo(b []byte) []byte {
	return AppendBool(AppendString(b, r.Path), r.Watch)
}

// Decode reads the record.
func (r *PathWatchRequest) Decode(d *Decoder) { r.Path, r.Watch = d.String(), d.Bool() }

// PathTypeRequest is the body of addWatch (Type is the mode), checkWatches and
// removeWatches (Type is the kind of watcher).
type PathTypeRequest struct {
	Path string
	Type int32
}

// AppendTo appends the record.
func (r *PathTypeRequest) AppendTo(b []byte) []byte {
	return AppendInt(AppendString(b, r.Path), r.Type)
}

// Decode reads the record.
func (r *PathTypeRequest) Decode(d *Decoder) { r.Path, r.Type = d.String(), d.Int() }

// The modes of addWatch (ZooDefs.AddWatchModes).
const (
	WatchPersistent          int32 = 0
	WatchPersistentRecursive int32 = 1
)

// The kinds of watcher that checkWatches and removeWatches name
// (Watcher.WatcherType).
const (
	WatcherChildren            int32 = 1
	WatcherData                int32 = 2
	WatcherAny                 int32 = 3
	WatcherPersistent          int32 = 4
	WatcherPersistentRecursive int32 = 5
)

// SetDataRequest is the body of setData.
type SetDataRequest struct {
	Path    string
	Data    []byte
	Version int32
}

// AppendTo appends the record.
func (r *SetDataRequest) AppendTo(b []byte) []byte {
	return AppendInt(AppendBuffer(AppendString(b, r.Path), r.Data), r.Version)
}

// Decode reads the record.
func (r *SetDataRequest) Decode(d *Decoder) {
	r.Path, r.Data, r.Version = d.String(), d.Buffer(), d.Int()
}

// SetACLRequest is the body of setACL; Version is compared with the aversion.
type SetACLRequest struct {
	Path    string
	ACL     []ACL
	Version int32
}

// AppendTo appends the record.
func (r *SetACLRequest) AppendTo(b []byte) []byte {
	return AppendInt(AppendACLs(AppendString(b, r.Path), r.ACL), r.Version)
}

// Decode reads the record.
func (r *SetACLRequest) Decode(d *Decoder) { r.Path, r.ACL, r.Version = d.String(), d.ACLs(), d.Int() }

// StatResponse answers exists, setData and setACL.
type StatResponse struct{ Stat Stat }

// AppendTo appends the record.
func (r *StatResponse) AppendTo(b []byte) []byte { return r.Stat.AppendTo(b) }

// Decode reads the record.
func (r *StatResponse) Decode(d *Decoder) { r.Stat.Decode(d) }

// GetDataResponse answers getData and reconfig.
type GetDataResponse struct {
	Data []byte
	Stat Stat
}

// AppendTo appends the record.
func (r *GetDataResponse) AppendTo(b []byte) []byte { return r.Stat.AppendTo(AppendBuffer(b, r.Data)) }

// Decode reads the record.
func (r *GetDataResponse) Decode(d *Decoder) {
	r.Data = d.Buffer()
	r.Stat.Decode(d)
}

// GetACLResponse answers getACL.
type GetACLResponse struct {
	ACL  []ACL
	Stat Stat
}

// AppendTo appends the record.
func (r *GetACLResponse) AppendTo(b []byte) []byte { return r.Stat.AppendTo(AppendACLs(b, r.ACL)) }

// Decode reads the record.
func (r *GetACLResponse) Decode(d *Decoder) {
	r.ACL = d.ACLs()
	r.Stat.Decode(d)
}

// StringsResponse answers getChildren and getEphemerals.
type StringsResponse struct{ Names []string }

// AppendTo appends the record.
func (r *StringsResponse) AppendTo(b []byte) []byte { return AppendStrings(b, r.Names) }

// Decode reads the record.
func (r *StringsResponse) Decode(d *Decoder) { r.Names = d.Strings() }

// GetChildren2Response answers getChildren2.
type GetChildren2Response struct {
	Names []string
	Stat  Stat
}

// AppendTo appends the record.
func (r *GetChildren2Response) AppendTo(b []byte) []byte {
	return r.Stat.AppendTo(AppendStrings(b, r.Names))
}

// Decode reads the record.
func (r *GetChildren2Response) Decode(d *Decoder) {
	r.Names = d.Strings()
	r.Stat.Decode(d)
}

// IntResponse answers getAllChildrenNumber and addWatch.
type IntResponse struct{ Value int32 }

// AppendTo appends the record.
func (r *IntResponse) AppendTo(b []byte) []byte { return AppendInt(b, r.Value) }

// Decode reads the record.
func (r *IntResponse) Decode(d *Decoder) { r.Value = d.Int() }

// ReconfigRequest is the body of reconfig.
type ReconfigRequest struct {
	Joining     string
	Leaving     string
	NewMembers  string
	CurConfigID int64
}

// AppendTo appends the record.
func (r *ReconfigRequest) AppendTo(b []byte) []byte {
	b = AppendString(AppendString(AppendString(b, r.Joining), r.Leaving), r.NewMembers)
	return AppendLong(b, r.CurConfigID)
}

// Decode reads the record.
func (r *ReconfigRequest) Decode(d *Decoder) {
	r.Joining, r.Leaving, r.NewMembers, r.CurConfigID = d.String(), d.String(), d.String(), d.Long()
}

// AuthRequest is the body of auth. Type is 0 and means nothing.
type AuthRequest struct {
	Type   int32
	Scheme string
	Auth   []byte
}

// AppendTo appends the record.
func (r *AuthRequest) AppendTo(b []byte) []byte {
	return AppendBuffer(AppendString(AppendInt(b, r.Type), r.Scheme), r.Auth)
}

// Decode reads the record.
func (r *AuthRequest) Decode(d *Decoder) { r.Type, r.Scheme, r.Auth = d.Int(), d.String(), d.Buffer() }

// SaslRecord is the body of sasl and of its answer.
type SaslRecord struct{ Token []byte }

// AppendTo appends the record.
func (r *SaslRecord) AppendTo(b []byte) []byte { return AppendBuffer(b, r.Token) }

// Decode reads the record.
func (r *SaslRecord) Decode(d *Decoder) { r.Token = d.Buffer() }

// SetWatchesRequest is the body of setWatches: the watches that a client had
// when it had seen RelativeZxid. A nil list is a null.
type SetWatchesRequest struct {
	RelativeZxid int64
	Data         []string
	Exist        []string
	Child        []string
}

// AppendTo appends the record.
func (r *SetWatchesRequest) AppendTo(b []byte) []byte {
	b = AppendLong(b, r.RelativeZxid)
	return AppendStrings(AppendStrings(AppendStrings(b, r.Data), r.Exist), r.Child)
}

// Decode reads the record.
func (r *SetWatchesRequest) Decode(d *Decoder) {
	r.RelativeZxid, r.Data, r.Exist, r.Child = d.Long(), d.Strings(), d.Strings(), d.Strings()
}

// SetWatches2Request is the body of setWatches2.
type SetWatches2Request struct {
	SetWatchesRequest
	Persistent          []string
	PersistentRecursive []string
}

// AppendTo appends the record.
func (r *SetWatches2Request) AppendTo(b []byte) []byte {
	return AppendStrings(AppendStrings(r.SetWatchesRequest.AppendTo(b), r.Persistent), r.PersistentRecursive)
}

// Decode reads the record.
func (r *SetWatches2Request) Decode(d *Decoder) {
	r.SetWatchesRequest.Decode(d)
	r.Persistent, r.PersistentRecursive = d.Strings(), d.Strings()
}

// ClientInfo is one identity of a connection, as whoAmI shows it.
type ClientInfo struct {
	AuthScheme string
	User       string
}

// WhoAmIResponse answers whoAmI.
type WhoAmIResponse struct{ Infos []ClientInfo }

// AppendTo appends the record.
func (r *WhoAmIResponse) AppendTo(b []byte) []byte {
	b = AppendInt(b, int32(len(r.Infos)))
	for _, c := range r.Infos {
		b = AppendString(AppendString(b, c.AuthScheme), c.User)
	}
	return b
}

// Decode reads the record.
func (r *WhoAmIResponse) Decode(d *Decoder) {
	n := d.count(8)
	if n <= 0 {
		return
	}
	r.Infos = make([]ClientInfo, 0, n)
	for range n {
		r.Infos = append(r.Infos, ClientInfo{d.String(), d.String()})
		if d.failed {
			return
		}
	}
}
