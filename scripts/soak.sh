#!/usr/bin/env bash
# The long checks. Each suite runs many times, each time from new seeds: plain,
# under the race detector, and with every core kept busy by something else. Then
# every test that has a long form runs it. Stops at the first failure, whose
# output says how to repeat it.
#
#   PLAIN=200 RACE=20 BUSY=20  how often
#   PACKAGES="./raft ./kvraft" what
#   LONG=./...                 where the long tests are; LONG= leaves them out
set -euo pipefail
cd "$(dirname "$0")/.."
plain=${PLAIN:-200} race=${RACE:-20} busy=${BUSY:-20}
read -r -a packages <<<"${PACKAGES:-./raft ./kvraft ./shardctrler ./shardkv}"
for i in "${!packages[@]}"; do
	[ -d "${packages[$i]}" ] || unset "packages[$i]"
done
bin=$(mktemp -d)
burners=()
cleanup() { [ ${#burners[@]} -eq 0 ] || kill "${burners[@]}" 2>/dev/null || true; rm -rf "$bin"; }
trap cleanup EXIT

# run NAME COUNT FLAGS...: each package's whole suite, COUNT times.
run() {
	local name=$1 count=$2; shift 2
	local begin=$SECONDS
	for pkg in "${packages[@]}"; do
		local exe="$bin/$name-$(basename "$pkg").test"
		go test -c "$@" -o "$exe" "$pkg"
		for i in $(seq "$count"); do
			(cd "$pkg" && "$exe" -test.run 'Test' -test.failfast -test.timeout 10m >"$bin/log" 2>&1) || {
				cat "$bin/log"; echo "soak: $pkg failed in $name run $i of $count"; exit 1
			}
		done
		echo "soak: $pkg: $count $name runs, 0 failures"
	done
	echo "soak: $name done in $((SECONDS - begin)) s"
}

run plain "$plain"
run race "$race" -race
for _ in $(seq "$(nproc)"); do (while :; do :; done) & burners+=($!); done
run busy "$busy"
kill "${burners[@]}" 2>/dev/null || true; burners=()

if [ -n "${LONG=./...}" ]; then
	RAFTLAB_SOAK=1 go test -count=1 -timeout 3h "$LONG"
	echo "soak: every long test passed"
fi
