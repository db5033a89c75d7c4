#!/usr/bin/env bash
# The main uses of three clients of etcd against three processes of raftlab, on loopback:
# the npm package etcd3, python3-etcd3 and Patroni. A client that is not installed is left
# out. NODE_PATH names the directory of the npm package.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
pids=()
finish() {
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT
raftlab=${RAFTLAB_BINARY:-$work/raftlab}
[ -n "${RAFTLAB_BINARY:-}" ] || (cd ../.. && go build -o "$raftlab" ./cmd/raftlab)
members=n1=127.0.0.1:12680,n2=127.0.0.1:12681,n3=127.0.0.1:12682
for i in 1 2 3; do
  "$raftlab" serve --name "n$i" --data "$work/n$i" --cluster "$members" \
    --listen-peer "127.0.0.1:1268$((i - 1))" --listen "127.0.0.1:1${i}679" 2>"$work/n$i.log" >&2 &
  pids+=($!)
done
for i in 1 2 3; do
  curl -sf --retry 60 --retry-delay 1 --retry-all-errors -o /dev/null "http://127.0.0.1:1${i}679/readyz"
done
export RAFTLAB_ENDPOINTS=http://127.0.0.1:11679,http://127.0.0.1:12679,http://127.0.0.1:13679
if node -e 'require("etcd3")' 2>/dev/null; then node npm_etcd3.js; else echo "etcd3 (npm): not installed"; fi
python=/usr/bin/python3
if $python -c 'import etcd3' 2>/dev/null; then $python python_etcd3.py; else echo "python3-etcd3: not installed"; fi
if command -v patroni >/dev/null; then ./patroni.sh; else echo "patroni: not installed"; fi
