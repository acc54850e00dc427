#!/bin/bash
# Stands in for tests/zkServer.sh of the C client, which its tests run in the
# folder that they are started in:
#
#     ./tests/zkServer.sh startClean|start|startCleanReadOnly|stop [ignored]
#
# The server, its data and its log are in that folder. It has no TLS port, since
# the tests are built without OpenSSL. SUITES_LAUNCH is the folder of this script.
set -euo pipefail

if [ -f pid ]; then
	pid=$(cat pid)
	kill -9 "$pid" 2>/dev/null || true # it may have ended
	while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
	rm -f pid
fi

members=
flags="-Dzookeeper.extendedTypesEnabled=true -Dznode.container.checkIntervalMs=100"
case ${1:-} in
stop) exit 0 ;;
start) ;;
startClean) rm -rf data ;;
startCleanReadOnly) # one of three: there is no quorum
	rm -rf data
	flags="$flags -Dreadonlymode.enabled=true"
	members=$(printf 'server.%d=localhost:%d:%d\n' 1 22881 33881 2 22882 33882 3 22883 33883)
	;;
*)
	echo "unknown command ${1:-}" >&2
	exit 2
	;;
esac
mkdir -p data
echo 1 >data/myid
cat >zoo.cfg <<-END
	tickTime=500
	initLimit=10
	syncLimit=5
	dataDir=$PWD/data
	maxClientCnxns=${ZKMAXCNXNS:-100}
	localSessionsEnabled=true
	clientPort=22181
	admin.enableServer=false
	4lw.commands.whitelist=srvr,isro
	$members
END
SERVER_JVMFLAGS=$flags "$SUITES_LAUNCH/zkServer.sh" start-foreground "$PWD/zoo.cfg" >>log 2>&1 </dev/null &
echo $! >pid

# Theirs waits for a server without a quorum by the clock. This waits until it is
# read-only; one that never is makes the test fail, not this script.
word=srvr answer='^Mode: '
if [ "$1" = startCleanReadOnly ]; then word=isro answer=^ro; fi
for _ in {1..300}; do
	if { exec 3<>/dev/tcp/127.0.0.1/22181; } 2>/dev/null; then
		printf %s "$word" >&3
		# A ZooKeeper that is about to start may leave the connection open, without an answer.
		if timeout 2 grep -q "$answer" <&3; then exit 0; fi
		exec 3>&-
	fi
	kill -0 "$(cat pid)" || break
	sleep 0.1
done
if [ "$1" = startCleanReadOnly ]; then exit 0; fi
echo "the server does not serve: $(tail -n 5 log)" >&2
exit 1
