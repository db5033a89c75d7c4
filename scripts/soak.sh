#!/usr/bin/env bash
# The long checks. Each suite runs many times, each time from new seeds: plain,
# under the race detector, and with every core kept busy by something else. Then
# every test that has a long form runs it. Stops at the first failure, whose
# output says how to repeat it.
#
#   PLAIN=200 RACE=20 BUSY=20  how often
#   PACKAGES="./raft ./kvraft" what
#   LONG=./...                 where the long tests are; LONG= leaves them out
#   HISTORIES=1h               how long processes run under load and faults
#   JOBS=2                     how many runs at once, by default one for each core
#
# Three runs in four have one processor (GOMAXPROCS=1) and the fourth has all: the
# schedules differ, and with all of them half the CPU time goes into hand-overs.
set -euo pipefail
cd "$(dirname "$0")/.."
plain=${PLAIN:-200} race=${RACE:-20} busy=${BUSY:-20} jobs=${JOBS:-$(nproc)}
read -r -a packages <<<"${PACKAGES:-./raft ./kvraft ./shardctrler ./shardkv}"
bin=$(mktemp -d)
burners=()
rest() { [ ${#burners[@]} -eq 0 ] || { kill "${burners[@]}"; wait "${burners[@]}" || true; burners=(); } 2>/dev/null; }
trap 'rest; rm -rf "$bin"' EXIT

# once EXE NAME I: one run of a suite. Status 255 keeps xargs from starting more.
once() {
	local log="$1.$3.log"
	[ $(($3 % 4)) -eq 0 ] || export GOMAXPROCS=1
	"$1" -test.run Test -test.failfast -test.timeout 20m >"$log" 2>&1 && rm "$log" && return
	cat "$log"
	echo "soak: $PWD failed in $2 run $3"
	return 255
}
export -f once

# run NAME COUNT FLAGS...: each package's whole suite, COUNT times.
run() {
	local name=$1 count=$2 begin=$SECONDS; shift 2
	[ "$count" -gt 0 ] || return 0
	for pkg in "${packages[@]}"; do
		local exe="$bin/$name-$(basename "$pkg").test"
		go test -c "$@" -o "$exe" "$pkg"
		(cd "$pkg" && seq "$count" | xargs -P "$jobs" -I{} bash -c "once '$exe' $name {}")
		echo "soak: $pkg: $count $name runs, 0 failures, after $((SECONDS - begin)) s"
	done
}

run plain "$plain"
run race "$race" -race
if [ "$busy" -gt 0 ]; then
	for _ in $(seq "$(nproc)"); do (while :; do :; done) & burners+=($!); done
	run busy "$busy"
	rest
fi

if [ -n "${LONG=./...}" ]; then
	go run ./mutants -schedules 10000 # the simulator alone finds the bugs of the core
	RAFTLAB_SOAK=1 go test -count=1 -timeout 3h "$LONG"
	(cd bench/etcd && RAFTLAB_SOAK=1 RAFTLAB_HISTORIES=${HISTORIES:-1h} go test -count=1 -timeout 3h -v ./histories)
	echo "soak: every long test passed"
fi
