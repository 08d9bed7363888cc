#!/bin/sh
# The model becomes a version, which never changes, in the stage `staging`.
set -eu
python -m crossfade_backends.models register "$WORK/model.skops" "$MODEL@$VERSION" --registry "$REGISTRY" \
  --training-data "$TRAINING_DATA" --held-out "$HELD_OUT" --author "${AUTHOR:-}" --tag "commit=${COMMIT:-}"
python -m crossfade_backends.models stage "$MODEL@$VERSION" staging --registry "$REGISTRY"
