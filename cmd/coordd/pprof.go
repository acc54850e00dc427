package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/urfave/cli/v2"
)

func pprofFlag() cli.Flag {
	return &cli.StringFlag{Name: "pprof", EnvVars: []string{"COORDD_PPROF"}, Usage: "serve Go's profiles at http://`ADDR`/debug/pprof/, on this machine alone (port 0 chooses one)", DefaultText: "off"}
}

// servePprof serves profiles until the returned function is called. Whoever
// reads them sees what is in memory, so they are for this machine alone.
func servePprof(addr string) (listening net.Addr, stop func(), err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("--pprof: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, nil, fmt.Errorf("--pprof: %q is not a loopback address such as 127.0.0.1", host)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("--pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(listener) }() // it ends with stop
	return listener.Addr(), func() { _ = s.Close() }, nil
}
