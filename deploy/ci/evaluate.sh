#!/bin/sh
# Fails (exit code 3) if the model is worse than the champion on the rows that were held out.
# The allowances are for differences that are noise: $ALLOWED_AUC, $ALLOWED_LOG_LOSS.
set -eu
python -m crossfade_backends.candidate evaluate "$WORK/model.skops" --registry "$REGISTRY" \
  --against "$MODEL@${CHAMPION:-production}" --held-out "$HELD_OUT" \
  --auc "${ALLOWED_AUC:-0}" --log-loss "${ALLOWED_LOG_LOSS:-0}"
