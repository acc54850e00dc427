//go:build differential

package differential

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

const (
	// patience is how long an answer may take; a server that does not answer
	// is a difference too.
	patience = 10 * time.Second
	// closeWithin is how long a server may take to close what it has to.
	closeWithin = 5 * time.Second
	maxFrame    = 64 << 20
)

// side is one of the two servers compared, or one member of an ensemble and
// others for connects that ask for them.
type side struct {
	name  string
	addrs []string
	own   string  // where the tester's own connections go
	stop  func()  // ends its servers
	super *stream // a connection of the super user that lives as long as the side
	// guides are connections to addrs, by which a program that roams brings a
	// server up to date before it connects: one behind the client hangs up.
	guides []*stream
	runs   int
	leader *zkprocess.Server // that a stalled step stops for a while
	book   *stream           // a connection to the leader
	built  *tree             // of a side where nothing can be written
}

// tree is a sub-tree that was made before a side became read-only.
type tree struct {
	name  string
	base  int64
	began time.Time
}

// window is a span of zxids in which two correct servers may do the same
// things in different orders, or write a different number of entries.
type window struct{ from, to int64 }

// outcome is what one side made of a program.
type outcome struct {
	name     string // of the run's sub-tree
	base     int64  // zxid of the sub-tree's creation
	began    time.Time
	streams  []*stream
	sessions []*session
	windows  []window
	stalled  bool   // something took so long that what goes by itself may have gone
	dump     []node // final state
}

// waited is the index of the window with a zxid, -1 for none.
func (o *outcome) waited(zxid int64) int {
	return slices.IndexFunc(o.windows, func(w window) bool { return w.from < zxid && zxid <= w.to })
}

// before is the zxid that lies back zxids before another one, not counting
// those in windows.
func (o *outcome) before(zxid, back int64) int64 {
	zxid -= back
	for _, w := range slices.Backward(o.windows) {
		if zxid <= w.to {
			zxid -= w.to - w.from
		}
	}
	return zxid
}

// node is a znode of the final state.
type node struct {
	path              string
	data, acl, parent []byte // frames of getData, getACL and getChildren2
}

// runner is one run of a program on one side.
type runner struct {
	*side
	p       *program
	out     *outcome
	last    int64 // highest zxid that this side has shown
	streams [slots]*stream
	known   [slots]*session // last session of a slot
	resumed time.Time       // when the last wait ended
	brief   bool            // there are sessions that end in silence
}

// run carries out a program and cleans up behind it.
func (s *side) run(p *program) (*outcome, error) {
	s.runs++
	r := &runner{side: s, p: p, out: &outcome{name: fmt.Sprintf("p%07d", s.runs), began: time.Now()}}
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("%s: prepare: %w", s.name, err)
	}
	for i := range p.steps {
		if err := r.step(i); err != nil {
			return nil, fmt.Errorf("%s: step %d: %w", s.name, i, err)
		}
	}
	if p.waits {
		if err := r.wait(-1); err != nil {
			return nil, fmt.Errorf("%s: wait at the end: %w", s.name, err)
		}
	}
	for _, st := range r.streams {
		r.drain(st, -1)
	}
	if p.roams {
		if err := r.catchUp(0); err != nil {
			return nil, fmt.Errorf("%s: sync: %w", s.name, err)
		}
	}
	var err error
	if r.out.dump, err = s.walk(); err != nil {
		return nil, fmt.Errorf("%s: read final state: %w", s.name, err)
	}
	if err := r.endSessions(); err != nil {
		return nil, fmt.Errorf("%s: end sessions: %w", s.name, err)
	}
	if p.frozen {
		return r.out, nil
	}
	if p.rests {
		if r.last, err = s.mark(); err != nil {
			return nil, fmt.Errorf("%s: mark the end: %w", s.name, err)
		}
		if err := r.rest(); err != nil {
			return nil, fmt.Errorf("%s: wait for the leader: %w", s.name, err)
		}
	}
	if err := s.clean(r.out.dump); err != nil {
		return nil, fmt.Errorf("%s: clean up: %w", s.name, err)
	}
	return r.out, nil
}

func (r *runner) prepare() error {
	if r.p.roams { // the guides' sessions take zxids: before the program does
		if err := r.catchUp(0); err != nil {
			return err
		}
	}
	if r.super == nil {
		st, err := dial(r.own)
		if err != nil {
			return err
		}
		hello := protocol.ConnectRequest{TimeoutMs: longTimeout, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: r.p.frozen}
		if _, err := st.call(hello.AppendTo(nil)); err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		auth := protocol.AuthRequest{Scheme: "digest", Auth: []byte(superUser)}
		if _, err := st.call(auth.AppendTo(header(protocol.XidAuth, protocol.OpAuth))); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		r.super = st
	}
	if r.built != nil {
		r.out.name, r.out.base, r.out.began, r.last = r.built.name, r.built.base, r.built.began, r.built.base
		return nil
	}
	if err := r.rest(); err != nil {
		return err
	}
	if r.p.waits {
		if err := r.settle(); err != nil {
			return err
		}
		r.resumed = time.Now()
	}
	create := protocol.CreateRequest{Path: "/" + r.out.name, ACL: protocol.WorldAnyone}
	h, err := r.super.ask(protocol.OpCreate, &create)
	if err != nil {
		return err
	}
	if h.Err != 0 {
		return fmt.Errorf("create /%s: %v", r.out.name, h.Err)
	}
	r.out.base, r.last = h.Zxid, h.Zxid
	return nil
}

