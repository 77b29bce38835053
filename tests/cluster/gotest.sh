# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034 # $passed and $failed are the caller's
# Sourced by scripts of script/, in the project's root.

# gotest NAME FLAGS-AND-PACKAGES...: runs the Go tests of tests/cluster/e2e, shows
# what has failed, and sets $passed and $failed to the number of tests that have none
# below them. All of the output is in build/NAME.json.
gotest() {
	json=$PWD/build/$1.json gotest_status=0
	shift
	mkdir -p build
	# -count=1: Go does not see changes of scripts, manifests and tables. -parallel: most of
	# the time a test waits.
	(cd tests/cluster/e2e && go test -count=1 -parallel=8 -json "$@") >"$json" || gotest_status=$?
	jq -rj 'select(.Action == "output") | .Output' "$json" |
		grep -E '^ *--- FAIL|^(ok|FAIL|---|panic)|_test.go:' | grep -v -- '--- PASS' | tail -n 60 || true
	gotest_failures "$json"
	passed=$(gotest_count pass) failed=$(gotest_count fail)
	# A package that does not build, or that ends early, has no test that could fail.
	[ "$gotest_status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
	[ "$failed" -eq 0 ] || echo "All of it: jq -rj 'select(.Output) | .Output' $json"
}

# gotest_failures JSON: what each test printed that has failed and has none below it that did; last,
# and not among what the others print, for a log may be kept by its end only. What belongs to no test
# is of a package that has failed as a whole.
gotest_failures() {
	jq -r 'select(.Action == "build-output") | .Output' "$1"
	jq -rn '[inputs] | map(. + {name: (.Package + (if .Test then "/" + .Test else "" end))}) |
		map(select(.Action == "fail").name) as $failed |
		($failed | map(. as $name | select(any($failed[]; startswith($name + "/")) | not))) as $leaves |
		map(select(.Output and (.name as $name | any($leaves[]; . == $name)))) | group_by(.name)[] |
		map(.Output) | add | split("\n") | .[-80:] | join("\n")' "$1"
}

# gotest_count ACTION: how many tests without others below them ended so.
gotest_count() {
	jq -rn --arg action "$1" '[inputs | select(.Test)] |
		(map(.Package + "/" + .Test | [match("/"; "g").offset as $at | .[:$at]]) | flatten |
			map({(.): 1}) | add) as $parents |
		map(select(.Action == $action and ($parents[.Package + "/" + .Test] | not))) | length' "$json"
}
