#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT: writes the CRDs of others that the manifests use, as their modules have them, into OUT.
set -eu
cd "$(dirname "$0")"

# directory MODULE: where its sources are; fetched, and checked against go.sum, when they are not.
directory() {
	go mod download "$1"
	go list -m -f '{{.Dir}}' "$1"
}

cert_manager=$(directory github.com/cert-manager/cert-manager)
prometheus=$(directory github.com/prometheus-operator/prometheus-operator)
for file in "$cert_manager"/deploy/crds/cert-manager.io_certificates.yaml \
	"$cert_manager"/deploy/crds/cert-manager.io_issuers.yaml \
	"$prometheus"/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml \
	"$prometheus"/example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml; do
	echo ---
	cat "$file"
done >"$1"
