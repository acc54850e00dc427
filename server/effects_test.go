package server

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/config"
	"github.com/coordd/coordd/internal/zkprocess"
)

// effect shows on a running server that a key of zoo.cfg does what its row
// says: a function, one that waits more than it works and so runs beside the
// tests of ensembles, or the test elsewhere that does, as folder and name.
type effect struct {
	shown, waits func(t *testing.T)
	by           string
}

// effects has one for every key that has an effect.
var effects = map[string]effect{
	"dataDir":                                   {shown: effectOfDirectories},
	"dataLogDir":                                {shown: effectOfDirectories},
	"datadir.autocreate":                        {shown: effectOfAutocreate},
	"clientPort":                                {shown: effectOfClientPort},
	"clientPortAddress":                         {shown: effectOfClientPort},
	"tickTime":                                  {shown: effectOfSessionTimeouts},
	"minSessionTimeout":                         {shown: effectOfSessionTimeouts},
	"maxSessionTimeout":                         {shown: effectOfSessionTimeouts},
	"initLimit":                                 {by: "server.TestFirstStartOfAMajority"},
	"syncLimit":                                 {by: "server.TestServerWithoutALeaderTurnsClientsAway"},
	"maxClientCnxns":                            {by: "server.TestMaxClientCnxns"},
	"maxCnxns":                                  {by: "server.TestMaxCnxns"},
	"nio.sessionlessCnxnTimeout":                {by: "server.TestHalfOpenConnections"},
	"clientTcpKeepAlive":                        {shown: effectOfKeepAlive},
	"jute.maxbuffer":                            {by: "server.TestOversizeFrame"},
	"globalOutstandingLimit":                    {shown: effectOfOutstandingLimit},
	"leaderServes":                              {waits: effectOfLeaderServes},
	"peerType":                                  {by: "config.TestPeerType"},
	"quorumListenOnAllIPs":                      {waits: effectOfListeningOnAll},
	"standaloneEnabled":                         {waits: effectOfStandaloneEnabled},
	"dynamicConfigFile":                         {shown: effectOfDynamicFile},
	"version":                                   {waits: effectOfVersion},
	"localSessionsEnabled":                      {by: "server.TestLocalSessions"},
	"localSessionsUpgradingEnabled":             {by: "server.TestLocalSessionBecomesGlobal"},
	"readonlymode.enabled":                      {by: "server.TestReadOnlyMode"},
	"coordd.bootstrap":                          {by: "server.TestFirstStartOfAll"},
	"coordd.heartbeatTimeout":                   {waits: effectOfElectionTimings},
	"coordd.electionTimeout":                    {waits: effectOfElectionTimings},
	"coordd.leaderLeaseTimeout":                 {waits: effectOfLease},
	"coordd.commitTimeout":                      {by: "server/replica.TestFollowersApplyBeforeCommitTimeout"},
	"coordd.linearizableReads":                  {by: "server.TestLinearizableReadsTravel"},
	"coordd.log.format":                         {by: "cmd/coordd.TestLogKeys"},
	"coordd.log.level":                          {by: "cmd/coordd.TestLogKeys"},
	"coordd.logStore":                           {shown: effectOfLogStore},
	"snapCount":                                 {waits: effectOfSnapCount},
	"coordd.snapshotThreshold":                  {waits: effectOfSnapCount},
	"autopurge.snapRetainCount":                 {shown: effectOfRetainCount},
	"autopurge.purgeInterval":                   {shown: effectOfRetainCount},
	"coordd.trailingLogs":                       {waits: effectOfTrailingLogs},
	"fsync.warningthresholdms":                  {shown: effectOfFsyncWarning},
	"4lw.commands.whitelist":                    {shown: effectOfWhitelist},
	"metricsProvider.className":                 {shown: effectOfMetricsPort},
	"metricsProvider.httpHost":                  {shown: effectOfMetricsPort},
	"metricsProvider.httpPort":                  {shown: effectOfMetricsPort},
	"admin.enableServer":                        {shown: effectOfAdminPort},
	"admin.serverPort":                          {shown: effectOfAdminPort},
	"admin.serverAddress":                       {shown: effectOfAdminPort},
	"admin.commandURL":                          {shown: effectOfAdminPort},
	"admin.idleTimeout":                         {shown: effectOfAdminIdleTimeout},
	"admin.snapshot.enabled":                    {shown: effectOfAdminSnapshot},
	"admin.rateLimiterIntervalInMS":             {shown: effectOfAdminSnapshot},
	"extendedTypesEnabled":                      {shown: effectOfExtendedTypes},
	"enforceQuota":                              {shown: effectOfEnforceQuota},
	"skipACL":                                   {shown: effectOfSkipACL},
	"znode.container.checkIntervalMs":           {shown: effectOfContainerInterval},
	"znode.container.maxPerMinute":              {shown: effectOfContainersPerMinute},
	"znode.container.maxNeverUsedIntervalMs":    {shown: effectOfNeverUsedContainers},
	"DigestAuthenticationProvider.superDigest":  {shown: effectOfSuperDigest},
	"DigestAuthenticationProvider.enabled":      {shown: effectOfDigestEnabled},
	"request_throttle_max_requests":             {by: "server.TestRequestThrottle"},
	"request_throttle_stall_time":               {by: "server.TestRequestThrottle"},
	"request_throttle_drop_stale":               {by: "server.TestStaleRequests"},
	"request_stale_latency_check":               {by: "server.TestStaleRequests"},
	"request_stale_connection_check":            {by: "server.TestStaleRequests"},
	"throttled_op_wait_time":                    {by: "server.TestThrottledOps"},
	"largeRequestThreshold":                     {by: "server.TestLargeRequests"},
	"largeRequestMaxBytes":                      {by: "server.TestLargeRequests"},
	"connection_throttle_tokens":                {by: "server.TestConnectionThrottle"},
	"connection_throttle_fill_time":             {by: "server.TestConnectionThrottle"},
	"connection_throttle_fill_count":            {by: "server.TestConnectionThrottle"},
	"connection_throttle_freeze_time":           {by: "server.TestConnectionsAreDroppedAtRandom"},
	"connection_throttle_drop_increase":         {by: "server.TestConnectionsAreDroppedAtRandom"},
	"connection_throttle_drop_decrease":         {by: "server.TestConnectionsAreDroppedAtRandom"},
	"connection_throttle_decrease_ratio":        {by: "server.TestConnectionsAreDroppedAtRandom"},
	"connection_throttle_weight_enabled":        {by: "server.TestConnectionThrottle"},
	"connection_throttle_global_session_weight": {by: "server.TestConnectionThrottle"},
	"connection_throttle_local_session_weight":  {by: "server.TestConnectionThrottle"},
	"connection_throttle_renew_session_weight":  {by: "server.TestConnectionThrottle"},
}

