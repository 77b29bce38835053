#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# gobuild.sh OUT [go build flags...] PACKAGE: builds into OUT in a way that
# depends on the sources only, and shows how many packages are done.
set -euo pipefail
out=$1
shift
# In a terminal one line that counts; else a line now and then, for a log.
[ -t 2 ] && format='\r  %d packages' every=1 || format='  %d packages\n' every=200
go build -v -trimpath -buildvcs=false -o "$out" "$@" 2>&1 |
	awk -v format="$format" -v every="$every" '
		/^[^ ]*[.\/][^ ]*$|^[a-z0-9]+$/ { if (++n % every == 0) { printf format, n; fflush() } next }
		/^go: downloading / { if (++d % 100 == 1) { print "  " $0 " ..."; fflush() } next }
		{ print }
		END { if (n) printf "  %d packages\n", n }' >&2
