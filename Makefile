# One command per act; .ci/run calls the same. Everything lives in .venv, made on demand.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test lint types layers bench clean
demo: .venv/models.ok ; $(PY) -m proxy demo $(ARGS)
test: .venv/test.ok ; $(PY) -m pytest $(ARGS)
lint: .venv/dev.ok ; .venv/bin/ruff check . && .venv/bin/ruff format --check .
types: .venv/dev.ok ; .venv/bin/mypy
layers: .venv/dev.ok ; .venv/bin/lint-imports
bench: .venv/dev.ok
	-@$(MAKE) --no-print-directory .venv/bench.ok   # where there are no such binaries, the bench says what is absent
	$(PY) -m loadtests.bench $(ARGS)
clean: ; rm -rf .venv build *.egg-info

.venv/bin/python: ; $(PYTHON) -m venv .venv
.venv/%.ok: .venv/bin/python pyproject.toml ; .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[$*]' && touch $@
