package admin

import (
	"fmt"
	"net"
	"strconv"

	"github.com/coordd/coordd/config"
)

// observers is SyncedObserverConsCommand. Nothing waits in a queue for an
// observer, since it reads the log; how far it is the stream does not tell.
func (a *Admin) observers() object {
	list := []object{}
	for _, o := range a.src.Observers() {
		list = append(list, object{
			{"remote_socket_address", "/" + o.Remote},
			{"sid", o.ID},
			{"established", o.Established.UnixMilli()},
			{"queued_packets", 0},
			{"queued_packets_size", 0},
			{"packets_received", o.Received},
			{"packets_sent", o.Sent},
			{"requests", o.Requests},
			{"last_zxid", -1},
		})
	}
	return object{{"synced_observers", a.src.Ensemble().SyncedObservers}, {"observers", list}}
}

func (a *Admin) resetObservers() object {
	a.src.ResetObserverStats()
	return nil
}

// inEnsemble reports whether ZooKeeper would have one of its servers for members
// at work, which has neither a standalone server nor one in read-only mode.
func (a *Admin) inEnsemble() bool { return a.src.Mode() != Standalone && !a.src.ReadOnly() }

// votingView is VotingViewCommand. As in ZooKeeper a server knows the client
// address of another one only from its server.N line.
func (a *Admin) votingView() object {
	conf, view := a.src.Conf(), object{}
	for _, m := range conf.Members {
		if m.Observer || !a.inEnsemble() {
			continue
		}
		view = append(view, field{strconv.Itoa(int(m.ID)), object{
			{"server_addresses", []string{m.QuorumAddr()}},
			{"election_addresses", []string{m.ElectionAddr()}},
			{"client_address", clientAddress(conf, m)},
			{"learner_type", "participant"},
		}})
	}
	return object{{"current_config", view}}
}

func clientAddress(conf Conf, m config.Member) string {
	switch {
	case m.ClientPort != 0:
		return net.JoinHostPort(m.ClientAddr, strconv.Itoa(m.ClientPort))
	case m.ID == conf.ServerID:
		host := conf.ClientAddress
		if host == "" {
			host = "0.0.0.0"
		}
		return net.JoinHostPort(host, strconv.Itoa(conf.ClientPort))
	}
	return ""
}

// zabState is ZabStateCommand; its states are told from Raft's: a server with a
// leader broadcasts, one without is in an election, as long as it serves.
func (a *Admin) zabState() object {
	conf := a.src.Conf()
	if !a.inEnsemble() || !a.src.Serving() {
		return object{{"voting", false}, {"zabstate", ""}}
	}
	state, zxid := "broadcast", a.src.Tree().Zxid
	if a.src.LeaderInfo().ID == 0 {
		state = "election"
	}
	o := object{{"myid", conf.ServerID}, {"is_leader", a.src.Mode() == Leader}}
	for _, m := range conf.Members {
		if m.ID == conf.ServerID {
			o = append(o, field{"quorum_address", addresses(m.Host, m.QuorumPort)}, field{"election_address", addresses(m.Host, m.ElectionPort)},
				field{"client_address", clientAddress(conf, m)})
		}
	}
	return append(o, object{
		{"voting", !conf.Observer},
		{"last_zxid", fmt.Sprintf("0x%x", uint64(zxid))},
		{"zab_epoch", zxid >> 32},
		{"zab_counter", zxid & 0xffffffff},
		{"zabstate", state},
	}...)
}

// addresses is a MultipleAddresses of one as Jackson shows it.
func addresses(host string, port int) object {
	p := strconv.Itoa(port)
	addr := net.JoinHostPort(host, p)
	return object{
		{"empty", false},
		{"all_addresses", []string{addr}},
		{"wildcard_addresses", []string{"0.0.0.0:" + p}},
		{"all_ports", []int64{int64(port)}},
		{"all_host_strings", []string{host}},
		{"reachable_address", addr},
		{"all_reachable_addresses", []string{addr}},
		{"all_reachable_addresses_or_all", []string{addr}},
		{"reachable_or_one", addr},
		{"one", addr},
	}
}
