//go:build operations

package operations

import (
	"regexp"
	"slices"
)

// difference is where the two are not alike, for a reason: in lines that one
// has and the other has not, or in the whole of an answer with the status that
// is told for each.
type difference struct {
	where        *regexp.Regexp // matched against "role: question"
	lines        *regexp.Regexp // matched against the lines as they are compared
	theirs, ours string
	why          string
}

func lines(where, lines, why string) *difference {
	return &difference{where: regexp.MustCompile(where), lines: regexp.MustCompile(lines), why: why}
}

func statuses(where, theirs, ours, why string) *difference {
	return &difference{where: regexp.MustCompile(where), theirs: theirs, ours: ours, why: why}
}

// whole reports whether the two answers are those that d tells of.
func (d *difference) whole(theirs, ours []string) bool {
	return d.lines == nil && slices.Contains(theirs, "status "+d.theirs) && slices.Contains(ours, "status "+d.ours)
}

// differences are all that there may be. Beside them versions, times, ids and
// sizes are compared by their form alone, and of mntr the gauges that
// operators ask for.
var differences = []*difference{
	statuses(`: POST /commands/`, "500", "405", "not the command's method: ZooKeeper's servlet stumbles over a null and shows its stack"),
	statuses(`: (GET|HEAD) /commands/(rest|restore), Auth`, "500", "405", "the same"),
	statuses(`^without a leader .*: (GET|HEAD) /commands/(monitor|mntr)$`, "500", "200", "ZooKeeper's command stumbles over the server that is not there"),
	statuses(`^standalone: POST /commands/restore, Auth`, "500", "503", "restore is not built: the answer is that of a ZooKeeper with admin.restore.enabled=false, as the members here have it"),
	lines(`: GET /commands/(system_properties|sysp)$`, `^\.(java\.[^i].*|(jdk|jetty|native|sun)\..*|user\.(language|country|timezone|variant)) = `, "of the JVM"),
	lines(`^read-only: GET /commands/(system_properties|sysp)$`, `^\.(zookeeper\.)?readonlymode\.enabled = `, "a flag of the JVM; in ZooKeeper the key in the file has no effect"),
}
