#!/usr/bin/env bash
# Three coordd servers on this machine, for trying things out:
#
#     cluster.sh start|stop|status
#
# Server N listens on 127.0.0.N and has its zoo.cfg, log, pid and data in
# ./cluster/server.N, which start writes only where it is missing: edit it, then
# stop and start. COORDD names the binary (bin/coordd), CLUSTER the folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
binary=${COORDD:-bin/coordd}
root=${CLUSTER:-cluster}

# running prints the pid of server $1 if that process still is our coordd.
running() {
	local pid
	pid=$(cat "$root/server.$1/pid" 2>/dev/null) || return 1
	kill -0 "$pid" 2>/dev/null || return 1
	ps -o args= -p "$pid" | grep -qF "$root/server.$1/zoo.cfg" || return 1
	echo "$pid"
}

configure() {
	local dir=$root/server.$1
	mkdir -p "$dir/data"
	[ -e "$dir/data/myid" ] || echo "$1" >"$dir/data/myid"
	[ -e "$dir/zoo.cfg" ] || cat >"$dir/zoo.cfg" <<END
tickTime=2000
initLimit=10
syncLimit=5
dataDir=$dir/data
clientPort=2181
clientPortAddress=127.0.0.$1
admin.serverAddress=127.0.0.$1
admin.serverPort=8080
4lw.commands.whitelist=*
server.1=127.0.0.1:2888:3888
server.2=127.0.0.2:2888:3888
server.3=127.0.0.3:2888:3888
END
}

start() {
	for n in 1 2 3; do
		configure $n
		if running $n >/dev/null; then
			echo "server.$n runs already"
			continue
		fi
		nohup "$binary" start --config "$root/server.$n/zoo.cfg" >>"$root/server.$n/log" 2>&1 </dev/null &
		echo $! >"$root/server.$n/pid"
	done
	local deadline=$((SECONDS + 30)) n
	for n in 1 2 3; do
		until "$binary" status --config "$root/server.$n/zoo.cfg" >/dev/null 2>&1; do
			if ! running $n >/dev/null || [ $SECONDS -ge $deadline ]; then
				echo "server.$n does not serve; the end of $root/server.$n/log:" >&2
				tail -n 5 "$root/server.$n/log" >&2
				exit 1
			fi
			sleep 0.1
		done
	done
	status
	echo "clients: zkCli.sh -server 127.0.0.1:2181,127.0.0.2:2181,127.0.0.3:2181"
}

status() {
	local n pid
	for n in 1 2 3; do
		if pid=$(running $n); then
			mode=$("$binary" status --config "$root/server.$n/zoo.cfg" 2>/dev/null | sed -n 's/^Mode: //p')
			echo "server.$n  pid $pid  ${mode:-not serving}  clients 127.0.0.$n:2181  admin http://127.0.0.$n:8080/commands  between servers 2888, 3888  log $root/server.$n/log"
		else
			echo "server.$n  stopped"
		fi
	done
}

stop() {
	local n pid
	for n in 1 2 3; do
		if pid=$(running $n); then
			kill "$pid"
		fi
	done
	for n in 1 2 3; do
		for _ in $(seq 100); do
			running $n >/dev/null || break
			sleep 0.1
		done
		if pid=$(running $n); then
			echo "server.$n (pid $pid) does not stop" >&2
			exit 1
		fi
		rm -f "$root/server.$n/pid"
	done
}

case ${1:-} in
start | stop | status) "$1" ;;
*)
	echo "usage: cluster.sh start|stop|status" >&2
	exit 2
	;;
esac
