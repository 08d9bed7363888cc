#!/bin/sh
# Starts replicas of the version beside the proxy, and begins the canary that $ROLLOUT describes.
# With --dry-run it prints the routing file as it would be.
set -eu
# At the end of a job, GitHub's runner kills each process with this mark. Replicas are to outlive the job.
export RUNNER_TRACKING_ID=
python -m crossfade_backends.models deploy "$MODEL@$VERSION" --registry "$REGISTRY" --config "$ROUTING" \
  --route "$ROUTE" --replicas "${REPLICAS:-2}" --strategy canary --rollout "$ROLLOUT" "$@"
