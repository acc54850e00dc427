#!/usr/bin/env bash
# ZooKeeper's own command line client, where its scripts are not installed:
#
#     zkCli.sh [--config DIR] [-server HOST:PORT,...] [-timeout MS] [-r] ... [COMMAND ARGS...]
#
# Everything but --config goes to org.apache.zookeeper.ZooKeeperMain, a Java
# program that is no part of coordd. Its jars are taken from $ZOOKEEPER_HOME (an
# unpacked apache-zookeeper-*-bin), from the folder above this script if it is
# such a one, or from $CLASSPATH. JAVA_HOME, JVMFLAGS, CLIENT_JVMFLAGS,
# ZK_CLIENT_HEAP, ZOOCFGDIR and its java.env mean what they mean in ZooKeeper's
# zkCli.sh.
set -euo pipefail
home=${ZOOKEEPER_HOME:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
if [ $# -gt 1 ] && [ "$1" = --config ]; then
	ZOOCFGDIR=$2
	shift 2
fi
: "${ZOOCFGDIR:=$home/conf}"
for settings in zookeeper-env.sh java.env; do
	if [ -f "$ZOOCFGDIR/$settings" ]; then
		set +u # they are written for scripts that allow unset variables
		# shellcheck source=/dev/null
		. "$ZOOCFGDIR/$settings"
		set -u
	fi
done

if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
	java=$JAVA_HOME/bin/java
elif ! java=$(command -v java); then
	echo "zkCli.sh: no Java: install one (for example default-jre-headless) or set JAVA_HOME" >&2
	exit 1
fi
if compgen -G "$home/lib/zookeeper-*.jar" >/dev/null; then
	CLASSPATH="$home/lib/*${CLASSPATH:+:$CLASSPATH}"
elif [ -n "${ZOOKEEPER_HOME:-}" ]; then
	echo "zkCli.sh: no zookeeper-*.jar in $home/lib: ZOOKEEPER_HOME must be an unpacked apache-zookeeper-*-bin" >&2
	exit 1
elif [ -z "${CLASSPATH:-}" ]; then
	echo "zkCli.sh: no ZooKeeper client: set ZOOKEEPER_HOME to an unpacked apache-zookeeper-*-bin, or CLASSPATH to its jars" >&2
	exit 1
fi
# The folder with logback.xml comes first; without one, Logback prints debug lines.
# shellcheck disable=SC2086 # several flags
exec "$java" "-Xmx${ZK_CLIENT_HEAP:-256}m" ${CLIENT_JVMFLAGS:-} ${JVMFLAGS:-} \
	-cp "$ZOOCFGDIR:$CLASSPATH" org.apache.zookeeper.ZooKeeperMain "$@"
