#!/usr/bin/env bash
# A real ZooKeeper that is started the way coordd is:
#
#     zookeeper.sh start --config zoo.cfg
#
# so the tests run either by its path, and COORDD_BIN=test/clients/zookeeper.sh
# tests the tests. Runs in the foreground; the process is the server itself.
# SERVER_JVMFLAGS adds JVM flags, as it does for ZooKeeper's own zkServer.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -ne 3 ] || [ "$1 $2" != "start --config" ]; then
	echo "usage: zookeeper.sh start --config FILE" >&2
	exit 2
fi
classpath=$(cat "$("$here/install.sh")")
# shellcheck disable=SC2086 # several flags
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 ${SERVER_JVMFLAGS:-} \
	-cp "$here/java:$classpath" org.apache.zookeeper.server.quorum.QuorumPeerMain "$3"
