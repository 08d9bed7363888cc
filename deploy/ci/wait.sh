#!/bin/sh
# Returns when the version is promoted. Exit code 7: the proxy has aborted it. 5: it took longer than $WAIT.
set -eu
crossfade status "$ROUTE" --challenger "$MODEL-$VERSION" --wait promoted --timeout "${WAIT:-2h}" && exit 0
code=$?
crossfade why "$ROUTE" --challenger "$MODEL-$VERSION" >&2 || true # the code of the wait counts
exit "$code"
