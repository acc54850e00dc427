package admin

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
)

// command is one row of the registry.
type command struct {
	word string // "" if there is no four-letter word
	// names are those over HTTP: the primary one, which the answer repeats,
	// and aliases.
	names []string
	// always lets the word be answered, and alwaysHTTP the HTTP command,
	// while the server is not serving.
	always, alwaysHTTP bool
	// text answers the word, behind which rest came in the same packet; nil if
	// there is no word.
	text func(a *Admin, b *bytes.Buffer, rest []byte)
	// fields is the JSON answer but for command and error; nil is none. A
	// text instead of fields is the answer's error.
	fields func(a *Admin, args url.Values) (object, string)
	// run, in place of fields, answers a client that proved by its
	// Authorization that it may do everything to the root.
	run func(a *Admin, w http.ResponseWriter, args url.Values)
	// post says that the command is sent by POST.
	post bool
}

// commands is the registry, in no particular order.
var commands = []command{
	{word: "ruok", names: []string{"ruok"}, always: true, text: constant("imok")},
	{word: "srvr", names: []string{"server_stats", "srvr"}, text: plainText((*Admin).srvr), fields: plain((*Admin).serverStats)},
	{word: "stat", names: []string{"stats", "stat"}, text: plainText((*Admin).stat), fields: plain((*Admin).stats)},
	{word: "mntr", names: []string{"monitor", "mntr"}, alwaysHTTP: true, text: plainText((*Admin).mntr), fields: (*Admin).monitor},
	{word: "conf", names: []string{"configuration", "conf", "config"}, text: plainText((*Admin).conf), fields: plain((*Admin).configuration)},
	// isro answers "null" by itself when the server is not serving.
	{word: "isro", names: []string{"is_read_only", "isro"}, always: true, text: plainText((*Admin).isro), fields: plain((*Admin).isReadOnly)},
	{word: "cons", names: []string{"connections", "cons"}, text: plainText((*Admin).cons), fields: plain((*Admin).connections)},
	{word: "dump", names: []string{"dump"}, text: plainText((*Admin).dump), fields: plain((*Admin).dumpFields)},
	{word: "wchs", names: []string{"watch_summary", "wchs"}, text: plainText((*Admin).wchs), fields: plain((*Admin).watchSummary)},
	{word: "wchc", names: []string{"watches", "wchc"}, text: plainText((*Admin).wchc), fields: plain((*Admin).watches)},
	{word: "wchp", names: []string{"watches_by_path", "wchp"}, text: plainText((*Admin).wchp), fields: plain((*Admin).watchesByPath)},
	{word: "envi", names: []string{"environment", "env", "envi"}, always: true, alwaysHTTP: true, text: plainText((*Admin).envi), fields: plain((*Admin).environmentFields)},
	{word: "dirs", names: []string{"dirs"}, text: plainText((*Admin).dirs), fields: plain((*Admin).dirFields)},
	{word: "crst", names: []string{"connection_stat_reset", "crst"}, text: plainText((*Admin).crst), fields: plain((*Admin).resetConnections)},
	{word: "srst", names: []string{"stat_reset", "srst"}, text: plainText((*Admin).srst), fields: plain((*Admin).resetServer)},
	// hash says without a newline that the server is not serving.
	{word: "hash", names: []string{"hash"}, always: true, text: plainText((*Admin).hash), fields: plain((*Admin).hashFields)},
	{word: "gtmk", names: []string{"get_trace_mask", "gtmk"}, always: true, alwaysHTTP: true, text: plainText((*Admin).gtmk), fields: plain((*Admin).traceMaskFields)},
	{word: "stmk", names: []string{"set_trace_mask", "stmk"}, always: true, alwaysHTTP: true, text: (*Admin).stmk, fields: (*Admin).setTraceMask},
	{names: []string{"initial_configuration", "icfg"}, fields: plain((*Admin).initialConfiguration)},
	{names: []string{"last_snapshot", "lsnp"}, fields: plain((*Admin).lastSnapshot)},
	{names: []string{"leader", "lead"}, fields: (*Admin).leader},
	{names: []string{"observers", "obsr"}, fields: plain((*Admin).observers)},
	{names: []string{"observer_connection_stat_reset", "orst"}, fields: plain((*Admin).resetObservers)},
	{names: []string{"restore", "rest"}, run: (*Admin).restore, post: true},
	{names: []string{"snapshot", "snap"}, run: (*Admin).snapshot},
	{names: []string{"system_properties", "sysp"}, alwaysHTTP: true, fields: plain((*Admin).systemProperties)},
	{names: []string{"voting_view"}, fields: plain((*Admin).votingView)},
	{names: []string{"zabstate"}, alwaysHTTP: true, fields: plain((*Admin).zabState)},
}

func byWord(w string) *command {
	if i := slices.IndexFunc(commands, func(c command) bool { return c.word == w }); i >= 0 && w != "" {
		return &commands[i]
	}
	return nil
}

func byName(name string) *command {
	if i := slices.IndexFunc(commands, func(c command) bool { return slices.Contains(c.names, name) }); i >= 0 {
		return &commands[i]
	}
	return nil
}

func constant(s string) func(*Admin, *bytes.Buffer, []byte) {
	return func(_ *Admin, b *bytes.Buffer, _ []byte) { b.WriteString(s) }
}

// plainText is a word that nothing follows.
func plainText(f func(*Admin, *bytes.Buffer)) func(*Admin, *bytes.Buffer, []byte) {
	return func(a *Admin, b *bytes.Buffer, _ []byte) { f(a, b) }
}

// plain is a JSON answer that takes no arguments and never is an error.
func plain(f func(*Admin) object) func(*Admin, url.Values) (object, string) {
	return func(a *Admin, _ url.Values) (object, string) { return f(a), "" }
}
