package config

import (
	"maps"
	"testing"
)

// What the AdminServer shows of a file has no credentials.
func TestTextAndProperties(t *testing.T) {
	const lines = "snapCount=7\nserver.1=a:1:2\ncoordd.logStore=wal\nsome.thing=x\nDigestAuthenticationProvider.superDigest=super:xyz=\n"
	c := mustParse(t, base+lines)
	const shown = base + "snapCount=7\nserver.1=a:1:2\ncoordd.logStore=wal\nsome.thing=x\nDigestAuthenticationProvider.superDigest=***\n"
	if c.Text() != shown {
		t.Errorf("%q, want %q", c.Text(), shown)
	}
	want := map[string]string{"zookeeper.snapCount": "7", "zookeeper.some.thing": "x", "zookeeper.server.1": "a:1:2", "zookeeper.DigestAuthenticationProvider.superDigest": "***"}
	if got := c.Properties(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if c := mustParse(t, base+"DigestAuthenticationProvider.superDigest=super\\:xyz\\=\n"); c.Text() != "" {
		t.Errorf("credential with escapes: %q", c.Text())
	}
	if c := Default(); c.Text() != "" || len(c.Properties()) != 0 {
		t.Errorf("without a file: %q, %v", c.Text(), c.Properties())
	}
}
