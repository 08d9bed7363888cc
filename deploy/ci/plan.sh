#!/bin/sh
# Checks the routing file, and shows who moves where when the version is deployed. Changes nothing.
set -eu
crossfade check "$ROUTING"
"$(dirname "$0")/deploy.sh" --dry-run >"$WORK/routing.yaml"
crossfade check "$WORK/routing.yaml"
crossfade plan "$ROUTING" "$WORK/routing.yaml"
