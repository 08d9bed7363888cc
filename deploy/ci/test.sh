#!/bin/sh
# Tests of the model team's own code. No model, no proxy.
set -eu
python -m pytest -q "${TESTS:-tests}"
