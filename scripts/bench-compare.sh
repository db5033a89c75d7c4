#!/usr/bin/env bash
# Compares the benchmarks of the working tree with those of another revision:
#
#   BASE=main BENCH=Start PKG=./raft COUNT=10 scripts/bench-compare.sh
#
# BASE is built in a temporary worktree. The two sides run in turn, COUNT times each,
# so that a machine that becomes slower slows both. benchstat prints the comparison.
# BENCHTIME, if set, goes to -benchtime.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go} base=${BASE:?BASE is the revision to compare with, such as main} count=${COUNT:-6}
bench=${BENCH:-.}
read -r -a packages <<<"${PKG:?PKG is the package with the benchmarks, such as ./raft}"
git rev-parse --verify --quiet "$base^{commit}" >/dev/null || { echo "bench-compare: $base is no revision"; exit 64; }

tmp=$(mktemp -d)
trap 'git worktree remove --force "$tmp/tree" 2>/dev/null || true; rm -rf "$tmp"' EXIT
git worktree add --quiet --detach "$tmp/tree" "$base"
here=$PWD

# build SIDE DIR: the test binaries of all packages.
build() {
	for i in "${!packages[@]}"; do
		(cd "$2" && $go test -c -o "$tmp/$1-$i.test" "${packages[$i]}")
	done
}
build base "$tmp/tree"
build head "$here"

# run SIDE DIR: each benchmark once.
run() {
	for i in "${!packages[@]}"; do
		(cd "$2/${packages[$i]}" && "$tmp/$1-$i.test" -test.run '^$' -test.bench "$bench" -test.benchmem \
			${BENCHTIME:+-test.benchtime "$BENCHTIME"}) >>"$tmp/$1.txt"
	done
}
for n in $(seq "$count"); do
	echo "run $n of $count" >&2
	run base "$tmp/tree"
	run head "$here"
done
grep -q '^Benchmark' "$tmp/head.txt" || { echo "bench-compare: no benchmark of ${packages[*]} matches $bench"; exit 1; }
$go run -modfile=tools/go.mod golang.org/x/perf/cmd/benchstat "$base=$tmp/base.txt" "head=$tmp/head.txt"
