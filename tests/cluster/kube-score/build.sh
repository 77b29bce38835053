#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: builds kube-score, which judges manifests by what is good practice, into OUT.
set -eu
cd "$(dirname "$0")"
echo "Building kube-score: a minute on 2 cores the first time, then seconds."
CGO_ENABLED=0 exec ../gobuild.sh "$1" -ldflags '-s -w' github.com/zegl/kube-score/cmd/kube-score
