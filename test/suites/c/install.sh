#!/usr/bin/env bash
# Builds zktest-mt, the tests of ZooKeeper's C client, from Debian's source package
# into the cache of ../../clients/install.sh, and prints its path. Does nothing when
# it is there. Needs apt-get with Debian's archive, and the packages named below.
#
# It is built as Debian builds the client, but without OpenSSL and SASL: coordd has
# neither TLS nor SASL yet.
set -euo pipefail
version=3.8.0-11+deb12u2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(dirname "$("$here/../../clients/install.sh")")
built=$cache/c-client-$version

# One run at a time.
exec 9>"$cache/c-client.lock"
flock 9
if [ -x "$built/zktest-mt" ]; then
	echo "$built/zktest-mt"
	exit
fi

[ -e /usr/include/cppunit/Test.h ] && command -v g++ autoreconf libtoolize aclocal make dpkg-source java >/dev/null || {
	echo "c/install.sh needs Debian's libcppunit-dev g++ autoconf automake libtool make dpkg-dev" >&2
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Sources are in lists of their own: /etc/apt stays as it is.
mkdir -p lists/partial cache/archives/partial
echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' >sources.list
apt=(apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache")
{
	"${apt[@]}" update
	"${apt[@]}" source --download-only "zookeeper=$version"
	dpkg-source -x ./*.dsc source
	cd source/zookeeper-client/zookeeper-client-c
	# The build makes these by ant or Maven; the compiler is in every release's jar.
	mkdir generated
	(cd generated && java -cp "$cache/versions/zookeeper-jute-3.8.4.jar" org.apache.jute.compiler.generated.Rcc \
		-l c ../../../zookeeper-jute/src/main/resources/zookeeper.jute)
	autoreconf -if
	./configure --without-openssl --without-sasl
	# tests/Util.cc forgets time.h, which other versions of cppunit include.
	make -j2 zktest-mt CXXFLAGS="-O1 -std=c++11 -include time.h"
	mkdir -p "$built"
	cp zktest-mt "$built"
} >log 2>&1 || {
	tail -n 50 "$work/log" >&2
	exit 1
}
echo "$built/zktest-mt"