// Whoever gives a key an effect shows it.
func TestEveryKeyHasItsEffect(t *testing.T) {
	rows := map[string]bool{}
	for _, k := range config.Keys() {
		if k.Status != config.Honored && k.Status != config.Mapped {
			continue
		}
		rows[k.Name] = true
		if e, ok := effects[k.Name]; !ok {
			t.Errorf("nothing in effects shows what %s does", k.Name)
		} else if folder, test, _ := strings.Cut(e.by, "."); e.by != "" && !testExists(t, folder, test) {
			t.Errorf("%s: there is no test %s", k.Name, e.by)
		}
	}
	for name := range effects {
		if !rows[name] {
			t.Errorf("%s is in effects, but has none by its row", name)
		}
	}
	show(t, func(e effect) func(*testing.T) { return e.shown })
}

func TestEffectsThatTakeTime(t *testing.T) {
	t.Parallel()
	show(t, func(e effect) func(*testing.T) { return e.waits })
}

// show runs each function once, though it may show several keys.
func show(t *testing.T, chosen func(effect) func(*testing.T)) {
	ran := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(effects)) {
		f := chosen(effects[name])
		if id := fmt.Sprintf("%p", f); f != nil && !ran[id] {
			ran[id] = true
			t.Run(name, f)
		}
	}
}

// testExists reports whether a folder of the project has a test function.
func testExists(t *testing.T, folder, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	is := regexp.MustCompile(`(?m)^func ` + test + `\(t \*testing\.T\) {$`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if is.Match(text) {
			return true
		}
	}
	return false
}

// aloneConfig is a zoo.cfg of a standalone server in a directory of its own,
// with lines added; the last line of a key counts.
func aloneConfig(t *testing.T, lines ...string) *config.Config {
	t.Helper()
	text := fmt.Sprintf("dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\ntickTime=100\nmaxSessionTimeout=60000\n"+
		"coordd.heartbeatTimeout=50\ncoordd.electionTimeout=50\ncoordd.leaderLeaseTimeout=50\nadmin.enableServer=false\n%s\n",
		t.TempDir(), zkprocess.FreePorts(t, "0.0.0.0", 1)[0], strings.Join(lines, "\n"))
	cfg, err := config.Parse("zoo.cfg", strings.NewReader(text), os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// alone runs such a server until the end of the test, beside those of other
// tests.
func alone(t *testing.T, lines ...string) *Server {
	t.Helper()
	s := run(t, aloneConfig(t, lines...), hclog.NewNullLogger())
	eventually(t, "the server takes clients", s.Serving)
	return s
}

func run(t *testing.T, cfg *config.Config, logger hclog.Logger) *Server {
	t.Helper()
	s, err := Start(cfg, logger, Build{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}
