package fsm

import (
	"maps"
	"testing"

	"github.com/coordd/coordd/protocol"
)

const (
	qLimits = "/zookeeper/quota/q/zookeeper_limits"
	qStats  = "/zookeeper/quota/q/zookeeper_stats"
)

func quotaRig(t *testing.T, limits string) *rig {
	r := newRig(t)
	r.mustCreate("/q", "12345", open, protocol.Persistent)
	r.mustCreate("/q/a", "678", open, protocol.Persistent)
	r.mustCreate("/q/a/b", "9", open, protocol.Persistent)
	r.mustCreate("/other", "", open, protocol.Persistent)
	r.mustCreate("/zookeeper/quota/q", "", open, protocol.Persistent)
	r.mustCreate(qLimits, limits, open, protocol.Persistent)
	r.mustCreate(qStats, "", open, protocol.Persistent)
	return r
}

func TestQuotaUsage(t *testing.T) {
	r := quotaRig(t, "count=1,bytes=1")
	want := func(text string) {
		t.Helper()
		if got := r.data(qStats); got != text {
			t.Errorf("usage %q, want %q", got, text)
		}
	}
	want("count=3,bytes=9")
	before, _ := r.m.Exists(qStats, anyone)
	r.mustCreate("/q/e", "xx", open, protocol.Ephemeral)
	want("count=4,bytes=11")
	r.setData("/q/a", "", -1)
	want("count=4,bytes=8")
	r.mustCreate("/other/n", "xx", open, protocol.Persistent)
	r.mustCreate("/qq", "xx", open, protocol.Persistent)
	want("count=4,bytes=8")
	r.send(protocol.OpMulti, multiOf(opDelete("/q/a/b"), opSet("/q", "toolong"), opDelete("/missing")))
	want("count=4,bytes=8")
	r.send(protocol.OpMulti, multiOf(opDelete("/q/a/b"), opSet("/q", "")))
	want("count=3,bytes=2")
	r.send(protocol.OpCloseSession, nil)
	want("count=2,bytes=0")
	after, _ := r.m.Exists(qStats, anyone)
	before.DataLength, after.DataLength = 0, 0
	if before != after {
		t.Errorf("the stat changed: %+v, %+v", before, after)
	}
}

func TestQuotaGarbage(t *testing.T) {
	r := quotaRig(t, "count=1,bytes=1")
	r.setData(qStats, "garbage", -1)
	r.mustCreate("/q/n", "xy", open, protocol.Persistent)
	if got := r.data(qStats); got != "count=1,bytes=2" {
		t.Errorf("usage %q", got)
	}
	// These two kill ZooKeeper.
	r.mustCreate("/zookeeper/quota/zookeeper_limits", "", open, protocol.Persistent)
	r.mustCreate("/zookeeper/quota/zookeeper_stats", "mine", open, protocol.Persistent)
	r.mustCreate("/zookeeper/zookeeper_limits", "", open, protocol.Persistent)
	if r.remove("/zookeeper/zookeeper_limits", -1) != protocol.OK || r.data("/zookeeper/quota/zookeeper_stats") != "mine" {
		t.Error("odd quota nodes")
	}
	r.setData(qLimits, "garbage", -1)
	r.mustCreate("/q/n2", "", open, protocol.Persistent)
	r.entry(func(e *EntryBuilder) { e.Settings(Settings{EnforceQuota: true}) })
	if code := r.create("/q/n3", "", open, protocol.Persistent); code != protocol.MarshallingError {
		t.Errorf("garbage limits, enforced: %v", code)
	}
}

