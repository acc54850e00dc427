package fsm

import (
	"strconv"
	"strings"

	"github.com/coordd/coordd/protocol"
)

// The nodes that make up a quota (org.apache.zookeeper.Quotas).
const (
	quotaPath  = "/zookeeper/quota"
	limitsName = "zookeeper_limits"
	statsName  = "zookeeper_stats"
)

// quota is the text of a limits or stats node (StatsTrack); -1 is no limit.
type quota struct {
	count, bytes         int64
	countHard, bytesHard int64
}

// parseQuota reads "count=1,bytes=2=;byteHardLimit=3;countHardLimit=4". What
// is an error follows from how Java splits: "count=" is one, "count==" too,
// and "count==1" is no limit.
func parseQuota(text string) (quota, bool) {
	q := quota{-1, -1, -1, -1}
	for i, part := range strings.FieldsFunc(text, quotaSeparator) {
		if i == 0 && quotaSeparator(rune(text[0])) {
			return q, false // the empty part in front
		}
		key, value, _ := strings.Cut(strings.TrimRight(part, "="), "=")
		value, _, more := strings.Cut(value, "=")
		n := int64(-1)
		if value != "" || !more {
			var err error
			if n, err = strconv.ParseInt(value, 10, 64); err != nil {
				return q, false
			}
		}
		switch key {
		case "count":
			q.count = n
		case "bytes":
			q.bytes = n
		case "countHardLimit":
			q.countHard = n
		case "byteHardLimit":
			q.bytesHard = n
		}
	}
	return q, true
}

func quotaSeparator(r rune) bool { return r == ',' || r == ';' }

// quotaOf finds the quota that counts for path: the limits and stats nodes of
// the longest prefix that has limits, 0 where there is none. The root and what
// lies below /zookeeper/quota have no quota.
func (m *Machine) quotaOf(path string) (limits, stats nodeID) {
	t := m.tree
	at := t.lookup(quotaPath)
	if t.at(at).children == 0 || strings.HasPrefix(path, quotaPath) {
		return 0, 0
	}
	var holder nodeID
	for rest := path[1:]; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if at = t.child(at, name); at == 0 {
			break
		}
		if id := t.child(at, limitsName); id != 0 {
			limits, holder = id, at
		}
	}
	if limits != 0 {
		stats = t.child(holder, statsName)
	}
	return limits, stats
}

// checkQuota refuses what would leave more below a quota than its hard limits
// allow, if they are enforced (ZooKeeperServer.checkQuota). Only what changes
// is compared: shrinking a node is refused too while the sum is above. Limits
// that cannot be read refuse whatever changes, or not. Soft limits refuse nothing.
func (m *Machine) checkQuota(x *txn, path string, bytes, count int64) protocol.ErrCode {
	if !m.settings.EnforceQuota {
		return protocol.OK
	}
	limitsID, statsID := m.quotaOf(path)
	if limitsID == 0 {
		return protocol.OK
	}
	text, _ := m.tree.data(limitsID)
	limits, ok := parseQuota(text)
	if !ok {
		return protocol.MarshallingError
	}
	if statsID == 0 {
		return protocol.OK
	}
	used := m.usage(statsID)
	switch {
	case count != 0 && limits.countHard > -1 && used.count+count > limits.countHard,
		bytes != 0 && limits.bytesHard > -1 && used.bytes+bytes > limits.bytesHard:
		x.overQuota = path
		return protocol.QuotaExceeded
	}
	return protocol.OK
}

// usage reads a stats node; text that is none counts as zero (it kills
// ZooKeeper).
func (m *Machine) usage(stats nodeID) quota {
	text, _ := m.tree.data(stats)
	used, ok := parseQuota(text)
	if !ok {
		return quota{}
	}
	return used
}

// account adds to the usage that path counts for. The stats node's data
// changes in place: no version, no zxid, no watch.
func (m *Machine) account(path string, bytes, count int64) {
	if bytes == 0 && count == 0 {
		return
	}
	if _, stats := m.quotaOf(path); stats != 0 {
		used := m.usage(stats)
		m.setUsage(stats, used.bytes+bytes, used.count+count)
	}
}

// accountCreate accounts for a new node; a new stats node is filled with what
// its quota's subtree holds at present.
func (m *Machine) accountCreate(path string, bytes int64) {
	counted, ok := strings.CutPrefix(path, quotaPath+"/")
	if !ok {
		m.account(path, bytes, 1)
		return
	}
	counted, ok = strings.CutSuffix(counted, "/"+statsName)
	if !ok {
		return
	}
	var sum, count int64
	if id := m.tree.lookup("/" + counted); id != 0 {
		sum, count = m.measure(id)
	}
	m.setUsage(m.tree.lookup(path), sum, count)
}

func (m *Machine) setUsage(stats nodeID, bytes, count int64) {
	m.stats = append(m.stats[:0], "count="...)
	m.stats = strconv.AppendInt(m.stats, count, 10)
	m.stats = append(m.stats, ",bytes="...)
	m.stats = strconv.AppendInt(m.stats, bytes, 10)
	m.tree.setData(stats, m.stats)
}

// measure adds up the data and the nodes of a subtree.
func (m *Machine) measure(top nodeID) (bytes, count int64) {
	m.eachBelow(top, func(id nodeID) bool {
		bytes += int64(len(m.tree.at(id).data()))
		count++
		return true
	})
	return bytes, count
}

// eachBelow calls fn for top and all nodes below, parents first, until it
// returns false. It does not recurse: paths may have hundreds of thousands of
// elements.
func (m *Machine) eachBelow(top nodeID, fn func(id nodeID) bool) {
	t := m.tree
	for id := top; fn(id); {
		if first := t.at(id).firstChild; first != 0 {
			id = first
			continue
		}
		for id != top && t.at(id).next == 0 {
			id = t.at(id).parent
		}
		if id == top {
			return
		}
		id = t.at(id).next
	}
}

// Quota is a quota's limits and what counts for it; a limit of -1 is none. The
// hard limit goes before the other one.
type Quota struct {
	CountLimit, BytesLimit, Count, Bytes int64
}

// maxQuotaNodes bounds what Quotas looks at.
const maxQuotaNodes = 10_000

// Quotas adds up the quotas below each node of the root, by the node's name
// (org.apache.zookeeper.server.util.QuotaMetricsUtils). It stops after most
// names, and where very many nodes make up the quotas.
func (m *Machine) Quotas(most int) map[string]Quota {
	all := map[string]Quota{}
	t := m.tree
	seen := 0
	t.eachChild(t.lookup(quotaPath), func(namespace nodeID) bool {
		q, any := Quota{}, false
		m.eachBelow(namespace, func(id nodeID) bool {
			text, null := t.data(id)
			name := t.name(id)
			if limit := name == limitsName; id != namespace && !null && (limit || name == statsName) && t.at(id).children == 0 {
				q.add(text, limit)
				any = true
			}
			seen++
			return seen < maxQuotaNodes
		})
		if any {
			all[t.name(namespace)] = q
		}
		return seen < maxQuotaNodes && len(all) < most
	})
	return all
}

// add adds the text of a limits or stats node; garbage counts as nothing.
func (q *Quota) add(text string, limit bool) {
	one, ok := parseQuota(text)
	switch {
	case !ok:
	case limit:
		q.CountLimit += harder(one.countHard, one.count)
		q.BytesLimit += harder(one.bytesHard, one.bytes)
	default:
		q.Count += one.count
		q.Bytes += one.bytes
	}
}

func harder(hard, soft int64) int64 {
	if hard > -1 {
		return hard
	}
	return soft
}
