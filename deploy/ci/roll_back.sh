#!/bin/sh
# After a step that failed: the champion gets all traffic, and nothing of the version is left running. It can be run again.
set -eu
backend="$MODEL-$VERSION"

# The phase of the version's rollout; nothing where it has none.
phase() {
  crossfade status "$ROUTE" --json | python -c '
import json, sys
for rollout in json.load(sys.stdin)["rollouts"]:
    if (rollout["route"], rollout["challenger"]) == tuple(sys.argv[1:]):
        print(rollout["phase"])
' "$ROUTE" "$backend"
}

if [ ! -e "$REGISTRY/$MODEL/$VERSION" ]; then
  echo "$MODEL@$VERSION was not registered: nothing to roll back"
  exit 0
fi
found=$(phase)
case "$found" in
  progressing | paused) crossfade abort "$ROUTE" --challenger "$backend" --reason "the pipeline failed" ;;
  promoted) crossfade rollback "$ROUTE" --challenger "$backend" --reason "the pipeline failed" ;;
esac
if [ -e "$REGISTRY/.deployments/$backend" ]; then
  python -m crossfade_backends.models undeploy "$MODEL@$VERSION" --registry "$REGISTRY"
fi
python -m crossfade_backends.models stage "$MODEL@$VERSION" archived --registry "$REGISTRY"
