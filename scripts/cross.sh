#!/usr/bin/env bash
# Checks the types of every package and test for other systems. The checker reads the
# sources of the standard library and of the dependencies as well, so nothing is
# compiled, and a system takes seconds.
#
# usage: scripts/cross.sh [GOOS/GOARCH...]
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=tools/go.mod -o "$work/gopackages" golang.org/x/tools/go/packages/gopackages

[ $# -gt 0 ] || set -- darwin/arm64 windows/amd64 linux/386 linux/arm64 wasip1/wasm
for target; do
	echo "types for $target"
	# The tool prints each package with its files and errors, and ends with 0.
	CGO_ENABLED=0 GOOS=${target%/*} GOARCH=${target#*/} "$work/gopackages" -test -mode allsyntax ./... >"$work/packages"
	grep -q "^Go package \"raftlab/raft/node\"" "$work/packages" || { echo "$target: no packages"; exit 1; }
	if grep -E '^	[^ ]+: ' "$work/packages"; then
		echo "$target: the types above are wrong"
		exit 1
	fi
done
