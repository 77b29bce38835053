#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cached.sh NAME: prints the path of what tests need, built first
# when the cache does not have it (kube takes 8 minutes on 2 cores, the first time).
#
#   kube         every program of a Kubernetes cluster, and kubectl: "kube NAME ARGS..."
#   atlas        the migration tool
#   helm, kubeconform, kube-score   what the chart and the manifests are judged by
#   crds         the CRDs of cert-manager and the Prometheus Operator that they use
#   images       the archive of the images that images/build.sh lists
#   syft         the writer of SBOMs
#
# The programs are also found as bin/kube, bin/kubectl, bin/atlas, ... in the cache,
# ${DBUPGRADE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/dbupgrade}.
set -eu
cd "$(dirname "$0")"
# shellcheck source-path=SCRIPTDIR source=lib.sh
. ./lib.sh

# program NAME LINK...: the program built by NAME/build.sh, from the Go module there.
program() {
	name=$1
	shift
	key=$(cd "$name" && go env GOVERSION GOARCH | key_of -- *)
	entry=$(cached "$name" "$key" "$PWD/$name/build.sh")
	mkdir -p "$cache/bin"
	for link; do ln -sfn "../${entry##*/}" "$cache/bin/$link"; done
	echo "$entry"
}

images() {
	ATLAS=$(program atlas atlas)
	export ATLAS
	key=$(echo "${ATLAS##*/}" | key_of /bin/busybox images/*.* images/migrations/*.sql images/migrations/*/*.sql)
	cached images "$key" "$PWD/images/build.sh"
}

case ${1:-} in
kube) program kube kube kubectl ;;
atlas | syft | helm | kubeconform | kube-score) program "$1" "$1" ;;
crds) program crds ;;
images) images ;;
*) sed -n '3,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
