#!/usr/bin/env bash
# Vets every package and compiles every test binary for a 32-bit machine, where
# int has 32 bits. Then runs the tests of the codec and the checker's models, if
# this machine runs such binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOARCH=386 CGO_ENABLED=0
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
go vet ./...
go test -c -o "$out/" ./...
echo "$(find "$out" -name '*.test' | wc -l) test binaries build for GOARCH=$GOARCH"
if "$out/labgob.test" -test.list . >/dev/null 2>&1; then
	go test ./labgob ./porcupine/models
fi