func (r *runner) step(i int) error {
	s := &r.p.steps[i]
	st := r.streams[s.slot]
	switch s.kind {
	case connect:
		r.connect(i)
	case wait:
		return r.wait(i)
	case hangUp:
		r.drain(st, i)
		if st != nil && st.open {
			st.hangUp()
		}
	case raw:
		if st != nil && st.open && (!r.p.roams || r.sync(st, i)) {
			st.put(s.frame, false)
			st.w.Flush() // an error shows below
			r.awaitClose(st, i)
		}
	case request:
		if st == nil || !st.open {
			return nil
		}
		if st.left {
			if s.movedWrite {
				return r.between(func() error {
					if err := r.request(st, i); err != nil {
						return err
					}
					// It may be on its way to the leader still, to be refused there.
					return r.catchUp(st.server)
				})
			}
			st.hangUp()
			return nil
		}
		if r.p.roams && len(st.awaiting) == 0 && !r.sync(st, i) {
			return nil
		}
		return r.request(st, i)
	}
	return nil
}

// request sends a request, and reads the answers unless another one is to
// follow at once.
func (r *runner) request(st *stream, i int) error {
	s := &r.p.steps[i]
	st.put(r.fill(s), true)
	st.awaiting = append(st.awaiting, i)
	if i+1 < len(r.p.steps) && r.p.steps[i+1].behind && r.p.steps[i+1].slot == s.slot {
		return nil
	}
	if s.stalled {
		return r.stall(st)
	}
	st.w.Flush() // an error shows below
	r.collect(st)
	if op := s.op(); r.p.rests && (op == protocol.OpSetACL || op == protocol.OpCloseSession) {
		return r.rest()
	}
	return nil
}

// fill puts the run's own name and zxids into a frame.
func (r *runner) fill(s *step) []byte {
	frame := bytes.ReplaceAll(s.frame, []byte(placeholder), []byte(r.out.name))
	if s.zxidAt > 0 && s.zxidAt+8 <= len(frame) {
		frame = bytes.Clone(frame)
		binary.BigEndian.PutUint64(frame[s.zxidAt:], uint64(r.out.before(r.last, s.back)))
	}
	return frame
}

// collect reads until all requests of the stream are answered or it has ended.
func (r *runner) collect(st *stream) {
	for len(st.awaiting) > 0 && st.open {
		frame, err := st.read(patience)
		if err != nil {
			st.end(st.awaiting[0], ending(err))
			return
		}
		answered := st.awaiting[0]
		step := &r.p.steps[answered]
		if isEvent(frame, step) {
			st.entries = append(st.entries, entry{step: -1, frame: frame})
			continue
		}
		st.entries = append(st.entries, entry{step: answered, frame: frame})
		st.awaiting = st.awaiting[1:]
		d := protocol.NewDecoder(frame)
		var h protocol.ReplyHeader
		h.Decode(&d)
		r.last = max(r.last, h.Zxid)
		if h.Err == protocol.ThrottledOp && !step.behind {
			r.out.stalled = true // it was late without anybody's doing
		}
		closed := step.op() == protocol.OpCloseSession && h.Err == 0
		if closed && st.session != nil {
			st.session.closed = true
		}
		if closed || h.Err == protocol.Unimplemented && h.Zxid == -1 || h.Err == protocol.AuthFailed {
			r.awaitClose(st, -1)
		}
	}
}

// awaitClose reads what comes before the server closes, as it must.
func (r *runner) awaitClose(st *stream, step int) {
	for st.open {
		frame, err := st.read(closeWithin)
		if err != nil {
			st.end(step, ending(err))
			return
		}
		st.entries = append(st.entries, entry{step: -1, frame: frame})
	}
}

// drain collects the events that are on their way, with a ping.
func (r *runner) drain(st *stream, step int) {
	if st == nil || !st.open {
		return
	}
	if st.left {
		st.hangUp()
		return
	}
	if r.p.roams && !r.sync(st, step) {
		return
	}
	st.put(header(protocol.XidPing, protocol.OpPing), true)
	st.w.Flush() // an error shows below
	for {
		frame, err := st.read(patience)
		if err != nil {
			st.end(step, ending(err))
			return
		}
		st.entries = append(st.entries, entry{step: -1, frame: frame})
		if len(frame) >= 4 && int32(binary.BigEndian.Uint32(frame)) == protocol.XidPing {
			return
		}
	}
}
