# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034 # $options is for who sources it
# Sourced by scripts of script/, in the project's root.

# image_options: sets $options to meson's options of the image's programs, which the Dockerfile has.
image_options() {
	mapfile -t options < <(grep -oE -- '(--buildtype|-Doptimization|-Db_lto)=[^ ]+' Dockerfile)
	[ ${#options[@]} -eq 3 ] || { echo "the Dockerfile's options are not understood" >&2; return 1; }
}
