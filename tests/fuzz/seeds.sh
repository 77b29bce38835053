#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# seeds.sh DIR: fills DIR/TARGET with what the fuzzers begin with: what earlier long runs
# have found worth keeping, and the data of the other tests.
set -eu
cd "$(dirname "$0")/../.."
dir=$1
mkdir -p "$dir"
tar -xJf tests/fuzz/corpus.tar.xz -C "$dir"
for target in admission_review certificates flags headers json_check kube_config lease object plugin records texts watch; do
	mkdir -p "$dir/$target"
	[ ! -d "tests/fuzz/corpus/$target" ] || cp tests/fuzz/corpus/"$target"/* "$dir/$target/"
done
# Every fifth case of the admission table: as an object, and as a review.
jq -c '.[] | {apiVersion: "dbupgrade.subbug.learning/v1alpha1", kind: "DBUpgrade",
	metadata: ({name: "shop", namespace: "prod", uid: "u", resourceVersion: "1", generation: 1} + (.metadata // {})),
	spec, status: (.oldStatus // {}), old: .oldSpec, operation}' tests/data/admission/cases.json |
	awk -v dir="$dir" 'NR % 5 == 0 {print > (dir "/object/case-" NR); print > (dir "/json_check/case-" NR)}'
jq -c '.[] | {kind: "AdmissionReview", apiVersion: "admission.k8s.io/v1", request: {uid: "u", name: "shop", namespace: "prod",
	kind: {group: "dbupgrade.subbug.learning", version: "v1alpha1", kind: "DBUpgrade"}, operation,
	object: {metadata: {name: "shop"}, spec}, oldObject: (if .oldSpec then {spec: .oldSpec, status: (.oldStatus // {})} else null end)}}' \
	tests/data/admission/cases.json |
	awk -v dir="$dir" 'NR % 5 == 0 {print > (dir "/admission_review/case-" NR)}'
jq -c '.[]' tests/data/kubectl-dbu/scenes.json | awk -v dir="$dir" '{print > (dir "/plugin/scene-" NR)}'
# A certificate that is its own CA, and its key, as PEM and as a Secret.
pem=$dir/certificates/pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca \
	-addext subjectAltName=DNS:hook.ops.svc -keyout "$pem.key" -out "$pem" 2>/dev/null
jq -n --rawfile cert "$pem" --rawfile key "$pem.key" '{kind: "Secret", metadata: {name: "ca", uid: "u", resourceVersion: "7"},
	data: {"tls.crt": ($cert | @base64), "tls.key": ($key | @base64), "ca.crt": ($cert + $cert | @base64)}}' \
	>"$dir/certificates/secret"
cat "$pem.key" >>"$pem"
rm "$pem.key"
