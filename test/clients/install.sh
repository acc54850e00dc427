#!/usr/bin/env bash
# Brings the other side of the client tests onto this machine: a real Apache
# ZooKeeper (server, zkCli, Java client) and a Python with kazoo, at the versions
# pinned in java/pom.xml and python/requirements.txt, and the Java clients of other
# releases (java/versions/pom.xml); where there is npm, also the Node client of
# node/package-lock.json.
#
# With the argument "suites", also a Python that can run kazoo's own tests
# (../suites/requirements.txt).
#
# Needs java, mvn and python3. Safe to run again: does nothing when the cache
# already matches the pins. Prints the path of the classpath file, whose content
# is a value for `java -cp`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${COORDD_TEST_CACHE:-$HOME/.cache/coordd-test}
mkdir -p "$cache"

for tool in java javac mvn python3; do
	command -v "$tool" >/dev/null || { echo "install.sh: $tool not found" >&2; exit 1; }
done

# One run at a time: test processes of several packages may start together.
exec 9>"$cache/lock"
flock 9

pin=$(sha256sum <"$here/java/pom.xml")
if [ "$(cat "$cache/java.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/jars" "$cache/java.pin"
	mvn -q -B -Dstyle.color=never -f "$here/java/pom.xml" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$cache/jars" >&2
	printf '%s/*' "$cache/jars" >"$cache/classpath"
	echo "$pin" >"$cache/java.pin"
fi

pin=$(sha256sum <"$here/java/versions/pom.xml")
if [ "$(cat "$cache/versions.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/versions" "$cache/versions.pin"
	mvn -q -B -Dstyle.color=never -f "$here/java/versions/pom.xml" dependency:copy \
		-DoutputDirectory="$cache/versions" >&2
	echo "$pin" >"$cache/versions.pin"
fi

# environment DIRECTORY PIN REQUIREMENTS makes a Python environment in the cache.
# The requirements are complete, so pip has nothing to resolve.
environment() {
	local venv=$cache/$1 pinned=$cache/$2 pin
	pin=$(sha256sum <"$3")
	[ "$(cat "$pinned" 2>/dev/null)" != "$pin" ] || return 0
	rm -rf "$venv" "$pinned"
	python3 -m venv "$venv"
	"$venv/bin/pip" install -q --no-deps -r "$3" >&2
	echo "$pin" >"$pinned"
}
environment venv python.pin "$here/python/requirements.txt"
[ "${1:-}" != suites ] || environment suites-venv suites.pin "$here/../suites/requirements.txt"

pin=$(sha256sum <"$here/node/package-lock.json")
if command -v npm >/dev/null && [ "$(cat "$cache/node.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/node" "$cache/node.pin"
	mkdir "$cache/node"
	cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node"
	cd "$cache/node"
	npm ci --ignore-scripts --no-audit --no-fund --loglevel error >&2
	echo "$pin" >"$cache/node.pin"
fi

echo "$cache/classpath"
