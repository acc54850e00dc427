//go:build differential

package differential

// What both servers have to have answered in a run of all profiles: by
// operation, or operation inside a multi, the error codes; further down by
// behaviour the outcomes. A run that lacks one of them fails, and so does one
// with an answer that is not here. What no run can have is on leftOut.
//
// Blanks within an outcome are written as underscores.
var expected = map[string]string{
	"create": "Ok MarshallingError Unimplemented BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"EphemeralOnLocalSession QuotaExceeded NotReadOnly ThrottledOp closed,SessionMoved",
	"create2": "Ok MarshallingError Unimplemented BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"EphemeralOnLocalSession QuotaExceeded NotReadOnly ThrottledOp closed,SessionMoved",
	"createContainer": "Ok MarshallingError Unimplemented BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"SessionExpired QuotaExceeded NotReadOnly ThrottledOp closed,SessionMoved",
	"createTTL": "Ok MarshallingError Unimplemented BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"QuotaExceeded NotReadOnly ThrottledOp closed,SessionMoved",
	"delete":  "Ok MarshallingError BadArguments NoNode NoAuth BadVersion NotEmpty NotReadOnly ThrottledOp closed,SessionMoved",
	"setData": "Ok MarshallingError BadArguments NoNode NoAuth BadVersion QuotaExceeded NotReadOnly ThrottledOp closed,SessionMoved",
	"setACL":  "Ok MarshallingError BadArguments NoNode NoAuth BadVersion InvalidACL NotReadOnly ThrottledOp closed,SessionMoved",
	"multi":   "Ok MarshallingError NotReadOnly ThrottledOp closed,SessionMoved",

	"exists":               "Ok MarshallingError BadArguments NoNode NoAuth ThrottledOp",
	"getData":              "Ok MarshallingError NoNode NoAuth ThrottledOp",
	"getACL":               "Ok MarshallingError NoNode NoAuth ThrottledOp",
	"getChildren":          "Ok MarshallingError NoNode NoAuth ThrottledOp",
	"getChildren2":         "Ok MarshallingError NoNode NoAuth ThrottledOp",
	"getAllChildrenNumber": "Ok MarshallingError NoNode NoAuth ThrottledOp",
	"getEphemerals":        "Ok MarshallingError ThrottledOp",
	"multiRead":            "Ok MarshallingError ThrottledOp",
	"whoAmI":               "Ok ThrottledOp",

	"addWatch":      "Ok MarshallingError ThrottledOp",
	"checkWatches":  "Ok MarshallingError NoWatcher ThrottledOp",
	"removeWatches": "Ok MarshallingError NoWatcher ThrottledOp",
	"setWatches":    "Ok MarshallingError ThrottledOp",
	"setWatches2":   "Ok MarshallingError ThrottledOp",

	"sync":              "Ok MarshallingError NotReadOnly ThrottledOp",
	"reconfig":          "MarshallingError ReconfigDisabled NotReadOnly ThrottledOp",
	"ping":              "Ok",
	"auth":              "Ok AuthFailed closed",
	"sasl":              "Ok closed",
	"closeSession":      "Ok",
	"check":             "Unimplemented",
	"unknown operation": "Unimplemented",

	"multi/create": "Ok RuntimeInconsistency BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"SessionExpired QuotaExceeded",
	"multi/create2": "Ok RuntimeInconsistency BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL " +
		"SessionExpired QuotaExceeded",
	"multi/createContainer": "Ok RuntimeInconsistency BadArguments NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL QuotaExceeded",
	"multi/createTTL":       "Ok RuntimeInconsistency BadArguments Unimplemented NoNode NoAuth NoChildrenForEphemerals NodeExists InvalidACL QuotaExceeded",
	"multi/delete":          "Ok RuntimeInconsistency BadArguments NoNode NoAuth BadVersion NotEmpty",
	"multi/setData":         "Ok RuntimeInconsistency BadArguments NoNode NoAuth BadVersion QuotaExceeded",
	"multi/check":           "Ok RuntimeInconsistency BadArguments NoNode NoAuth BadVersion",
	"multiRead/getData":     "Ok NoNode NoAuth",
	"multiRead/getChildren": "Ok NoNode NoAuth",

	"multi of 0": "succeeds",
	"multi of 1": "succeeds fails_at_1",
	"multi of 2": "succeeds fails_at_1 fails_at_2",
	"multi of 3": "succeeds fails_at_1 fails_at_2 fails_at_3",
	"multi of 4": "succeeds fails_at_1 fails_at_2 fails_at_3 fails_at_4",
	"multi of 5": "fails_at_1 fails_at_2 fails_at_3 fails_at_4 fails_at_5",

	"connect, new":                "Ok Ok,read-only closed",
	"connect, taken up":           "Ok Ok,read-only closed expired",
	"connect, unknown":            "closed expired",
	"connect, cut off":            "Ok closed expired",
	"connect, odd timeout":        "Ok Ok,read-only closed expired",
	"connect, password right":     "Ok Ok,read-only closed expired",
	"connect, password wrong":     "Ok closed expired",
	"connect, password short":     "Ok closed expired",
	"connect, password empty":     "Ok closed expired",
	"connect, password null":      "Ok closed expired",
	"connect, last zxid 0":        "Ok Ok,read-only closed expired",
	"connect, last zxid seen":     "Ok expired",
	"connect, last zxid negative": "Ok expired",
	"connect, last zxid ahead":    "closed",
	"connect, last zxid greatest": "closed",
	"bytes that are no frame":     "closed",
	"a frame too long":            "closed",
	"a session that is silent":    "closed",

	"event created":         "at_once caught_up_with",
	"event deleted":         "at_once caught_up_with",
	"event changed":         "at_once caught_up_with",
	"event children":        "at_once caught_up_with",
	"removed while waiting": "container never_used_container TTL ephemeral",

	"ACL with world":          "Ok InvalidACL",
	"ACL with ip":             "Ok InvalidACL",
	"ACL with digest":         "Ok InvalidACL",
	"ACL with auth":           "Ok InvalidACL",
	"ACL with x509":           "InvalidACL",
	"ACL with sasl":           "InvalidACL",
	"ACL with super":          "InvalidACL",
	"ACL with another scheme": "InvalidACL",
	"ACL without a scheme":    "InvalidACL",
}

