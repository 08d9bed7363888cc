# One command per act; .ci/run calls the same. Everything lives in .venv, made on demand.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test test-compiled lint types layers bench clean
demo: .venv/models.ok ; $(PY) -m crossfade demo $(ARGS)
test: .venv/test.ok ; $(PY) -m pytest $(ARGS)
# What holds of the data plane whoever runs it, for the compiled one, as `pip install .` makes it where there is a C compiler.
test-compiled: .venv/compiled/ok
	cd .venv/compiled && ../bin/python -m crossfade version | grep compiled
	cd .venv/compiled && ../bin/python -m pytest tests/http1 tests/routing tests/dataplane tests/fuzz tests/workers $(ARGS)
lint: .venv/dev.ok ; .venv/bin/ruff check . && .venv/bin/ruff format --check .
types: .venv/dev.ok ; .venv/bin/mypy
layers: .venv/dev.ok ; .venv/bin/lint-imports
bench: .venv/dev.ok
	-@$(MAKE) --no-print-directory .venv/bench.ok   # where there are no such binaries, the bench says what is absent
	-@$(MAKE) --no-print-directory .venv/compiled/ok
	$(PY) -m loadtests.bench $(ARGS)

# Beside the tests, so that they meet this package first. Never inside of proxy/: an old library would win over a new source.
.venv/compiled/ok: .venv/dev.ok setup.py $(shell find proxy -name '*.py')
	rm -rf $(@D)
	CROSSFADE_COMPILE=require .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target $(@D) .
	cp -r tests loadtests pyproject.toml $(@D)
	touch $@

clean: ; rm -rf .venv build *.egg-info

.venv/bin/python: ; $(PYTHON) -m venv .venv
.venv/%.ok: .venv/bin/python pyproject.toml ; .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[$*]' && touch $@
