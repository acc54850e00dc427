package replica

import (
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// wirePool is how many idle connections a peer gets.
const wirePool = 3

// Layer listens for and dials the connections of Raft's own transport, after
// the handshake between servers.
type Layer interface {
	net.Listener
	DialAddr(addr string, timeout time.Duration) (net.Conn, error)
	// AddrOf is where to dial a server; empty if it is not known.
	AddrOf(id uint8) string
}

type streamLayer struct{ Layer }

func (l streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return l.DialAddr(string(addr), timeout)
}

// ServerAddr implements raft.ServerAddressProvider: servers may have moved since
// their addresses were logged.
func (l streamLayer) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr := l.AddrOf(memberID(id))
	if addr == "" {
		return "", fmt.Errorf("no address of server %s is known", id)
	}
	return raft.ServerAddress(addr), nil
}

// NewWire puts Raft's TCP transport on layer. addr is what the other members
// dial. Close ends it together with the layer.
func NewWire(layer Layer, addr string, logger hclog.Logger) (wire Wire, maxPool int) {
	stream := streamLayer{layer}
	return namedWire{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                stream,
		ServerAddressProvider: stream,
		MaxPool:               wirePool,
		MaxRPCsInFlight:       64,
		Timeout:               10 * time.Second,
		Logger:                logger,
	}), raft.ServerAddress(addr)}, wirePool
}

// namedWire answers with the configured address: the listener's may be the
// wildcard.
type namedWire struct {
	*raft.NetworkTransport
	addr raft.ServerAddress
}

func (w namedWire) LocalAddr() raft.ServerAddress { return w.addr }

// Close also closes the pooled connections, which the library's own leaves open.
func (w namedWire) Close() error {
	err := w.NetworkTransport.Close()
	w.CloseStreams()
	return err
}

// NewLocalWire is the in-process transport of a server that runs alone.
func NewLocalWire() (wire Wire, maxPool int) {
	_, w := raft.NewInmemTransport("standalone")
	return w, 0
}

// OpenStorage opens log and stable store in logDir and snapshots in dataDir,
// which must exist.
func OpenStorage(store, dataDir, logDir string, keep int, o LogOptions) (Storage, error) {
	var s Storage
	var err error
	if s.Stable, err = OpenVoteStore(logDir); err != nil {
		return s, err
	}
	if s.Logs, err = OpenLogStore(store, logDir, o); err != nil {
		s.Stable.Close()
		return s, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(filepath.Clean(dataDir), keep, o.Logger)
	if err != nil {
		s.Logs.Close()
		s.Stable.Close()
		return s, fmt.Errorf("open snapshot store: %w", err)
	}
	s.Snapshots = snaps
	return s, nil
}
