#!/bin/sh
# seeds.sh DIR: fills DIR/TARGET with what the fuzzers begin with, from the data of
# the other tests.
set -eu
cd "$(dirname "$0")/../.."
dir=$1
for target in admission_review json_check kube_config object records texts watch; do
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
