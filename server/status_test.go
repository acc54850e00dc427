package server

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/fsm"
	"github.com/coordd/coordd/protocol"
	"github.com/coordd/coordd/server/auth"
)

// command asks the AdminServer of s for a command, as the bearer of
// authorization.
func command(s *Server, name, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/commands/"+name, nil)
	r.Header.Set("Authorization", authorization)
	rec := httptest.NewRecorder()
	s.admin.Handler().ServeHTTP(rec, r)
	return rec
}

func TestSnapshotOverHTTP(t *testing.T) {
	s := startStandalone(t, "admin.rateLimiterIntervalInMS=0")
	c := dial(t, s)
	c.call(protocol.OpCreate, create("/a", "data"), protocol.OK)
	rec := command(s, "snapshot", "digest ann:secret")
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	m, err := fsm.Restore(bytes.NewReader(rec.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if data, _, _, code := m.GetData("/a", nil); data != "data" || code != protocol.OK {
		t.Errorf("/a in the snapshot: %q %v", data, code)
	}
	last, at := s.LastSnapshot()
	if told := fmt.Sprint(rec.Header()); last != m.Zxid() || at.IsZero() || !bytes.Contains([]byte(told), fmt.Appendf(nil, "last_zxid:[0x%x]", last)) {
		t.Errorf("last snapshot 0x%x at %v, headers %s, in the snapshot 0x%x", last, at, told, m.Zxid())
	}

	owner := []protocol.ACL{
		{Perms: protocol.PermAll &^ protocol.PermAdmin, ID: protocol.ID{Scheme: "world", ID: "anyone"}},
		{Perms: protocol.PermAdmin, ID: protocol.ID{Scheme: "digest", ID: auth.Digest([]byte("ann:secret"))}},
		{Perms: protocol.PermAdmin, ID: protocol.ID{Scheme: "ip", ID: "192.0.2.1"}}, // where requests of httptest come from
	}
	c.call(protocol.OpSetACL, &protocol.SetACLRequest{Path: "/", ACL: owner, Version: -1}, protocol.OK)
	for authorization, want := range map[string]int{
		"digest ann:secret": 200, "digest ann:wrong": 403, "ip": 200, "digest": 401, "sasl ann": 401,
	} {
		if got := command(s, "snapshot?streaming=false", authorization).Code; got != want {
			t.Errorf("%s: %d, want %d", authorization, got, want)
		}
	}

	last, at = s.LastSnapshot()
	s.Shutdown()
	again, err := Start(s.cfg, hclog.NewNullLogger(), Build{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Shutdown()
	if zxid, then := again.LastSnapshot(); zxid != last || !then.Equal(at) {
		t.Errorf("after a restart 0x%x %v, before 0x%x %v", zxid, then, last, at)
	}
}

func TestHashNeedsTheDigest(t *testing.T) {
	for line, want := range map[string]bool{"digest.enabled=true": true, "digest.enabled=false": false} {
		s := startStandalone(t, line)
		c := dial(t, s)
		c.call(protocol.OpCreate, create("/a", ""), protocol.OK)
		var packet []byte
		for i := range 200 {
			packet = append(packet, request(int32(1000+i), protocol.OpSetData, setData("/a", "x"))...)
		}
		c.send(packet)
		for i := range 200 {
			c.expect(int32(1000+i), protocol.OK)
		}
		if got := len(s.Digests()) > 0; got != want {
			t.Errorf("%s: %v", line, s.Digests())
		}
	}
}

func TestWithdrawnFromTheStartOfShutdown(t *testing.T) {
	s := startStandalone(t)
	if command(s, "ruok", ""); s.Withdrawn() {
		t.Error("withdrawn while it runs")
	}
	s.Shutdown()
	rec := httptest.NewRecorder()
	s.admin.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/ready", nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d %s", rec.Code, rec.Body)
	}
}

// What cons and dump show of a connection.
func TestConnectionBooks(t *testing.T) {
	s := startStandalone(t)
	c := dial(t, s)
	only := func() string {
		t.Helper()
		all := s.Connections()
		if len(all) != 1 {
			t.Fatalf("%d connections", len(all))
		}
		a := all[0]
		if a.Established.IsZero() || !a.Expires.After(a.Established) {
			t.Errorf("established %v, expires %v", a.Established, a.Expires)
		}
		return fmt.Sprintf("%s %d", a.LastOp, a.LastCxid)
	}
	if got := only(); got != "SESS 0" || s.connections()[0].stats.count != 1 {
		t.Errorf("after the handshake: %s, %d latencies", got, s.connections()[0].stats.count)
	}
	c.call(protocol.OpCreate, create("/a", ""), protocol.OK)
	xid := c.call(protocol.OpGetData, read("/a"), protocol.OK).Xid
	if got := only(); got != fmt.Sprintf("GETD %d", xid) {
		t.Errorf("after a read: %s", got)
	}
	c.send(request(protocol.XidPing, protocol.OpPing, nil))
	c.expect(protocol.XidPing, protocol.OK)
	if got := only(); got != fmt.Sprintf("PING %d", xid) {
		t.Errorf("after a ping: %s", got)
	}
	xid = c.call(protocol.OpDelete, remove("/none"), protocol.NoNode).Xid
	if got := only(); got != fmt.Sprintf("NA %d", xid) {
		t.Errorf("after a refusal: %s", got)
	}
	s.ResetConnectionStats()
	if got := only(); got != "NA -1" {
		t.Errorf("after a reset: %s", got)
	}
}

func TestAddressesAsJavaWritesThem(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:2181": "127.0.0.1:2181", "[::1]:2181": "[0:0:0:0:0:0:0:1]:2181", "[::ffff:10.0.0.1]:1": "10.0.0.1:1", "[fe80::1%eth0]:1": "[fe80:0:0:0:0:0:0:1]:1",
	} {
		if got := javaAddr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
