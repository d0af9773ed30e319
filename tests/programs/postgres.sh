#!/usr/bin/env bash
# PostgreSQL: a cluster with checksums is made, loaded by pgbench, stopped hard, recovered, and checked. Not as root.
. "$(dirname "$0")/common.sh"

PATH=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1):$PATH

serve() {
  pg_ctl -D "$1/data" -l "$2/log" -w -t 120 -o "-c listen_addresses='' -c unix_socket_directories='$2/socket' -c fsync=on" start
}

stop_anyway() {
  pg_ctl -D "$1/data" -m immediate -t 60 stop || {
    # It may hang in the mount.
    kill -KILL "$(head -n 1 "$1/data/postmaster.pid")"
  }
} 2>/dev/null

ask() {
  psql -X -q -A -t -h "$local/socket" -d postgres -c "$1"
}

work() {
  here=$1 local=$2
  local done
  mkdir "$local/socket"
  initdb --data-checksums --auth=trust -D "$here/data" --no-instructions
  trap 'stop_anyway "$here"; tail -n 5 "$local/log"' EXIT
  serve "$here" "$local"
  pgbench -q -i -s "$SCALE" -h "$local/socket" postgres
  pgbench -n -c 4 -T $((6 * SCALE)) -h "$local/socket" postgres | tee "$local/pgbench"
  done=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$local/pgbench")
  [ "$(ask 'select count(*) from pgbench_history')" = "$done" ] || fails "of $done transactions $(ask 'select count(*) from pgbench_history') are there"
  pg_ctl -D "$here/data" -m immediate -w stop
  serve "$here" "$local"
  [ "$(ask 'select count(*) from pgbench_history')" = "$done" ] || fails "after the recovery there are $(ask 'select count(*) from pgbench_history') of $done"
  [ "$(ask 'select sum(abalance) from pgbench_accounts')" = "$(ask 'select sum(delta) from pgbench_history')" ] || fails "the balances"
  ask 'vacuum full'
  ask 'create database other' && ask 'drop database other'
  ask "create table copies as select * from pgbench_history; copy (select * from copies order by mtime, tid, aid) to '$here/copies'"
  [ "$(wc -l <"$here/copies")" = "$done" ] || fails "the copied table"
  pg_ctl -D "$here/data" -m fast -w stop
  trap - EXIT
  pg_checksums --check -D "$here/data"
}

check() {
  pg_checksums --check -D "$1/data"
}

start "$@"
