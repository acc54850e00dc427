#!/usr/bin/env bash
# install.sh APPLICATION brings a real application onto this machine, as its
# directory here pins it: pom.xml is what of Maven Central, packages what of Debian,
# one name a line, which only root can install.
#
# A pom.xml needs java, javac and mvn. Safe to run again: does nothing when all is
# there already. Prints the application's directory in the cache: jars/ is its
# class path.
set -euo pipefail
application=${1:?usage: install.sh APPLICATION}
pins=$(cd "$(dirname "${BASH_SOURCE[0]}")/$application" && pwd)
cache=${COORDD_TEST_CACHE:-$HOME/.cache/coordd-test}/applications/$application
mkdir -p "$cache"

# One run at a time, also of different applications: apt-get has one lock.
exec 9>"$cache/../lock"
flock 9

if [ -f "$pins/pom.xml" ]; then
	for tool in java javac mvn; do
		command -v "$tool" >/dev/null || { echo "install.sh: $tool not found" >&2; exit 1; }
	done
	pin=$(sha256sum <"$pins/pom.xml")
	if [ "$(cat "$cache/jars.pin" 2>/dev/null)" != "$pin" ]; then
		rm -rf "$cache/jars" "$cache/jars.pin"
		mvn -q -B -Dstyle.color=never -f "$pins/pom.xml" dependency:copy-dependencies \
			-DincludeScope=runtime -DoutputDirectory="$cache/jars" >&2
		echo "$pin" >"$cache/jars.pin"
	fi
fi

if [ -f "$pins/packages" ]; then
	missing=()
	while read -r package; do
		dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
	done <"$pins/packages"
	if [ ${#missing[@]} -gt 0 ]; then
		[ "$(id -u)" = 0 ] || { echo "install.sh: Debian's ${missing[*]} not found, and only root can install them" >&2; exit 1; }
		apt-get -qq update >&2
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
	fi
fi

echo "$cache"
