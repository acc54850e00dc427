#!/usr/bin/env bash
# coordd and a real ZooKeeper 3.9.4 under the same load, in turn:
#
#     SERVERS=3 bench.sh --ops set --outstanding 256    # any arguments of `coordd bench`
#
# Starts SERVERS (1 or 3) of each on loopback, with fsync on, and ends them.
# COORDD names the binary (bin/coordd); SERVER_JVMFLAGS changes ZooKeeper's JVM,
# which has 1 GiB and Java's own defaults. Data goes to a new folder in TMPDIR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
binary=$(realpath "${COORDD:-bin/coordd}")
count=${SERVERS:-1}
export SERVER_JVMFLAGS="-Xmx1g -XX:-UseSerialGC -XX:+UseG1GC -XX:TieredStopAtLevel=4 ${SERVER_JVMFLAGS:-}"
root=$(mktemp -d -t coordd-bench.XXXXXX)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$root"' EXIT

# launch starts the servers of one kind, from program $2 on 127.0.0.$3 upwards,
# and puts their client addresses into `addresses`.
launch() {
	local kind=$1 program=$2 first=$3 n dir host members=""
	if [ "$count" -gt 1 ]; then
		for n in $(seq "$count"); do
			members+="server.$n=127.0.0.$((first + n)):12888:13888"$'\n'
		done
	fi
	addresses=""
	for n in $(seq "$count"); do
		dir=$root/$kind.$n host=127.0.0.$((first + n))
		mkdir -p "$dir/data"
		echo "$n" >"$dir/data/myid"
		printf '%s\n' tickTime=2000 initLimit=10 syncLimit=5 maxClientCnxns=0 admin.enableServer=false '4lw.commands.whitelist=*' \
			"dataDir=$dir/data" clientPort=12181 "clientPortAddress=$host" "$members" >"$dir/zoo.cfg"
		"$program" start --config "$dir/zoo.cfg" >"$dir/log" 2>&1 &
		pids+=($!)
		addresses+=${addresses:+,}$host:12181
	done
	for n in $(seq "$count"); do
		for _ in $(seq 300); do
			if "$binary" status --config "$root/$kind.$n/zoo.cfg" >/dev/null 2>&1; then
				continue 2
			fi
			sleep 0.1
		done
		echo "$kind $n does not serve; the end of its log:" >&2
		tail -n 5 "$root/$kind.$n/log" >&2
		exit 1
	done
}

launch coordd "$binary" 60
coordd=$addresses
launch zookeeper "$PWD/test/clients/zookeeper.sh" 70
"$binary" bench --compare "coordd=$coordd" --compare "zookeeper=$addresses" "$@"
