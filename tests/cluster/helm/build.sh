#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: builds helm into OUT.
set -eu
cd "$(dirname "$0")"
version=$(go list -m -f '{{.Version}}' helm.sh/helm/v3)
kubernetes=$(go list -m -f '{{.Version}}' k8s.io/client-go | cut -d . -f 2) # v0.35.4 is of 1.35
x="-X helm.sh/helm/v3/internal/version.version=$version"
for package in pkg/chartutil pkg/lint/rules; do
	x="$x -X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$kubernetes"
done
echo "Building helm $version: 2 minutes on 2 cores the first time, then seconds."
CGO_ENABLED=0 exec ../gobuild.sh "$1" -ldflags "-s -w $x" helm.sh/helm/v3/cmd/helm
