#!/usr/bin/env bash
# Compiles every package and vets its tests for wasip1/wasm, where the exact replay of
# package sim can run them, and links the test binaries of the labs. Packages that
# need a socket, mmap or a process leave themselves out by build constraint.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOOS=wasip1 GOARCH=wasm
go build ./...
go vet ./...
go test -c -o /dev/null ./raft ./kvraft ./shardctrler ./shardkv
echo "every package and test builds for $GOOS/$GOARCH"
