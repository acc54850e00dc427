package admin

import (
	"testing"
	"time"

	"github.com/coordd/coordd/config"
)

// The answers of a real ZooKeeper 3.9.4, one of three servers and alone.
func TestMembersCommands(t *testing.T) {
	a, f, _ := newTest(t, Follower)
	f.conf = Conf{
		ClientAddress: "127.0.0.81", ClientPort: 12181, Member: true, ServerID: 1,
		Members: []config.Member{
			{ID: 1, Host: "127.0.0.81", QuorumPort: 12888, ElectionPort: 13888},
			{ID: 2, Host: "127.0.0.82", QuorumPort: 12888, ElectionPort: 13888, ClientAddr: "127.0.0.82", ClientPort: 12181},
			{ID: 3, Host: "127.0.0.83", QuorumPort: 12888, ElectionPort: 13888, Observer: true},
		},
	}
	f.leader = LeaderInfo{ID: 2, Host: "127.0.0.82"}
	for name, want := range map[string]string{
		"voting_view": `{
  "current_config" : {
    "1" : {
      "server_addresses" : [ "127.0.0.81:12888" ],
      "election_addresses" : [ "127.0.0.81:13888" ],
      "client_address" : "127.0.0.81:12181",
      "learner_type" : "participant"
    },
    "2" : {
      "server_addresses" : [ "127.0.0.82:12888" ],
      "election_addresses" : [ "127.0.0.82:13888" ],
      "client_address" : "127.0.0.82:12181",
      "learner_type" : "participant"
    }
  },
  "command" : "voting_view",
  "error" : null
}`,
		"zabstate": `{
  "myid" : 1,
  "is_leader" : false,
  "quorum_address" : {
    "empty" : false,
    "all_addresses" : [ "127.0.0.81:12888" ],
    "wildcard_addresses" : [ "0.0.0.0:12888" ],
    "all_ports" : [ 12888 ],
    "all_host_strings" : [ "127.0.0.81" ],
    "reachable_address" : "127.0.0.81:12888",
    "all_reachable_addresses" : [ "127.0.0.81:12888" ],
    "all_reachable_addresses_or_all" : [ "127.0.0.81:12888" ],
    "reachable_or_one" : "127.0.0.81:12888",
    "one" : "127.0.0.81:12888"
  },
  "election_address" : {
    "empty" : false,
    "all_addresses" : [ "127.0.0.81:13888" ],
    "wildcard_addresses" : [ "0.0.0.0:13888" ],
    "all_ports" : [ 13888 ],
    "all_host_strings" : [ "127.0.0.81" ],
    "reachable_address" : "127.0.0.81:13888",
    "all_reachable_addresses" : [ "127.0.0.81:13888" ],
    "all_reachable_addresses_or_all" : [ "127.0.0.81:13888" ],
    "reachable_or_one" : "127.0.0.81:13888",
    "one" : "127.0.0.81:13888"
  },
  "client_address" : "127.0.0.81:12181",
  "voting" : true,
  "last_zxid" : "0x206",
  "zab_epoch" : 0,
  "zab_counter" : 518,
  "zabstate" : "broadcast",
  "command" : "zabstate",
  "error" : null
}`,
		"gtmk": "{\n  \"tracemask\" : 306,\n  \"command\" : \"get_trace_mask\",\n  \"error\" : null\n}",
		"obsr": "{\n  \"synced_observers\" : 0,\n  \"observers\" : [ ],\n  \"command\" : \"observers\",\n  \"error\" : null\n}",
		"orst": "{\n  \"command\" : \"observer_connection_stat_reset\",\n  \"error\" : null\n}",
	} {
		if _, got := get(a, "/commands/"+name); got != want {
			t.Errorf("%s: %s\nwant %s", name, got, want)
		}
	}

	a, f, _ = newTest(t, Standalone)
	f.conf = Conf{}
	for name, want := range map[string]string{
		"voting_view": "{\n  \"current_config\" : { },\n  \"command\" : \"voting_view\",\n  \"error\" : null\n}",
		"zabstate":    "{\n  \"voting\" : false,\n  \"zabstate\" : \"\",\n  \"command\" : \"zabstate\",\n  \"error\" : null\n}",
	} {
		if _, got := get(a, "/commands/"+name); got != want {
			t.Errorf("alone, %s: %s\nwant %s", name, got, want)
		}
	}

	f.observers = []ObserverStream{{ID: 3, Remote: "127.0.0.1:40000", Established: time.UnixMilli(1795418873493), Received: 7, Sent: 3, Requests: 2}}
	const want = "{\n  \"synced_observers\" : 0,\n  \"observers\" : [ {\n    \"remote_socket_address\" : \"/127.0.0.1:40000\",\n    \"sid\" : 3,\n" +
		"    \"established\" : 1795418873493,\n    \"queued_packets\" : 0,\n    \"queued_packets_size\" : 0,\n    \"packets_received\" : 7,\n    \"packets_sent\" : 3,\n" +
		"    \"requests\" : 2,\n    \"last_zxid\" : -1\n  } ],\n  \"command\" : \"observers\",\n  \"error\" : null\n}"
	if _, got := get(a, "/commands/obsr"); got != want {
		t.Errorf("observers: %s\nwant %s", got, want)
	}
	if get(a, "/commands/orst"); f.resets != 1 {
		t.Errorf("%d resets", f.resets)
	}
}
