package config

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// noFiles is a disk without any file.
func noFiles(string) ([]byte, error) { return nil, fs.ErrNotExist }

// base is the least a standalone server needs.
const base = "dataDir=/data\nclientPort=2181\n"

func parse(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return Parse("zoo.cfg", strings.NewReader(text), noFiles)
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parse(t, text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

// keyCases has, for each key with a setter, values it takes and values that
// stop the start. Files and members have tests of their own.
var keyCases = map[string]struct{ good, bad []string }{
	"dataDir":                                   {[]string{"/x", "relative/x", "/with space"}, []string{""}},
	"dataLogDir":                                {[]string{"/x"}, []string{""}},
	"clientPort":                                {[]string{"1", "65535", "+2181"}, []string{"", "0", "-1", "65536", "x", "2181;", "0x885"}},
	"clientPortAddress":                         {[]string{"localhost", "0.0.0.0", "::1", "[::1]", "zk-1.example.com"}, []string{"", "a:1", "a b", "[x]", "a/b"}},
	"clientPortListenBacklog":                   {[]string{"-1", "0", "50"}, []string{"", "-2", "x"}},
	"tickTime":                                  {[]string{"1", "2000", "107374182"}, []string{"", "0", "-5", "x", "107374183", "2s"}},
	"initLimit":                                 {[]string{"0", "10"}, []string{"", "-1", "x", "2147483647"}},
	"syncLimit":                                 {[]string{"0", "5"}, []string{"", "-1", "x", "2147483647"}},
	"minSessionTimeout":                         {[]string{"-1", "1", "60000"}, []string{"", "0", "-2", "60001", "x"}},
	"maxSessionTimeout":                         {[]string{"-1", "6000", "2147483647"}, []string{"", "0", "-2", "5999", "2147483648"}},
	"maxClientCnxns":                            {[]string{"0", "60", "-1"}, []string{"", "x", "9999999999"}},
	"peerType":                                  {[]string{"participant", "Participant", "OBSERVER"}, []string{"", "leader"}},
	"quorumListenOnAllIPs":                      {[]string{"true", "FALSE"}, []string{"", "yes", "1"}},
	"version":                                   {[]string{"0", "100000000", "1F"}, []string{"", "-1", "x", "0x1"}},
	"standaloneEnabled":                         {[]string{"true"}, []string{"", "no", "false" /* without members */}},
	"localSessionsEnabled":                      {[]string{"true", "false"}, []string{"", "yes"}},
	"localSessionsUpgradingEnabled":             {[]string{"true", "false"}, []string{"", "yes"}},
	"autopurge.snapRetainCount":                 {[]string{"3", "10", "0", "-1"}, []string{"", "x"}},
	"autopurge.purgeInterval":                   {[]string{"0", "-1", "24"}, []string{"", "x", "1h", "99999999"}},
	"metricsProvider.className":                 {[]string{prometheusProvider, defaultProvider, nullProvider}, []string{"", "com.example.Provider"}},
	"metricsProvider.httpHost":                  {[]string{"0.0.0.0", "localhost"}, []string{"", "a:7000"}},
	"metricsProvider.httpPort":                  {[]string{"0", "7000"}, []string{"", "-1", "65536", "x"}},
	"4lw.commands.whitelist":                    {[]string{"", "*", "ruok, mntr", "ruok,,*"}, []string{"ruok mntr"}},
	"admin.enableServer":                        {[]string{"true", "false"}, []string{"", "no"}},
	"admin.serverPort":                          {[]string{"0", "8080"}, []string{"", "-1", "65536"}},
	"admin.serverAddress":                       {[]string{"127.0.0.1", "::"}, []string{"", "127.0.0.1:80"}},
	"admin.commandURL":                          {[]string{"/commands", "/a/b"}, []string{"", "/", "commands", "/a/", "/a b", "/{x}"}},
	"admin.idleTimeout":                         {[]string{"1", "30000"}, []string{"", "0", "-1"}},
	"admin.snapshot.enabled":                    {[]string{"true", "false"}, []string{"", "no"}},
	"admin.rateLimiterIntervalInMS":             {[]string{"0", "300000"}, []string{"", "-1"}},
	"snapCount":                                 {[]string{"2", "100000", "1", "-1"}, []string{"", "x"}},
	"fsync.warningthresholdms":                  {[]string{"0", "1000"}, []string{"", "-1"}},
	"globalOutstandingLimit":                    {[]string{"1", "1000"}, []string{"", "0", "x"}},
	"maxCnxns":                                  {[]string{"0", "1000"}, []string{"", "-1"}},
	"extendedTypesEnabled":                      {[]string{"true", "false"}, []string{"", "yes"}},
	"enforceQuota":                              {[]string{"true", "false"}, []string{"", "yes"}},
	"skipACL":                                   {[]string{"yes", "no"}, []string{"", "true"}},
	"digest.enabled":                            {[]string{"true", "false"}, []string{"", "no"}},
	"datadir.autocreate":                        {[]string{"true", "false"}, []string{"", "no"}},
	"leaderServes":                              {[]string{"yes", "no"}, []string{"", "false"}},
	"tcpKeepAlive":                              {[]string{"true", "false"}, []string{"", "no"}},
	"clientTcpKeepAlive":                        {[]string{"true", "false"}, []string{"", "no"}},
	"nio.sessionlessCnxnTimeout":                {[]string{"1", "10000"}, []string{"", "0", "x"}},
	"DigestAuthenticationProvider.superDigest":  {[]string{"super:xQJmxLMiHGwaqBvst5y6rkB6HQs="}, []string{"", "super", "super:", ":x", "super: x"}},
	"DigestAuthenticationProvider.enabled":      {[]string{"true", "false"}, []string{"", "no"}},
	"jute.maxbuffer":                            {[]string{"1024", "0x9fffff", "#100000", "4194304"}, []string{"", "0", "-1", "1_000_000", "2147483648", "4m"}},
	"readonlymode.enabled":                      {[]string{"true", "false"}, []string{"", "no"}},
	"znode.container.checkIntervalMs":           {[]string{"1", "60000"}, []string{"", "0"}},
	"znode.container.maxPerMinute":              {[]string{"1", "10000"}, []string{"", "0"}},
	"znode.container.maxNeverUsedIntervalMs":    {[]string{"0", "60000"}, []string{"", "-1"}},
	"request_throttle_max_requests":             {[]string{"0", "-1", "20000"}, []string{"", "x"}},
	"request_throttle_stall_time":               {[]string{"1", "100"}, []string{"", "0", "-1"}},
	"request_throttle_drop_stale":               {[]string{"true", "false"}, []string{"", "no"}},
	"request_stale_latency_check":               {[]string{"true", "false"}, []string{"", "no"}},
	"request_stale_connection_check":            {[]string{"true", "false"}, []string{"", "no"}},
	"throttled_op_wait_time":                    {[]string{"0", "-1", "500"}, []string{"", "x"}},
	"largeRequestThreshold":                     {[]string{"-1", "0", "-7", "1024"}, []string{"", "x"}},
	"largeRequestMaxBytes":                      {[]string{"1", "0", "-1"}, []string{"", "x"}},
	"connection_throttle_tokens":                {[]string{"0", "20"}, []string{"", "-1"}},
	"connection_throttle_fill_time":             {[]string{"1"}, []string{"", "0", "-1"}},
	"connection_throttle_fill_count":            {[]string{"0", "1"}, []string{"", "-1"}},
	"connection_throttle_freeze_time":           {[]string{"-1", "0", "100"}, []string{"", "-2"}},
	"connection_throttle_drop_increase":         {[]string{"0", "1", "0.02", "2e-2"}, []string{"", "-0.1", "1.1", "NaN", "x"}},
	"connection_throttle_drop_decrease":         {[]string{"0", "0.002"}, []string{"", "-1", "2"}},
	"connection_throttle_decrease_ratio":        {[]string{"0", "0.5", "1"}, []string{"", "-1", "2"}},
	"connection_throttle_weight_enabled":        {[]string{"true", "false"}, []string{"", "yes"}},
	"connection_throttle_global_session_weight": {[]string{"3", "0", "-1"}, []string{"", "x"}},
	"connection_throttle_local_session_weight":  {[]string{"1", "0"}, []string{"", "x"}},
	"connection_throttle_renew_session_weight":  {[]string{"2", "0"}, []string{"", "x"}},
	"coordd.bootstrap":                          {[]string{"majority", "all"}, []string{"", "ALL", "none"}},
	"coordd.heartbeatTimeout":                   {[]string{"5", "250", "0.5s"}, []string{"", "501", "4ms", "2m", "x", "-500"}},
	"coordd.electionTimeout":                    {[]string{"500", "1s", "60000"}, []string{"", "499", "61s"}},
	"coordd.leaderLeaseTimeout":                 {[]string{"5", "500", "250ms"}, []string{"", "4", "501"}},
	"coordd.commitTimeout":                      {[]string{"1", "2.5ms", "50"}, []string{"", "0", "500us"}},
	"coordd.logStore":                           {[]string{"wal", "bolt"}, []string{"", "boltdb"}},
	"coordd.snapshotThreshold":                  {[]string{"2", "8192"}, []string{"", "1", "-1"}},
	"coordd.trailingLogs":                       {[]string{"0", "10240"}, []string{"", "-1"}},
	"coordd.linearizableReads":                  {[]string{"true", "false"}, []string{"", "yes"}},
	"coordd.log.format":                         {[]string{"text", "json"}, []string{"", "xml"}},
	"coordd.log.level":                          {[]string{"trace", "debug", "info", "warn", "error"}, []string{"", "INFO", "fatal"}},
	"electionAlg":                               {[]string{"3"}, []string{"", "0", "1", "x"}},
	"connectToLearnerMasterLimit":               {[]string{"0", "5"}, []string{"x"}},
	"observerMasterPort":                        {[]string{"0", "2191"}, []string{"x"}},
	"syncEnabled":                               {[]string{"true", "false"}, []string{"", "no"}},
	"quorum.cnxn.threads.size":                  {[]string{"20"}, []string{"x"}},
	"multiAddress.reachabilityCheckEnabled":     {[]string{"true", "false"}, []string{"no"}},
	"multiAddress.reachabilityCheckTimeoutMs":   {[]string{"1000"}, []string{"x"}},
	"jvm.pause.monitor":                         {[]string{"true", "false"}, []string{"on"}},
	"jvm.pause.warn-threshold.ms":               {[]string{"10000"}, []string{"x"}},
	"jvm.pause.info-threshold.ms":               {[]string{"1000"}, []string{"x"}},
	"jvm.pause.sleep.time.ms":                   {[]string{"500"}, []string{"x"}},
	"forceSync":                                 {[]string{"yes", "no"}, []string{"", "maybe"}},
	"serverCnxnFactory":                         {[]string{nioFactory, nettyFactory}, []string{"", "com.example.Factory"}},
	"fips-mode":                                 {[]string{"true", "false"}, []string{"x"}},
}

func TestEveryKeysValues(t *testing.T) {
	for i := range keys {
		k := &keys[i]
		if k.value.set == nil || k.Name == "dynamicConfigFile" {
			continue
		}
		cases, ok := keyCases[k.Name]
		if !ok || len(cases.good) == 0 || len(cases.bad) == 0 {
			t.Errorf("%s has no test values", k.Name)
		}
		for _, v := range cases.good {
			c, err := parse(t, base+k.Name+"="+v)
			if err != nil {
				t.Errorf("%s=%s: %v", k.Name, v, err)
				continue
			}
			if c.Source(k.Name) != "zoo.cfg:3" {
				t.Errorf("%s: source %q", k.Name, c.Source(k.Name))
			}
		}
		for _, v := range cases.bad {
			_, err := parse(t, base+k.Name+"="+v)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s=%s: error %v", k.Name, v, err)
			} else if !strings.Contains(e.Error(), k.Name) || strings.Contains(e.Error(), "\n") || e.File == "" {
				t.Errorf("%s=%s: message %q", k.Name, v, e)
			}
		}
	}
	for name := range keyCases {
		if k := lookup(name); k == nil || k.Name != name || k.value.set == nil {
			t.Errorf("test values for %s, which has no row or no setter", name)
		}
	}
}

// Every row's parsed default, written back, is the default of the row; so the
// documentation cannot differ from what a server does.
func TestDefaults(t *testing.T) {
	c := newConfig()
	for i := range keys {
		k := &keys[i]
		if (k.Status == Honored || k.Status == Mapped) && k.Default != "" {
			if got := k.value.get(c); got != k.Default {
				t.Errorf("%s: default %q, but runs with %q", k.Name, k.Default, got)
			}
		}
	}
}

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for i := range keys {
		k := &keys[i]
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		if !strings.HasSuffix(k.Doc, ".") || len(k.Doc) < 5 {
			t.Errorf("%s: Doc %q is not a sentence", k.Name, k.Doc)
		}
		switch k.Status {
		case Honored, Mapped:
			if k.value.set == nil || k.value.get == nil {
				t.Errorf("%s is honored without a setter", k.Name)
			}
		case Refused:
			if k.value.set != nil {
				t.Errorf("%s is refused and has a setter", k.Name)
			}
			if k.Default != "" && !k.harmless(k.Default) {
				t.Errorf("%s: the default is not harmless", k.Name)
			}
		case Ignored:
		default:
			t.Errorf("%s: status %v is for lines", k.Name, k.Status)
		}
		if len(k.Harmless) > 0 && k.Status != Refused {
			t.Errorf("%s: harmless values of a key that is not refused", k.Name)
		}
	}
}

