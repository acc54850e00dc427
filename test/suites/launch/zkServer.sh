#!/bin/sh
# What foreign test suites call to start a server, `zkServer.sh start-foreground
# zoo.cfg`; the process becomes the server itself. SUITES_SERVER names the server:
#
# - test/clients/zookeeper.sh, a real ZooKeeper, gets the file and the JVM flags as they are;
# - anything else is coordd. Both suites turn on what it does not have, though few of
#   their tests need that, so the lines in question are left out: what a test misses
#   by it fails by name. The flags that matter become lines.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -ne 2 ] || [ "$1" != start-foreground ]; then
	echo "usage: zkServer.sh start-foreground FILE" >&2
	exit 2
fi
config=$2

case $SUITES_SERVER in
*/zookeeper.sh) exec "$SUITES_SERVER" start --config "$config" ;;
esac

own=$(dirname "$config")/coordd.cfg
grep -vE '^(secureClientPort|ssl\.[A-Za-z.]+|authProvider\.1|reconfigEnabled)=' "$config" >"$own"
for flag in ${SERVER_JVMFLAGS:-}; do
	flag=${flag#-D}
	flag=${flag#zookeeper.}
	case $flag in
	DigestAuthenticationProvider.superDigest=* | extendedTypesEnabled=* | readonlymode.enabled=* | znode.container.checkIntervalMs=*) echo "$flag" >>"$own" ;;
	esac
done
export COORDD_BIN="$SUITES_SERVER"
exec "$here/../../../deploy/bin/zkServer.sh" start-foreground "$own"
