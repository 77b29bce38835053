#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: builds kubeconform, which judges manifests by JSON schemas, into OUT.
set -eu
cd "$(dirname "$0")"
echo "Building kubeconform: half a minute on 2 cores the first time, then seconds."
CGO_ENABLED=0 exec ../gobuild.sh "$1" -ldflags '-s -w' github.com/yannh/kubeconform/cmd/kubeconform
