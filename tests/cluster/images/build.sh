#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT.tar: makes the archive of the images that the cluster and the
# tests need, all in one, so that what they share is in it once. The same input
# gives the same bytes.
#
#   localhost/pause:1       what holds a pod's namespaces
#   localhost/busybox:1     a shell
#   localhost/migrations:…  Atlas as /atlas, migrations in /migrations, a shell
#       v1          creates the table users
#       v2          v1, and creates the table orders
#       v3-broken   v2, and changes a table that does not exist
#       v3-fixed    v2, and what v3-broken meant
#       slow        v1, and 10 s of sleep
#       no-shell    v1, without a shell, as the official Atlas image
#
# ATLAS   the program
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
umask 022
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
architecture=$(dpkg --print-architecture) # called as Go calls it
mkdir "$t/archive"

# layer NAME: of the directory $t/NAME.
layer() {
	tar -C "$t/$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$t/archive/$1.layer" .
}

# image NAME:TAG CONFIG LAYER...: CONFIG is the config of the OCI image specification.
image() {
	file=$(printf %s "$1" | tr -c 'a-z0-9-' _).json name=$1 config=$2 digests='' layers=''
	shift 2
	for layer; do
		digest=$(sha256sum "$t/archive/$layer.layer" | cut -d ' ' -f 1)
		digests="$digests,\"sha256:$digest\"" layers="$layers,\"$layer.layer\""
	done
	cat >"$t/archive/$file" <<-END
		{"architecture": "$architecture", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": $config,
		 "rootfs": {"type": "layers", "diff_ids": [${digests#,}]}}
	END
	printf ',\n{"Config": "%s", "RepoTags": ["%s"], "Layers": [%s]}' "$file" "$name" "${layers#,}" >>"$t/images"
}

# migrations TAG LAYER FILE...: the image localhost/migrations:TAG, with the files
# over the layers "atlas" and LAYER.
migrations() {
	tag=$1 base=$2
	shift 2
	mkdir -p "$t/$tag/migrations"
	for file; do cp "$here/migrations/$file" "$t/$tag/migrations"; done
	"$ATLAS" migrate hash --dir "file://$t/$tag/migrations"
	layer "$tag"
	# shellcheck disable=SC2086 # a list
	image "localhost/migrations:$tag" '{"User": "65532:65532", "WorkingDir": "/", "Entrypoint": ["/atlas"],
		"Env": ["PATH=/bin", "HOME=/tmp", "ATLAS_NO_UPDATE_NOTIFIER=1"]}' $base "$tag"
}

mkdir "$t/pause"
cc -Os -static -s -o "$t/pause/pause" "$here/pause.c"
layer pause
image localhost/pause:1 '{"User": "65532:65532", "Entrypoint": ["/pause"]}' pause

mkdir -p "$t/busybox/bin"
cp /bin/busybox "$t/busybox/bin"
for applet in $(/bin/busybox --list | grep -vx busybox); do ln -s busybox "$t/busybox/bin/$applet"; done
layer busybox
image localhost/busybox:1 '{"User": "65532:65532", "Env": ["PATH=/bin"], "Cmd": ["sh"]}' busybox

mkdir -p "$t/atlas/tmp"
chmod 1777 "$t/atlas/tmp"
cp "$ATLAS" "$t/atlas/atlas"
layer atlas
v1='20260101000000_create_users.sql 20260102000000_add_email.sql'
v2="$v1 20260103000000_create_orders.sql"
# shellcheck disable=SC2086 # lists
{
	migrations v1 'atlas busybox' $v1
	migrations v2 'atlas busybox' $v2
	migrations v3-broken 'atlas busybox' $v2 broken/20260104000000_add_total.sql
	migrations v3-fixed 'atlas busybox' $v2 20260104000000_add_total.sql
	migrations slow 'atlas busybox' $v1 20260105000000_sleep.sql
	migrations no-shell atlas $v1
}

{ echo '[' && sed '1s/^,//' "$t/images" && echo ']'; } >"$t/archive/manifest.json"
tar -C "$t/archive" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$out" .
