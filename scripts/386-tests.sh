#!/usr/bin/env bash
# Vets every package and compiles every test binary for a 32-bit machine, where
# int has 32 bits. Then runs the tests of the codec and the checker's models, if
# this machine runs such binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOARCH=386 CGO_ENABLED=0
go vet ./...
go test -c -o /dev/null ./...
echo "every test binary builds for GOARCH=$GOARCH"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go test -c -o "$bin/labgob.test" ./labgob
if "$bin/labgob.test" -test.list . >/dev/null 2>&1; then
	go test ./labgob ./porcupine/models
fi
