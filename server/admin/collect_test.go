package admin

import (
	"strings"
	"testing"
)

func TestCollected(t *testing.T) {
	a, f, set := newTest(t, Leader)
	f.fault = "disk full"
	text := word(a, "mntr")
	for _, line := range []string{
		"zk_app_quota_count_limit_per_namespace\t10", "zk_app_quota_bytes_limit_per_namespace\t-1",
		"zk_app_quota_count_usage_per_namespace\t3", "zk_app_quota_bytes_usage_per_namespace\t40", "zk_coordd_faulty\t1",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, "process_") {
		t.Error("mntr shows what is for Prometheus")
	}
	if set.CPUSeconds.Load() <= 0 || set.StartTime.Load() <= 0 || set.ResidentMemory.Load() == 0 || set.ProcessMaxFile.Load() == 0 {
		t.Errorf("process: %v %v %d", set.CPUSeconds.Load(), set.StartTime.Load(), set.ResidentMemory.Load())
	}

	// In Prometheus' form what has no value is a string in JSON.
	set.UsePrometheusForm()
	if _, got := get(a, "/commands/monitor"); !strings.Contains(got, `"fsynctime{quantile=\"0.5\"}" : "NaN"`) || !strings.Contains(got, `"znode_count" : `) {
		t.Errorf("monitor: %s", got)
	}
}
