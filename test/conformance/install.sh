#!/usr/bin/env bash
# Brings ZooKeeper's and Curator's own tests onto this machine, at the versions
# pinned in java/pom.xml, and compiles java/src, which puts coordd in the place of
# the servers that they start.
#
# Needs java, javac and mvn. Safe to run again: does nothing when the cache already
# matches. Prints the directory: jars/ has the tests and what they need, classes/
# what was compiled.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${COORDD_TEST_CACHE:-$HOME/.cache/coordd-test}/conformance
mkdir -p "$cache"

for tool in java javac mvn; do
	command -v "$tool" >/dev/null || { echo "install.sh: $tool not found" >&2; exit 1; }
done

exec 9>"$cache/lock"
flock 9

pin=$(sha256sum <"$here/java/pom.xml")
if [ "$(cat "$cache/jars.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/jars" "$cache/jars.pin" "$cache/classes.pin"
	mvn -q -B -Dstyle.color=never -f "$here/java/pom.xml" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$cache/jars" >&2
	echo "$pin" >"$cache/jars.pin"
fi

pin=$(find "$here/java/src" -type f -print0 | sort -z | xargs -0 sha256sum)
if [ "$(cat "$cache/classes.pin" 2>/dev/null)" != "$pin" ]; then
	rm -rf "$cache/classes" "$cache/classes.pin"
	find "$here/java/src" -name '*.java' -print0 |
		xargs -0 javac -nowarn -Xlint:none -proc:none --release 11 -cp "$cache/jars/*" -d "$cache/classes" >&2
	echo "$pin" >"$cache/classes.pin"
fi

echo "$cache"
