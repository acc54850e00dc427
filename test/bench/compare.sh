#!/usr/bin/env bash
# Go's own benchmarks on a revision and on the tree as it is, in turn, and what
# benchstat says of both:
#
#     compare.sh REVISION BENCH-REGEXP COUNT [PACKAGE...]
#
# Without packages: all that have benchmarks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ $# -lt 3 ] || [ -z "$1" ]; then
	echo "usage: make bench-compare REV=revision [BENCH=regexp] [COUNT=6] [PKGS=./fsm]" >&2
	exit 2
fi
revision=$1 bench=$2 count=$3
shift 3
packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
	mapfile -t packages < <(git grep -l '^func Benchmark' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|')
fi
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
dir=$(mktemp -d -t coordd-compare.XXXXXX)
trap 'git worktree remove --force "$dir/tree" 2>/dev/null || true; rm -rf "$dir"' EXIT
git worktree add --quiet --detach "$dir/tree" "$revision"
here=$PWD
for _ in $(seq "$count"); do
	for side in then now; do
		if [ "$side" = then ]; then cd "$dir/tree"; else cd "$here"; fi
		for package in "${packages[@]}"; do
			if [ -d "$package" ]; then # the revision may not have it yet
				go test -run '^$' -bench "$bench" -benchmem -count 1 "$package" | tee -a "$dir/$side"
			fi
		done
	done
done
cd "$here"
go run "$benchstat" "$revision=$dir/then" "tree=$dir/now"
