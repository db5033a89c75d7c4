#!/usr/bin/env bash
# Runs the lab suites on somebody else's packages (docs/grading.md):
#
#   scripts/grade.sh DIR PACKAGE... [-- FLAGS OF GO TEST]
#   scripts/grade.sh ~/6.5840/src raft -- -run 2B
#   scripts/grade.sh ~/6.5840/src raft kvraft
#
# DIR has the packages as the course has them, PACKAGE is raft, kvraft, shardctrler or
# shardkv. Each takes the place of the one here, in a copy of this project; what is
# not named stays. The copy goes to COPY if that is set, and is kept then.
set -euo pipefail
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64; }
fail() { echo "grade: $*" >&2; exit 64; }

[ $# -ge 2 ] || usage
from=$1; shift
[ -d "$from" ] || fail "$from is not a directory"
packages=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do packages+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#packages[@]} -gt 0 ] || usage

from=$(cd "$from" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
for p in "${packages[@]}"; do
	case $p in raft | kvraft | shardctrler | shardkv) ;; *) fail "there are no suites for $p" ;; esac
	ls "$from/$p"/*.go >/dev/null 2>&1 || fail "there is no Go file in $from/$p"
done

if [ -n "${COPY:-}" ]; then
	mkdir -p "$COPY"
	copy=$(cd "$COPY" && pwd)
	[ -z "$(ls -A "$copy")" ] || fail "COPY is $copy, which is not empty"
	case $copy/ in "$here"/*) fail "COPY is $copy, which lies in $here" ;; esac
else
	copy=$(mktemp -d)
	trap 'rm -rf "$copy"' EXIT
fi
tar -C "$here" --exclude=./.git -cf - . | tar -C "$copy" -xf -
cd "$copy"

for p in "${packages[@]}"; do
	# What grades stays, and the course's persister.
	find "$p" -maxdepth 1 -name '*.go' ! -name 'suite_*' ! -name 'adversary_*' \
		! -name random_test.go ! -name export_test.go ! -name persister.go -delete
	for f in "$from/$p"/*.go; do
		case ${f##*/} in *_test.go | config.go) continue ;; esac # the course's own harness
		sed -E 's#"(6\.824|6\.5840|\.\.)/(labrpc|labgob|raft|kvraft|shardctrler|shardkv)"#"raftlab/\2"#' "$f" >"$p/${f##*/}"
	done
done
go test "$@" "${packages[@]/#/./}"
