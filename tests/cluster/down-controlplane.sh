#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# down-controlplane.sh DIR: stops what up-controlplane.sh DIR started; DIR stays.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
dir=$(cd "$1" && pwd)
stop kube-controller-manager
stop kube-apiserver
stop etcd
