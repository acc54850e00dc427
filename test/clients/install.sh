#!/usr/bin/env bash
# Brings the other side of the client tests onto this machine: a real Apache
# ZooKeeper (server, zkCli, Java client) and a Python with kazoo, at the versions
# pinned in java/pom.xml and python/requirements.txt.
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

pin=$(sha256sum <"$here/python/requirements.txt")
if [ "$(cat "$cache/python.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/venv" "$cache/python.pin"
	python3 -m venv "$cache/venv"
	"$cache/venv/bin/pip" install -q -r "$here/python/requirements.txt" >&2
	echo "$pin" >"$cache/python.pin"
fi

echo "$cache/classpath"