// seldom are answers that may come by chance and need not.
var seldom = map[string]string{
	"multi/createTTL":             "SessionExpired", // with the flags of an ephemeral
	"multi/createContainer":       "SessionExpired",
	"multi of 5":                  "succeeds",
	"connect, password wrong":     "Ok,read-only",
	"connect, password short":     "Ok,read-only",
	"connect, password empty":     "Ok,read-only",
	"connect, password null":      "Ok,read-only",
	"connect, last zxid seen":     "Ok,read-only closed",
	"connect, last zxid negative": "Ok,read-only closed",
	"connect, cut off":            "Ok,read-only",
	"connect, unknown":            "Ok",
}

// leftOut is what programs do not hold, and answers that no program gets.
var leftOut = []struct{ what, why string }{
	// Answers.
	{"SystemError, DataInconsistency, ConnectionLoss, OperationTimeout, InvalidCallback, RequestTimeout", "client libraries make them, no server sends them"},
	{"SessionMoved", "is not sent: the connection is closed instead, which is compared as closed,SessionMoved"},
	{"UnknownSession; SessionExpired but for creates of local sessions", "the answer to a request that meets the end of its session on the way, which is luck; an ended session is compared at its next handshake"},
	{"SessionClosedRequireSaslAuth", "enforced authentication is not built"},
	{"NewConfigNoQuorum, ReconfigInProgress, and what else a reconfig gets where it is enabled", "reconfigEnabled=true is not built"},
	{"createTTL: EphemeralOnLocalSession", "no mode with a TTL is ephemeral"},
	{"ping, auth, sasl, closeSession: ThrottledOp", "a throttle lets them pass"},
	{"closeSession, auth, ping: MarshallingError", "they have no body, or one that ends the connection"},
	{"multi/create, create2, createContainer: Unimplemented", "a mode with a TTL fails the whole multi with MarshallingError there"},
	{"multi: the code of its header", "is Ok when an operation fails; the results are compared as multi/operation"},
	{"multi: a whole one that cannot be decoded, of a moved session", "is answered before the session is looked at"},
	// Requests that a real server does not survive, or that are refused here.
	{"createTTL with a mode without TTL and ttl -1", "kills a real server, again at each restart"},
	{"create /zookeeper/quota/zookeeper_limits, create and delete /zookeeper/zookeeper_limits, setData of a zookeeper_stats", "kill a real server"},
	{"a single write that cannot be decoded, a multi with a create without a list, to an ensemble", "hang a real ensemble"},
	{"deleteContainer, createSession", "a real server carries them out; refused here"},
	// Runs of requests sent at once that race within a real server.
	{"setACL in a run", "the requests behind it are judged by the old list or the new one, as luck has it"},
	{"a write right behind a setACL or closeSession over another connection to a follower", "a real leader can be behind its follower; programs wait for it"},
	{"auth and sasl in a run", "are answered from another thread, ahead of replies that wait"},
	{"closeSession, unknown operations and bad frames in a run", "what is behind them gets no answer or -112, by timing"},
	{"a null scheme or id in a multi, in a run", "a multi that stumbles over it leaves ghosts of its operations before it to requests in flight"},
	{"createContainer with an ephemeral mode in a run or a multi", "an ephemeral to requests in flight, a container once made"},
	{"multis of which two operations count towards a hard quota", "a real server judges both by the usage before"},
	{"runs over two connections at once", "their order is luck"},
	// What is on the page of departures.
	{"a wrong password for a session whose connection is open", "a real server closes that connection first"},
	{"reads over the connection that a moved session has left", "a real server answers them until the first write"},
	{"setWatches on /zookeeper/config in an ensemble", "its mzxid is each real server's own"},
}
