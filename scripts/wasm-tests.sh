#!/usr/bin/env bash
# Compiles every package and its test binary for wasip1/wasm, where the exact
# replay of package sim can run them. Packages that need a socket, mmap or a
# process leave themselves out by build constraint.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOOS=wasip1 GOARCH=wasm
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
go build ./...
go test -c -o "$out/" ./...
echo "$(find "$out" -name '*.test' | wc -l) test binaries build for $GOOS/$GOARCH"
