# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # $arch, $version, $commit and $epoch are the caller's
# Sourced by scripts of script/, in the project's root: the Dockerfile's stages without
# Docker and without a registry.

# shellcheck source-path=SCRIPTDIR source=../tests/cluster/lib.sh
. tests/cluster/lib.sh

apt=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
	[ ! -s "$file" ] || apt+=("$file")
done
debian_key=$(key_of "${apt[@]}" </dev/null)

# Its images and layers are in the cache, not among the user's own.
buildah() {
	command buildah --root "$cache/buildah" --runroot "$cache/buildah-run" "$@"
}

# debian ARCHIVE: the root of a minimal Debian 12.
debian() {
	echo "Making a Debian root (half a minute)." >&2
	mmdebstrap --quiet --variant=minbase --format=tar bookworm "$1" "${apt[@]}"
}

# base: makes $base, an image of that root.
base=localhost/debian:$debian_key
base() {
	local archive container
	archive=$(cached debian "$debian_key" debian)
	buildah inspect "$base" >/dev/null 2>&1 && return
	container=$(buildah from scratch)
	buildah add --quiet "$container" "$archive" / >/dev/null
	buildah commit --quiet --rm "$container" "$base" >/dev/null
}

# build DIRECTORY OPTION...: runs the Dockerfile there; its output is shown when it fails.
build() {
	local directory=$1
	shift
	# buildah 1.28 looks for a base of --platform, whatever the Dockerfile says: hence the
	# argument instead.
	buildah build --pull-never --isolation chroot --network host --timestamp "$epoch" \
		--build-arg BASE="$base" --build-arg TARGETARCH="$arch" --build-arg COMMIT="$commit" \
		--build-arg VERSION="$version" "$@" "$directory" >"$cache/image.log" 2>&1 || {
		tail -n 60 "$cache/image.log" >&2
		echo "The image could not be built; all of it is in $cache/image.log" >&2
		return 1
	}
}

# tools: makes $tools, the stage with the compiler and the libraries for $arch.
tools() {
	tools=localhost/dbupgrade-tools-$arch:$debian_key
	base
	echo "Installing the compiler and libraries for $arch in the build's image, unless they are there." >&2
	build . --layers --target tools --tag "$tools"
}

# tidy: removes the containers of builds that were interrupted. (Tests run in one of theirs.)
tidy() {
	local containers
	mapfile -t containers < <(buildah containers --format '{{.ContainerName}}' | grep -v emulator)
	[ ${#containers[@]} -eq 0 ] || buildah rm "${containers[@]}" >/dev/null
}

# prune: removes what no build of this machine's Debian would use again.
prune() {
	local outdated
	mapfile -t outdated < <(buildah images --format '{{.Name}}:{{.Tag}}' | grep -vE ":(<none>|dev|$debian_key)$")
	[ ${#outdated[@]} -eq 0 ] || buildah rmi "${outdated[@]}" >/dev/null
	buildah rmi --prune --force >/dev/null
}
