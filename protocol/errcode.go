package protocol

import "strconv"

// ErrCode is the answer to a request, as it stands in a reply header or in a
// multi's result (org.apache.zookeeper.KeeperException.Code). It is meant for
// the client; a fault of this server is a Go error instead.
type ErrCode int32

// The codes that a server sends, and those that only clients use, under
// ZooKeeper's numbers.
const (
	OK                           ErrCode = 0
	SystemError                  ErrCode = -1
	RuntimeInconsistency         ErrCode = -2
	DataInconsistency            ErrCode = -3
	ConnectionLoss               ErrCode = -4
	MarshallingError             ErrCode = -5
	Unimplemented                ErrCode = -6
	OperationTimeout             ErrCode = -7
	BadArguments                 ErrCode = -8
	UnknownSession               ErrCode = -12
	NewConfigNoQuorum            ErrCode = -13
	ReconfigInProgress           ErrCode = -14
	APIError                     ErrCode = -100
	NoNode                       ErrCode = -101
	NoAuth                       ErrCode = -102
	BadVersion                   ErrCode = -103
	NoChildrenForEphemerals      ErrCode = -108
	NodeExists                   ErrCode = -110
	NotEmpty                     ErrCode = -111
	SessionExpired               ErrCode = -112
	InvalidCallback              ErrCode = -113
	InvalidACL                   ErrCode = -114
	AuthFailed                   ErrCode = -115
	SessionMoved                 ErrCode = -118
	NotReadOnly                  ErrCode = -119
	EphemeralOnLocalSession      ErrCode = -120
	NoWatcher                    ErrCode = -121
	RequestTimeout               ErrCode = -122
	ReconfigDisabled             ErrCode = -123
	SessionClosedRequireSaslAuth ErrCode = -124
	QuotaExceeded                ErrCode = -125
	ThrottledOp                  ErrCode = -127
)

var errNames = map[ErrCode]string{
	OK:                           "Ok",
	SystemError:                  "SystemError",
	RuntimeInconsistency:         "RuntimeInconsistency",
	DataInconsistency:            "DataInconsistency",
	ConnectionLoss:               "ConnectionLoss",
	MarshallingError:             "MarshallingError",
	Unimplemented:                "Unimplemented",
	OperationTimeout:             "OperationTimeout",
	BadArguments:                 "BadArguments",
	UnknownSession:               "UnknownSession",
	NewConfigNoQuorum:            "NewConfigNoQuorum",
	ReconfigInProgress:           "ReconfigInProgress",
	APIError:                     "APIError",
	NoNode:                       "NoNode",
	NoAuth:                       "NoAuth",
	BadVersion:                   "BadVersion",
	NoChildrenForEphemerals:      "NoChildrenForEphemerals",
	NodeExists:                   "NodeExists",
	NotEmpty:                     "NotEmpty",
	SessionExpired:               "SessionExpired",
	InvalidCallback:              "InvalidCallback",
	InvalidACL:                   "InvalidACL",
	AuthFailed:                   "AuthFailed",
	SessionMoved:                 "SessionMoved",
	NotReadOnly:                  "NotReadOnly",
	EphemeralOnLocalSession:      "EphemeralOnLocalSession",
	NoWatcher:                    "NoWatcher",
	RequestTimeout:               "RequestTimeout",
	ReconfigDisabled:             "ReconfigDisabled",
	SessionClosedRequireSaslAuth: "SessionClosedRequireSaslAuth",
	QuotaExceeded:                "QuotaExceeded",
	ThrottledOp:                  "ThrottledOp",
}

// String is the code's name in ZooKeeper, or its number.
func (c ErrCode) String() string {
	if n, ok := errNames[c]; ok {
		return n
	}
	return strconv.Itoa(int(c))
}

// Error makes a code usable as the error of a client library.
func (c ErrCode) Error() string { return "zookeeper: " + c.String() }
