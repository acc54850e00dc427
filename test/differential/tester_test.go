//go:build differential

package differential

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/internal/zkprocess"
	"github.com/coordd/coordd/protocol"
)

// tamper changes the frames that a server sends: it returns those that the
// client is to get instead of frame.
type tamper func(frame []byte) [][]byte

// once applies change to the first frame for which it returns something.
func once(change func(frame []byte) [][]byte) tamper {
	var done atomic.Bool
	return func(frame []byte) [][]byte {
		if !done.Load() {
			if changed := change(bytes.Clone(frame)); changed != nil {
				done.Store(true)
				return changed
			}
		}
		return [][]byte{frame}
	}
}

// proxy is between a program and a server.
type proxy struct {
	server string
	tamper atomic.Pointer[tamper]
}

// listen starts a proxy to addr and returns where it listens.
func (p *proxy) listen(t *testing.T, addr string) string {
	t.Helper()
	p.server = addr
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return l.Addr().String()
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, client) // either end may close
		server.Close()
	}()
	for {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(server, frame); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(frame)
		frame = append(frame, make([]byte, n)...)
		if _, err := io.ReadFull(server, frame[4:]); err != nil {
			return
		}
		frames := [][]byte{frame}
		if change := p.tamper.Load(); change != nil {
			frames = (*change)(frame)
		}
		for _, f := range frames {
			if _, err := client.Write(f); err != nil {
				return
			}
		}
	}
}

// flip changes one byte of the first reply of at least size bytes that is no
// event and no error; at counts from the start of the frame's content.
func flip(size, at int) tamper {
	return once(func(f []byte) [][]byte {
		if len(f) < 4+size || event(f) || len(f) >= 20 && binary.BigEndian.Uint32(f[16:]) != 0 {
			return nil
		}
		f[4+at] ^= 1
		return [][]byte{f}
	})
}

func event(f []byte) bool {
	return len(f) >= 32 && int32(binary.BigEndian.Uint32(f[4:])) == protocol.XidNotification
}

// TestPlantedFaults: the tester finds what a server does wrong. Two real
// servers run the same programs, and a proxy changes one thing in what the
// second one says.
func TestPlantedFaults(t *testing.T) {
	const (
		header = protocol.ReplyHeaderSize
		stat   = header + protocol.StatSize
	)
	var held []byte
	faults := map[string]func() tamper{
		"xid":            func() tamper { return flip(header, 3) },
		"zxid":           func() tamper { return flip(header, 11) },
		"error":          func() tamper { return flip(header, 15) },
		"stat's czxid":   func() tamper { return flip(stat, header+7) },
		"stat's mtime":   func() tamper { return flip(stat, header+30) },
		"stat's version": func() tamper { return flip(stat, header+35) },
		"stat's pzxid":   func() tamper { return flip(stat, stat-1) },
		"last byte":      func() tamper { return flip(header+4, header+3) },
		"handshake":      func() tamper { return flip(36, 7) },
		"a byte too many": func() tamper {
			return once(func(f []byte) [][]byte {
				if len(f) != 4+stat {
					return nil
				}
				binary.BigEndian.PutUint32(f, uint32(len(f)-3))
				return [][]byte{append(f, 0)}
			})
		},
		"event lost":  func() tamper { return once(func(f []byte) [][]byte { return eventOnly(f, [][]byte{}) }) },
		"event twice": func() tamper { return once(func(f []byte) [][]byte { return eventOnly(f, [][]byte{f, f}) }) },
		"event's type": func() tamper {
			return once(func(f []byte) [][]byte {
				if !event(f) {
					return nil
				}
				f[4+header+3] ^= 1
				return [][]byte{f}
			})
		},
		"event behind the reply": func() tamper {
			held = nil
			return func(f []byte) [][]byte {
				if event(f) && held == nil {
					held = f
					return nil
				}
				if len(held) > 0 && !event(f) {
					frames := [][]byte{f, held}
					held = []byte{}
					return frames
				}
				return [][]byte{f}
			}
		},
	}
	p, between := proxied(t, profile{start: alone})
	prog := generate(7, shape{requests: 150})
	if d, _, err := p.run(prog); err != nil || d != nil {
		t.Fatalf("without a fault: %+v, %v", d, err)
	}
	for name, fault := range faults {
		// One program may have nothing to tamper with in the right place; no
		// fault is to survive several.
		found := false
		for seed := uint64(1); seed <= 8 && !found; seed++ {
			prog := generate(seed, shape{requests: 150})
			change := fault()
			between.tamper.Store(&change)
			d, _, err := p.run(prog)
			between.tamper.Store(nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			found = d != nil
		}
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
}

func eventOnly(f []byte, frames [][]byte) [][]byte {
	if !event(f) {
		return nil
	}
	return frames
}

// proxied is a pair of two real servers with a proxy before the second.
func proxied(t *testing.T, of profile) (*pair, *proxy) {
	between := &proxy{}
	p := of.pair(t, realName, zkprocess.ZooKeeper)
	direct := p.start[1]
	p.start[1] = func(t *testing.T) *side {
		s := direct(t)
		s.addrs = []string{between.listen(t, s.addrs[0])}
		return s
	}
	p.restart()
	return p, between
}

// TestPlantedFaultInWait: what gets lost while a program waits is found too.
func TestPlantedFaultInWait(t *testing.T) {
	p, between := proxied(t, named("LifeCycles"))
	prog := generate(1, shape{requests: 60, waits: true})
	change := once(func(f []byte) [][]byte {
		goes := bytes.Contains(f, []byte("/con")) || bytes.Contains(f, []byte("/ttl")) || bytes.Contains(f, []byte("/eph"))
		if !event(f) || !goes || f[4+protocol.ReplyHeaderSize+3] != byte(protocol.NodeDeleted) {
			return nil
		}
		return [][]byte{}
	})
	between.tamper.Store(&change)
	if d, _, err := p.run(prog); err != nil || d == nil {
		t.Errorf("a lost event: difference %v, %v", d, err)
	}
}

// TestUnmet: an answer that only one side gave is missing, and one that is not
// expected is named.
func TestUnmet(t *testing.T) {
	a := answers{}
	for row, columns := range expected {
		for _, column := range strings.Fields(columns) {
			a.add(0, row, strings.ReplaceAll(column, "_", " "))
			a.add(1, row, strings.ReplaceAll(column, "_", " "))
		}
	}
	if missing, surprising := a.unmet(); len(missing)+len(surprising) > 0 {
		t.Fatalf("of everything: %q are missing, %q are surprising", missing, surprising)
	}
	a["delete"]["NotEmpty"] = &[2]int{7, 0}
	a.add(1, "ping", "NoNode")
	missing, surprising := a.unmet()
	if !slices.Equal(missing, []string{"delete: NotEmpty"}) || !slices.Equal(surprising, []string{"ping: NoNode"}) {
		t.Errorf("%q are missing, %q are surprising", missing, surprising)
	}
}
