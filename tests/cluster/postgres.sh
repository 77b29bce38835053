#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# postgres.sh start DIR [PORT]: a throw-away PostgreSQL in DIR, on all addresses,
#                               with the superuser app (password secret) and the
#                               database app; PORT is 5432 unless given
# postgres.sh stop DIR          ends it; DIR stays
#
# Without a password and from outside a sandbox: psql -h DIR -U app app
# Run as root it runs as the package's user postgres, since it refuses root: that
# user must be able to reach DIR.
set -eu
verb=$1 dir=$2 port=${3:-5432}
bin=$(find /usr/lib/postgresql -path '*/bin/initdb' | sort -V | tail -n 1)
bin=${bin%/*}

as_postgres() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
	else
		"$@"
	fi
}

case $verb in
start)
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	[ "$(id -u)" -ne 0 ] || chown postgres: "$dir"
	if [ ! -e "$dir/data/PG_VERSION" ]; then
		as_postgres "$bin/initdb" -D "$dir/data" -U app --auth=trust --encoding=UTF8 --no-sync >/dev/null
		echo 'host all all all scram-sha-256' >>"$dir/data/pg_hba.conf"
	fi
	if ! as_postgres "$bin/pg_ctl" -D "$dir/data" status >/dev/null; then
		as_postgres "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/log" -o "-p $port -c fsync=off \
			-c listen_addresses=* -c unix_socket_directories=$dir" start
	fi
	psql="psql -h $dir -p $port -U app -qtA"
	$psql -d postgres -c "ALTER USER app PASSWORD 'secret'"
	[ -n "$($psql -d postgres -c "SELECT 1 FROM pg_database WHERE datname = 'app'")" ] ||
		createdb -h "$dir" -p "$port" -U app app ;;
stop)
	as_postgres "$bin/pg_ctl" -D "$dir/data" -m immediate -s stop ;;
esac
