#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: builds Atlas into OUT.
set -eu
cd "$(dirname "$0")"
echo "Building Atlas: 3 minutes on 2 cores the first time, then seconds."
CGO_ENABLED=0 exec ../gobuild.sh "$1" -ldflags '-s -w' ariga.io/atlas/cmd/atlas
