#!/bin/sh
# For scripts, unit files and test suites that start a ZooKeeper by its script:
#
#     zkServer.sh [--config DIR] {start|start-foreground|stop|version|restart|status|print-cmd} [FILE]
#
# FILE is a zoo.cfg, or the name of one in DIR. What it prints and its exit codes
# are those of ZooKeeper's zkServer.sh. From the environment come ZOOCFGDIR
# (../conf beside this script), ZOOCFG (zoo.cfg), ZOO_LOG_DIR (../logs) and
# ZOOPIDFILE (zookeeper_server.pid in dataDir). JVMFLAGS and the like mean nothing here.
#
# coordd is $COORDD_BIN, or coordd beside this script, or ../../bin/coordd from
# it, or the one on PATH.
set -u
bin=$(cd "$(dirname "$0")" && pwd)

usage() {
	echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd} [config-file]"
	exit 1
}

if [ "${1:-}" = --config ]; then
	[ $# -ge 2 ] || usage
	ZOOCFGDIR=$2
	if [ ! -d "$ZOOCFGDIR" ]; then
		echo "no directory $ZOOCFGDIR" >&2
		exit 1
	fi
	shift 2
fi
command=${1:-}
ZOOCFGDIR=${ZOOCFGDIR:-$bin/../conf}
ZOO_LOG_DIR=${ZOO_LOG_DIR:-$bin/../logs}
config=${2:-${ZOOCFG:-zoo.cfg}}
case $config in
*/*) ;;
*) config=$ZOOCFGDIR/$config ;;
esac

coordd=${COORDD_BIN:-}
for candidate in "$bin/coordd" "$bin/../../bin/coordd"; do
	[ -z "$coordd" ] && [ -x "$candidate" ] && coordd=$candidate
done
coordd=${coordd:-$(command -v coordd)} || {
	echo "no coordd: set COORDD_BIN to its path" >&2
	exit 1
}

# setting prints the value of key $1 in the configuration.
setting() {
	sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$config" | sed 's/[[:space:]]*$//' | tail -n 1
}

# useConfig says which configuration counts, as ZooKeeper's script does.
useConfig() {
	echo "Using config: $config" >&2
	if [ ! -r "$config" ]; then
		echo "cannot read $config" >&2
		exit 1
	fi
}

# findPidFile sets pidfile, and makes its directory.
findPidFile() {
	useConfig
	dataDir=$(setting dataDir)
	if [ -z "$dataDir" ]; then
		echo "no dataDir in $config" >&2
		exit 1
	fi
	pidfile=${ZOOPIDFILE:-$dataDir/zookeeper_server.pid}
	if [ ! -d "$(dirname "$pidfile")" ] && [ -z "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]; then
		mkdir -p "$(dirname "$pidfile")" || exit 1
	fi
}

# running prints the process id in the pid file, if that process lives.
running() {
	[ -f "$pidfile" ] || return 1
	pid=$(cat "$pidfile")
	kill -0 "$pid" 2>/dev/null && echo "$pid"
}

start() {
	findPidFile
	printf 'Starting zookeeper ... '
	if pid=$(running); then
		echo "already running as process $pid."
		exit 1
	fi
	mkdir -p "$ZOO_LOG_DIR" || exit 1
	log=$ZOO_LOG_DIR/zookeeper-$(id -un)-server-$(uname -n).out
	nohup "$coordd" start --config "$config" >"$log" 2>&1 </dev/null &
	pid=$!
	if ! echo "$pid" >"$pidfile"; then
		kill "$pid"
		echo "FAILED TO WRITE PID"
		exit 1
	fi
	sleep 1
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "FAILED TO START"
		tail -n 5 "$log" >&2
		exit 1
	fi
	echo STARTED
}

# stop waits for the end of the server, which writes what it has to disk.
stop() {
	findPidFile
	printf 'Stopping zookeeper ... '
	if [ ! -f "$pidfile" ]; then
		echo "no zookeeper to stop (could not find file $pidfile)"
		return
	fi
	if pid=$(running); then
		kill "$pid"
		waited=0
		while kill -0 "$pid" 2>/dev/null; do
			if [ $waited -ge 300 ]; then
				echo "process $pid does not end"
				exit 1
			fi
			sleep 0.1
			waited=$((waited + 1))
		done
	fi
	rm -f "$pidfile"
	echo STOPPED
}

status() {
	useConfig
	port=$(setting clientPort)
	address=$(setting clientPortAddress)
	[ -z "$port" ] || echo "Client port found: $port. Client address: ${address:-localhost}. Client SSL: false."
	if ! answer=$("$coordd" status --config "$config" 2>/dev/null); then
		echo "Error contacting service. It is probably not running."
		exit 1
	fi
	echo "$answer" | grep '^Mode: '
}

case $command in
start) start ;;
start-foreground)
	useConfig
	exec "$coordd" start --config "$config"
	;;
stop) stop ;;
restart)
	stop
	start
	;;
status) status ;;
version) exec "$coordd" version ;;
print-cmd) echo "$coordd start --config $config" ;;
*) usage ;;
esac
