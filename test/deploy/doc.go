// Package deploy runs what deploy/ has to offer: the image and the compose file
// in a Docker engine of its own, the systemd unit through systemd-analyze, and
// zkCli.sh at a running server. It has only tests, behind a build tag:
//
//	COORDD_BIN=/path/to/coordd go test -count=1 -tags deploy ./test/deploy
//
// It needs root, dockerd, docker, docker-compose (or docker's compose plugin),
// systemd-analyze and what test/clients/install.sh brings. The tests and all that
// they start have namespaces of their own for network, mounts and processes: they
// touch no engine, port, bridge or firewall rule of the machine, and nothing of
// them outlives the test.
package deploy