// A server that was asked for security or a topology it does not have never
// starts without it.
func TestRefusedKeys(t *testing.T) {
	for i := range keys {
		k := &keys[i]
		if k.Status != Refused {
			continue
		}
		name := strings.ReplaceAll(k.Name, "*", "some.thing")
		for _, prefix := range []string{"", "zookeeper."} {
			if _, err := parse(t, base+prefix+name+"=asked-for"); err == nil {
				t.Errorf("%s%s is not refused", prefix, name)
			}
			for _, v := range append([]string{""}, k.Harmless...) {
				if _, err := parse(t, base+prefix+name+"="+v); err != nil {
					t.Errorf("%s%s=%s: %v", prefix, name, v, err)
				}
			}
		}
	}
	for _, line := range []string{
		"ssl.keyStore.location=/k.jks", "ssl.quorum.trustStore.location=/t.jks", "ssl.clientAuth=need", "secureClientPort=2281",
		"sslQuorum=true", "sslQuorum=TRUE", "sslQuorum=yes", "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
		"authProvider.sasl=x", "quorum.auth.enableSasl=true", "group.1=1:2:3", "weight.1=1", "sessionRequireClientSASLAuth=true",
		"enforce.auth.enabled=true", "enforce.auth.schemes=sasl", "oraclePath=/x", "multiAddress.enabled=true", "portUnification=true",
		"reconfigEnabled=true", "metricsProvider.httpsPort=7443", "audit.enable=true", "sasl.serverconfig=Other",
		"DigestAuthenticationProvider.digestAlg=SHA-256",
	} {
		if _, err := parse(t, base+line); err == nil {
			t.Errorf("%s is not refused", line)
		} else if !strings.HasPrefix(err.Error(), "zoo.cfg:3: ") {
			t.Errorf("%s: %v", line, err)
		}
	}
	// The last line counts, as it does for every key.
	mustParse(t, base+"sslQuorum=true\nsslQuorum=false")
	if _, err := parse(t, base+"sslQuorum=false\nsslQuorum=true"); err == nil {
		t.Error("an earlier harmless line hides a refused one")
	}
}

func TestSecretsAreMasked(t *testing.T) {
	for _, line := range []string{"ssl.keyStore.password=hunter2", "zookeeper.ssl.quorum.trustStore.password=hunter2",
		"DigestAuthenticationProvider.superDigest=hunter2", "DigestAuthenticationProvider.superDigest=super:hunter2",
		"zookeeper.DigestAuthenticationProvider.superDigest=super:hunter2", "SASLAuthenticationProvider.superPassword=hunter2"} {
		c, err := parse(t, base+line)
		var out strings.Builder
		if err != nil {
			out.WriteString(err.Error())
		} else if err := Explain(&out, c); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "***") {
			t.Errorf("%s: %s", line, &out)
		}
	}
}

func TestWriteDoc(t *testing.T) {
	var out strings.Builder
	if err := WriteDoc(&out); err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		if n := strings.Count(out.String(), "\n| `"+k.Name+"` |"); n != 1 {
			t.Errorf("%s is there %d times", k.Name, n)
		}
	}
}
