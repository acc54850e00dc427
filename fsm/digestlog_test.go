package fsm

import (
	"testing"

	"github.com/coordd/coordd/protocol"
)

// The digest is noted at the very zxids that 128 divides, wherever in an entry
// they fall, and the latest 1024 are kept.
func TestDigestLog(t *testing.T) {
	whole, single := newRig(t), newRig(t)
	var requests []Request
	body := (&protocol.SetDataRequest{Path: "/", Version: -1}).AppendTo(nil)
	for range 3 * digestInterval {
		requests = append(requests, whole.request(protocol.OpSetData, body))
		single.batch(single.request(protocol.OpSetData, body))
	}
	whole.batch(requests...)
	for _, r := range []*rig{whole, single} {
		got := r.m.Digests()
		if len(got) != 3 {
			t.Fatalf("%d digests: %v", len(got), got)
		}
		for i, d := range got {
			if d.Zxid%digestInterval != 0 || i > 0 && (d.Zxid != got[i-1].Zxid+digestInterval || d.Digest == got[i-1].Digest) {
				t.Errorf("%x", got)
			}
		}
	}

	for i := range int64(2 * digestsKept) {
		whole.m.zxid = i*digestInterval + 1<<40
		whole.m.noteDigest()
		whole.m.noteDigest()
	}
	got := whole.m.Digests()
	if last := got[len(got)-1].Zxid; len(got) != digestsKept || last != (2*digestsKept-1)*digestInterval+1<<40 || got[0].Zxid != digestsKept*digestInterval+1<<40 {
		t.Errorf("%d kept, from %x to %x", len(got), got[0].Zxid, last)
	}
}
