#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sandbox.sh start DIR PORT       a whole cluster, in name spaces of its own
# sandbox.sh exec DIR COMMAND...  a command among its processes and mounts, in its
#                                 network (a database, a test, a shell)
# sandbox.sh stop DIR             ends all of that at once; DIR stays
#
# Nothing of it is in the machine's network, mounts or settings, but the API
# server's port, on the loopback: DIR/kubeconfig works inside and outside. When the
# first process of the pid name space ends, the kernel ends all others, and takes
# mounts, bridges, rules and addresses away with them: nothing is left, whatever
# state the cluster was in, and several can run at once. Needs root. What can be
# given in the environment, up-node.sh says.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
[ $# -ge 2 ] || { sed -n '3,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
verb=$1 dir=$(mkdir -p "$2/run" "$2/log" && cd "$2" && pwd)
shift 2

# first: finds the first process of the sandbox, $init, if that runs. It is the
# only child of unshare.
first() {
	started sandbox && init=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) &&
		init=${init% } && [ -n "$init" ]
}

# up PORT: starts it, unless it runs, and waits until it is ready.
up() {
	if ! first; then
		if [ -n "$(ss -Hltn "sport = :$1")" ]; then
			echo "port $1 is in use" >&2
			return 1
		fi
		if [ ${#dir} -gt 70 ]; then # the path of a Unix socket has at most 107 bytes
			echo "$dir: the path is too long" >&2
			return 1
		fi
		down # what a reboot or a broken run has left
		start sandbox unshare --mount --pid --ipc --fork --kill-child --mount-proc \
			"$here/sandbox.sh" init "$dir" "$1"
	fi
	until [ -e "$dir/run/ready" ]; do
		sleep 0.1
		if ! first; then
			cat "$dir/log/sandbox" >&2
			down
			return 1
		fi
	done
}

# down: ends it, and removes what a killed one leaves: in DIR, the control groups of its
# containers, and the directories that were made for it, which are all that outlives it.
down() {
	if started sandbox; then
		first || init=
		kill -9 "$pid" # which kills its child
		while alive "$pid" || alive "$init"; do sleep 0.05; done
	fi
	rm -rf "$dir"/run/*.pid "$dir"/run/*.sock "$dir/run/ready"
	for container in "$dir"/run/containerd/io.containerd.runtime.v2.task/k8s.io/*; do
		[ -e "$container" ] || continue
		find /sys/fs/cgroup -depth -type d -path "*/k8s.io/${container##*/}*" \
			-exec rmdir {} + 2>/dev/null || true
	done
	find /sys/fs/cgroup -maxdepth 2 -type d -name k8s.io -exec rmdir {} + 2>/dev/null || true
	unmake
}

# The directories of the machine that all sandboxes mount over: those that were not
# there, and were made, are noted. flock on /run, which leaves no file, keeps one
# sandbox from removing what another is about to mount over.
private="/run/containerd /run/netns /var/lib/cni /var/lib/kubelet /var/log/containers"
made=/var/lib/dbupgrade-sandbox.made

# unmake: removes what was made, but for what another sandbox still mounts over (that
# one does it then) and what has got contents, which are somebody else's.
unmake() (
	flock 9
	[ -e "$made" ] || exit 0
	sort -u "$made" | while read -r d; do
		if grep -qs " $d " /proc/[0-9]*/mountinfo; then
			echo "$d"
		else
			rmdir "$d" 2>/dev/null || true
		fi
	done >"$made.new"
	if [ -s "$made.new" ]; then mv "$made.new" "$made"; else rm "$made" "$made.new"; fi
) 9</run

# hide: mounts over them, and makes those that are not there.
hide() (
	flock 9
	for d in $private; do
		[ -d "$d" ] || {
			echo "$d" >>"$made"
			mkdir "$d"
		}
		mount -t tmpfs tmpfs "$d"
	done
) 9</run

# privacy: what containerd, the CNI plugins and the kubelet write outside DIR
# becomes empty and private, and so do the settings of the machine that the kubelet
# would change.
privacy() {
	hide
	for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
		kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
		mkdir -p "$dir/run/sysctl/${s%/*}"
		cat "/proc/sys/$s" >"$dir/run/sysctl/$s"
		mount --bind "$dir/run/sysctl/$s" "/proc/sys/$s"
	done
}

case $verb in
start) up "$1" ;;
stop) down ;;
exec)
	first || { echo "no cluster runs in $dir" >&2; exit 1; }
	exec nsenter --target "$init" --mount --net --pid --ipc --root --wdns="$PWD" "$@" ;;
init) # the first process; its network is still the machine's
	privacy
	socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$dir/run/api.sock" &
	exec unshare --net "$0" inside "$dir" "$1" ;;
inside)
	ip link set lo up
	socat "UNIX-LISTEN:$dir/run/api.sock,fork" "TCP:127.0.0.1:$1" &
	"$here/up-node.sh" "$dir" "$1"
	touch "$dir/run/ready"
	# Collects the processes whose parents ended.
	sleep infinity &
	wait ;;
esac
