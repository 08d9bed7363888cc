#!/bin/sh
# Makes $WORK/model.skops of $TRAINING_DATA. Put your own training here.
set -eu
mkdir -p "$WORK"
python -m crossfade_backends.candidate train "$TRAINING_DATA" "$WORK/model.skops"
