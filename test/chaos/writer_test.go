//go:build chaos

package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/history"
	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

const (
	// window is how many writes each client keeps unanswered.
	window = 256
	// inFlight is how many it must have unanswered when the leader dies.
	inFlight = 100
	// maxViolations are kept of each writer: one lost or repeated write makes
	// every later version wrong.
	maxViolations = 5
)

// writer is one client that writes without a pause until told to stop, and
// checks every reply. Request i creates a sequential child of parent, or sets
// the writer's own znode at the version it must have by then, or both as one.
type writer struct {
	name   string
	parent string
	node   string
	client *zkclient.Client

	stop     chan struct{}
	ended    chan struct{} // closed when every reply is in, or given up
	sent     atomic.Int64
	answered atomic.Int64

	// The rest is the checking goroutine's until ended is closed.
	created    []history.Request // children whose create was answered with OK
	version    int32             // of node, after the last answered write
	sequence   int64             // the last created child's
	zxid       int64             // the last reply's
	violations []string
}

// request is one that was sent: its number gives its kind.
type request struct {
	number int64
	call   *zkclient.Call
}

func (r request) creates() bool { return r.number%3 != 1 }
func (r request) sets() bool    { return r.number%3 != 0 }

func startWriter(t *testing.T, name, parent string, s *zkprocess.Server) *writer {
	t.Helper()
	w := &writer{
		name: name, parent: parent, node: parent + "-" + name,
		client:   dial(t, s, zkclient.Options{Timeout: longSession, Window: window}),
		stop:     make(chan struct{}),
		ended:    make(chan struct{}),
		sequence: -1,
	}
	if _, err := w.client.Create(w.node, nil, protocol.Persistent, nil); err != nil {
		t.Fatalf("create %s: %v", w.node, err)
	}
	requests := make(chan request, 2*window) // never full: the window bounds it
	go w.send(requests)
	go w.check(requests)
	return w
}

func (w *writer) send(requests chan<- request) {
	defer close(requests)
	version := int32(0)
	for i := int64(0); ; i++ {
		select {
		case <-w.stop:
			return
		case <-w.ended: // the checker gave up
			return
		default:
		}
		r := request{number: i}
		create := &protocol.CreateRequest{
			Path: fmt.Sprintf("%s/%s-%d-", w.parent, w.name, i), ACL: protocol.WorldAnyone, Mode: protocol.PersistentSequential,
		}
		set := &protocol.SetDataRequest{Path: w.node, Data: strconv.AppendInt(nil, i, 10), Version: version}
		switch {
		case r.creates() && r.sets():
			create.Mode = protocol.EphemeralSequential // the end of the session clears them away
			r.call = w.client.Go(protocol.OpMulti, &protocol.MultiRequest{Ops: []protocol.MultiOp{
				{Type: protocol.OpCreate, Body: create}, {Type: protocol.OpSetData, Body: set}}})
		case r.creates():
			r.call = w.client.Go(protocol.OpCreate, create)
		default:
			r.call = w.client.Go(protocol.OpSetData, set)
		}
		if r.sets() {
			version++
		}
		w.sent.Add(1)
		select {
		case requests <- r:
		case <-w.ended:
			return
		}
	}
}

func (w *writer) violation(format string, args ...any) {
	if len(w.violations) < maxViolations {
		w.violations = append(w.violations, w.name+": "+fmt.Sprintf(format, args...))
	}
}

// check takes the replies in the order of the requests; the client itself ends
// the connection when they come in another order.
func (w *writer) check(requests <-chan request) {
	defer close(w.ended)
	for r := range requests {
		select {
		case <-r.call.Done():
		case <-time.After(patience):
			w.violation("request %d: no reply within %v", r.number, patience)
			return
		}
		h, body, err := r.call.Wait()
		if err != nil {
			w.violation("request %d: connection: %v", r.number, err)
			return
		}
		w.answered.Add(1)
		if h.Err != protocol.OK {
			w.violation("request %d: %v", r.number, h.Err)
			continue
		}
		if h.Zxid <= w.zxid {
			w.violation("request %d: zxid 0x%x after 0x%x", r.number, h.Zxid, w.zxid)
		}
		w.zxid = h.Zxid
		w.checkBody(r, body)
	}
}

// checkBody looks at the successful reply to one request.
func (w *writer) checkBody(r request, body []byte) {
	d := protocol.NewDecoder(body)
	var path protocol.PathResponse
	var stat protocol.StatResponse
	switch {
	case r.creates() && r.sets():
		var multi protocol.MultiResponse
		multi.Decode(&d)
		if d.Err() == nil && len(multi.Results) == 2 {
			p, isPath := multi.Results[0].Body.(*protocol.PathResponse)
			s, isStat := multi.Results[1].Body.(*protocol.StatResponse)
			if isPath && isStat {
				path, stat = *p, *s
				break
			}
		}
		if d.Err() == nil {
			for _, result := range multi.Results {
				w.violation("request %d: multi: %v %v", r.number, result.Type, result.Err)
			}
			return
		}
	case r.creates():
		path.Decode(&d)
	default:
		stat.Decode(&d)
	}
	if d.Err() != nil {
		w.violation("request %d: reply: %v", r.number, d.Err())
		return
	}
	if r.sets() {
		w.version++
		if stat.Stat.Version != w.version {
			w.violation("request %d: version %d, want %d", r.number, stat.Stat.Version, w.version)
		}
	}
	if r.creates() {
		w.checkCreated(r, path.Path)
	}
}

func (w *writer) checkCreated(r request, path string) {
	prefix := fmt.Sprintf("%s/%s-%d-", w.parent, w.name, r.number)
	digits, found := strings.CutPrefix(path, prefix)
	sequence, err := strconv.ParseInt(digits, 10, 64)
	if !found || err != nil {
		w.violation("request %d: the reply of another: %s", r.number, path)
		return
	}
	if sequence <= w.sequence {
		w.violation("request %d: sequence number %d after %d", r.number, sequence, w.sequence)
	}
	w.sequence = sequence
	base := func(path string) string { return strings.TrimPrefix(path, w.parent+"/") }
	w.created = append(w.created, history.Request{Writer: w.name, Prefix: base(prefix), Name: base(path)})
}