func TestQuotaLimits(t *testing.T) {
	hard := "count=1,bytes=1=;byteHardLimit=10;countHardLimit=4"
	r := quotaRig(t, hard)
	r.setData("/q", "1234567890", -1)
	r.entry(func(e *EntryBuilder) { e.Settings(Settings{EnforceQuota: true}) })
	for _, c := range []struct {
		what string
		got  protocol.ErrCode
		want protocol.ErrCode
	}{
		{"same size", r.setData("/q/a", "xxx", 9), protocol.BadVersion},
		{"shrinking, still over, comes before the version", r.setData("/q", "123456789", 9), protocol.QuotaExceeded},
		{"shrinking below", r.setData("/q", "", -1), protocol.OK},
		{"up to the count", r.create("/q/1", "", open, protocol.Persistent), protocol.OK},
		{"above the count", r.create("/q/2", "", open, protocol.Persistent), protocol.QuotaExceeded},
		{"elsewhere", r.create("/other/2", "", open, protocol.Persistent), protocol.OK},
		{"exists comes first", r.create("/q/1", "", open, protocol.Persistent), protocol.NodeExists},
		{"up to the bytes", r.setData("/q/1", "123456", -1), protocol.OK},
		{"above the bytes", r.setData("/q/1", "1234567", -1), protocol.QuotaExceeded},
		{"delete", r.remove("/q/1", -1), protocol.OK},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	codes := multiCodes(t, r.send(protocol.OpMulti, multiOf(
		opCreate(protocol.OpCreate, "/q/1", 0), opCreate(protocol.OpCreate, "/q/2", 0))))
	if codes[0] != protocol.OK || codes[1] != protocol.QuotaExceeded {
		t.Errorf("multi: %v", codes)
	}
	soft := quotaRig(t, "count=1,bytes=1")
	soft.entry(func(e *EntryBuilder) { e.Settings(Settings{EnforceQuota: true}) })
	soft.mustCreate("/q/more", "lots and lots", open, protocol.Persistent)
}

func TestLongestQuotaCounts(t *testing.T) {
	r := quotaRig(t, "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=0")
	r.mustCreate("/zookeeper/quota/q/a", "", open, protocol.Persistent)
	r.mustCreate("/zookeeper/quota/q/a/zookeeper_limits", "count=-1,bytes==1", open, protocol.Persistent)
	r.entry(func(e *EntryBuilder) { e.Settings(Settings{EnforceQuota: true}) })
	r.mustCreate("/q/a/free", "", open, protocol.Persistent)
	if code := r.create("/q/tight", "", open, protocol.Persistent); code != protocol.QuotaExceeded {
		t.Errorf("outer quota: %v", code)
	}
	if got := r.data(qStats); got != "count=3,bytes=9" {
		t.Errorf("only the inner quota counts: %q", got)
	}
}

// TestParseQuota: Java's split drops empty parts at the end, not in front.
func TestParseQuota(t *testing.T) {
	none := quota{-1, -1, -1, -1}
	for text, want := range map[string]quota{
		"":                          none,
		",;,":                       none,
		"other=3":                   none,
		"=3":                        none,
		"count==1":                  none,
		"count=1=2":                 {1, -1, -1, -1},
		"count=1,count=2":           {2, -1, -1, -1},
		"count=+1;byteHardLimit=-9": {1, -1, -1, -9},
		"count=1,bytes=2=;byteHardLimit=3;countHardLimit=4,;": {1, 2, 4, 3},
	} {
		if q, ok := parseQuota(text); !ok || q != want {
			t.Errorf("%q: %+v %v", text, q, ok)
		}
	}
	for _, text := range []string{"count", "=", "count=", "count==", ",count=1", " ", "count=x", "count= 1", "count=99999999999999999999"} {
		if _, ok := parseQuota(text); ok {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestQuotasByNamespace(t *testing.T) {
	r := quotaRig(t, "count=3,bytes=-1=;byteHardLimit=50;countHardLimit=-1")
	for _, path := range []string{"/zookeeper/quota/q/a", "/zookeeper/quota/none", "/zookeeper/quota/zookeeper_limits"} {
		r.mustCreate(path, "count=1,bytes=1", open, protocol.Persistent)
	}
	r.mustCreate("/zookeeper/quota/q/a/zookeeper_limits", "count=4,bytes=7", open, protocol.Persistent)
	r.mustCreate("/zookeeper/quota/bad", "", open, protocol.Persistent)
	r.mustCreate("/zookeeper/quota/bad/zookeeper_limits", "garbage", open, protocol.Persistent)
	bytes, count := r.m.measure(r.m.tree.lookup("/q"))
	want := map[string]Quota{"q": {CountLimit: 7, BytesLimit: 57, Count: count, Bytes: bytes}, "bad": {}}
	if got := r.m.Quotas(10); !maps.Equal(got, want) {
		t.Errorf("quotas %+v, want %+v", got, want)
	}
	if got := r.m.Quotas(1); len(got) != 1 {
		t.Errorf("asked for one: %+v", got)
	}
}
