#!/usr/bin/env bash
# Builds the container image from a static coordd:
#
#     build.sh BINARY TAG...
#
# Works without a network. DOCKER_HOST chooses the engine, as for docker itself.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -lt 2 ]; then
	echo "usage: build.sh BINARY TAG..." >&2
	exit 2
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
# Folders that the image has empty, for its user to write to.
mkdir "$context/conf" "$context/data" "$context/datalog"
install -m 755 "$1" "$context/coordd"
tags=()
for tag in "${@:2}"; do
	tags+=(--tag "$tag")
done
docker build --quiet "${tags[@]}" --file "$here/Dockerfile" "$context"
