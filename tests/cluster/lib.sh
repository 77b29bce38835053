# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154 # $dir and $kube are the caller's
# Sourced by the scripts of this directory and of script/: the cache of what
# takes long to build, and programs in the background.

# --- Cache -------------------------------------------------------------------
# $cache/NAME-KEY, where KEY is a hash of all that NAME is made from: it outlives
# the checkout, is shared by checkouts, and never has to be cleared by hand.

cache=${DBUPGRADE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dbupgrade}

# key_of FILE...: a hash of the files' paths and contents, and of standard input.
key_of() {
	{ cat && sha256sum "$@"; } | sha256sum | cut -c 1-16
}

# cached NAME KEY COMMAND...: prints the path of that entry. If there is none,
# COMMAND... PATH makes it at a temporary PATH, by one caller at a time; what
# could not be made leaves nothing, and entries that nobody has asked for in two
# weeks go. Not to be called where set -e has no effect.
cached() (
	set -e # bash does not pass it on to $(...)
	name=$1 entry=$cache/$1-$2
	shift 2
	if [ ! -e "$entry" ]; then
		mkdir -p "$cache"
		exec 9>"$cache/$name.lock"
		flock 9
	fi
	if [ ! -e "$entry" ]; then # nor made by another caller meanwhile
		find "$cache" -maxdepth 1 \( -name ".$name.*" -o -name "$name-*" -mtime +14 \) -exec rm -rf {} +
		new=$(mktemp -d "$cache/.$name.XXXXXX")
		trap 'rm -rf "$new"' EXIT
		"$@" "$new/$name" >&2
		mv "$new/$name" "$entry"
	fi
	touch "$entry"
	echo "$entry"
)

# --- Programs in the background ----------------------------------------------
# Their state is below $dir, which must be set: $dir/log/NAME, $dir/run/NAME.pid.

# alive PID: whether it runs. A zombie does not, which kill -0 cannot tell.
alive() {
	case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in '' | Z*) return 1 ;; esac
}

# started NAME: whether the program runs, with its process id in $pid. Each has
# $dir on its command line: a process id of an earlier boot, or used again, is
# not taken for it.
started() {
	pid=$(cat "$dir/run/$1.pid" 2>/dev/null) && alive "$pid" || return
	case $(tr '\0' ' ' <"/proc/$pid/cmdline") in *"$dir/"* | *"$dir "*) ;; *) return 1 ;; esac
}

# start NAME COMMAND...: in the background, away from the terminal, unless it
# runs already.
start() {
	name=$1
	shift
	started "$name" && return
	mkdir -p "$dir/log" "$dir/run"
	setsid "$@" >"$dir/log/$name" 2>&1 </dev/null &
	echo $! >"$dir/run/$name.pid"
}

# stop NAME: asks it to end, and kills it when it has not after 10 s.
stop() {
	if started "$1"; then
		kill "$pid" 2>/dev/null || true
		n=100
		while alive "$pid" && [ $n -gt 0 ]; do
			sleep 0.1
			n=$((n - 1))
		done
		if [ $n -eq 0 ]; then
			echo "$1 had to be killed" >&2
			kill -9 "$pid" 2>/dev/null || true
		fi
	fi
	rm -f "$dir/run/$1.pid"
}

# await SECONDS NAME COMMAND...: waits until the command succeeds. Fails, with
# the end of the log of the program, when that has died or the time is over.
await() {
	n=$(($1 * 10)) name=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		n=$((n - 1))
		if [ $n -le 0 ] || ! started "$name"; then
			echo "$name did not come up; the end of $dir/log/$name:" >&2
			tail -n 5 "$dir/log/$name" >&2
			return 1
		fi
		sleep 0.1
	done
}

# --- A cluster's API ---------------------------------------------------------

# kubectl ARGS...: as administrator of the cluster in $dir. Its cache of what the
# API has is the cluster's own: one of another cluster on this port would mislead.
kubectl() {
	"$kube" kubectl --kubeconfig "$dir/kubeconfig" --cache-dir "$dir/run/kubectl" "$@"
}
