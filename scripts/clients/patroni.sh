#!/usr/bin/env bash
# A PostgreSQL of two nodes under Patroni, whose store are the endpoints in
# RAFTLAB_ENDPOINTS: bootstrap, the leader key, a replica, a switchover, and a failover
# after SIGKILL of the leader's Patroni and PostgreSQL. Needs patroni and postgresql.
set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
work=$(mktemp -d)
run=()
[ "$(id -u)" != 0 ] || { chown postgres "$work"; run=(setpriv --reuid=postgres --regid=postgres --clear-groups); }
pids=(0 0)
finish() {
  for pid in "${pids[@]}"; do [ "$pid" = 0 ] || kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT
hosts=${RAFTLAB_ENDPOINTS//http:\/\//}
for i in 0 1; do
  cat >"$work/p$i.yml" <<YAML
scope: raftlab-check
name: p$i
restapi: {listen: 127.0.0.1:1800$i, connect_address: 127.0.0.1:1800$i}
etcd3: {hosts: "$hosts"}
bootstrap:
  dcs: {ttl: 20, loop_wait: 3, retry_timeout: 5, postgresql: {use_pg_rewind: true}}
  initdb: [encoding: UTF8, data-checksums]
  pg_hba: [host replication replicator 127.0.0.1/32 trust, host all all 127.0.0.1/32 trust]
postgresql:
  listen: 127.0.0.1:1543$i
  connect_address: 127.0.0.1:1543$i
  data_dir: $work/data$i
  bin_dir: $bin
  pgpass: $work/pgpass$i
  authentication:
    superuser: {username: postgres, password: postgres}
    replication: {username: replicator, password: replicator}
  parameters: {unix_socket_directories: "$work"}
YAML
done
start() { "${run[@]}" patroni "$work/p$1.yml" >>"$work/p$1.log" 2>&1 & pids[$1]=$!; }
sql() { PGPASSWORD=postgres "$bin/psql" -h 127.0.0.1 -p "1543$1" -U postgres -qAtc "$2" 2>/dev/null; }
until_() { # until_ WHAT COMMAND...
  local what=$1; shift
  for _ in $(seq 240); do
    if "$@"; then echo "patroni: $what"; return; fi
    sleep 0.5
  done
  echo "patroni: not within two minutes: $what" >&2
  tail -n 20 "$work"/p?.log >&2
  exit 1
}
leads() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:1800$1/primary")" = 200 ]; }
follows() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:1800$1/replica")" = 200 ]; }
has() { [ "$(sql "$1" 'select count(*) from t')" = "$2" ]; }

start 0
until_ "p0 bootstraps and holds the leader key" leads 0
until_ "p0 takes writes" sql 0 'create table t (n int); insert into t values (1)'
start 1
until_ "p1 follows" follows 1
until_ "p1 has the row of p0" has 1 1
curl -sf -XPOST -H 'Content-Type: application/json' http://127.0.0.1:18000/switchover -d '{"leader":"p0","candidate":"p1"}' >/dev/null
until_ "p1 leads after a switchover" leads 1
until_ "p0 follows" follows 0
until_ "p1 takes writes" sql 1 'insert into t values (2)'
until_ "p0 has the row of p1" has 0 2
kill -9 "${pids[1]}"
kill -9 "$(head -1 "$work/data1/postmaster.pid")"
until_ "p0 leads after the loss of p1" leads 0
until_ "no row is lost" has 0 2
until_ "p0 takes writes" sql 0 'insert into t values (3)'
start 1
until_ "p1 comes back and follows" follows 1
until_ "p1 has all rows" has 1 3
