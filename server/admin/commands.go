package admin

import (
	"bytes"
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
	text               func(a *Admin, b *bytes.Buffer) // nil if there is no word
	// fields is the JSON answer but for command and error; nil is none. A
	// text instead of fields is the answer's error.
	fields func(a *Admin) (object, string)
}

// commands is the registry, in no particular order.
var commands = []command{
	{word: "ruok", names: []string{"ruok"}, always: true, text: constant("imok")},
	{word: "srvr", names: []string{"server_stats", "srvr"}, text: (*Admin).srvr, fields: plain((*Admin).serverStats)},
	{word: "stat", names: []string{"stats", "stat"}, text: (*Admin).stat, fields: plain((*Admin).stats)},
	{word: "mntr", names: []string{"monitor", "mntr"}, text: (*Admin).mntr, fields: plain((*Admin).monitor)},
	{word: "conf", names: []string{"configuration", "conf", "config"}, text: (*Admin).conf, fields: plain((*Admin).configuration)},
	// isro answers "null" by itself when the server is not serving.
	{word: "isro", names: []string{"is_read_only", "isro"}, always: true, text: (*Admin).isro, fields: plain((*Admin).isReadOnly)},
	{word: "cons", names: []string{"connections", "cons"}, text: (*Admin).cons, fields: plain((*Admin).connections)},
	{word: "dump", names: []string{"dump"}, text: (*Admin).dump, fields: plain((*Admin).dumpFields)},
	{word: "wchs", names: []string{"watch_summary", "wchs"}, text: (*Admin).wchs, fields: plain((*Admin).watchSummary)},
	{word: "wchc", names: []string{"watches", "wchc"}, text: (*Admin).wchc, fields: plain((*Admin).watches)},
	{word: "wchp", names: []string{"watches_by_path", "wchp"}, text: (*Admin).wchp, fields: plain((*Admin).watchesByPath)},
	{word: "envi", names: []string{"environment", "env", "envi"}, always: true, alwaysHTTP: true, text: (*Admin).envi, fields: plain((*Admin).environmentFields)},
	{word: "dirs", names: []string{"dirs"}, text: (*Admin).dirs, fields: plain((*Admin).dirFields)},
	{word: "crst", names: []string{"connection_stat_reset", "crst"}, text: (*Admin).crst, fields: plain((*Admin).resetConnections)},
	{word: "srst", names: []string{"stat_reset", "srst"}, text: (*Admin).srst, fields: plain((*Admin).resetServer)},
	{word: "gtmk", names: []string{"get_trace_mask", "gtmk"}, always: true, text: constant(traceMask), fields: plain((*Admin).traceMask)},
	{names: []string{"leader", "lead"}, fields: (*Admin).leader},
	{names: []string{"observers", "obsr"}, fields: plain((*Admin).observers)},
	{names: []string{"observer_connection_stat_reset", "orst"}},
	{names: []string{"voting_view"}, fields: plain((*Admin).votingView)},
	{names: []string{"zabstate"}, fields: plain((*Admin).zabState)},
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

func constant(s string) func(*Admin, *bytes.Buffer) {
	return func(_ *Admin, b *bytes.Buffer) { b.WriteString(s) }
}

// plain is a JSON answer that never is an error.
func plain(f func(*Admin) object) func(*Admin) (object, string) {
	return func(a *Admin) (object, string) { return f(a), "" }
}
