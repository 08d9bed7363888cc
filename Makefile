# One command per act; .ci/run calls the same. Everything lives in .venv, made on demand, of the versions in requirements/.
PYTHON ?= python3
PY := .venv/bin/python
INSTALL := .venv/bin/pip install --quiet --disable-pip-version-check

.PHONY: demo test test-compiled test-newest lint types layers hooks bench lock clean
demo: .venv/models.ok ; $(PY) -m crossfade demo $(ARGS)
test: .venv/test.ok ; $(PY) -m pytest $(ARGS)
# What holds of the data plane whoever runs it, for the compiled one, as `pip install .` makes it where there is a C compiler.
test-compiled: .venv/compiled/ok
	cd .venv/compiled && ../bin/python -m crossfade version | grep compiled
	cd .venv/compiled && ../bin/python -m pytest tests/http1 tests/routing tests/dataplane tests/fuzz tests/workers $(ARGS)
# In a new environment, of the newest versions that there are today, whatever requirements/ says.
test-newest:
	rm -rf .venv/newest && $(PYTHON) -m venv .venv/newest && $(PYTHON) -c '$(BUILD)' >.venv/newest/build.in
	.venv/newest/bin/pip install --quiet --disable-pip-version-check -r .venv/newest/build.in --editable '.[test]'
	.venv/newest/bin/python -m pytest $(ARGS)
lint: .venv/dev.ok
	.venv/bin/ruff check . && .venv/bin/ruff check --config proxy/pure.toml proxy && .venv/bin/ruff format --check .
	.venv/bin/codespell
types: .venv/dev.ok ; .venv/bin/mypy
hooks: .venv/dev.ok ; .venv/bin/pre-commit install
layers: .venv/dev.ok ; .venv/bin/lint-imports
bench: .venv/dev.ok
	-@$(MAKE) --no-print-directory .venv/bench.ok   # where there are no such binaries, the bench says what is absent
	-@$(MAKE) --no-print-directory .venv/compiled/ok
	$(PY) -m loadtests.bench $(ARGS)

# Beside the tests, so that they meet this package first. Never inside of proxy/: an old library would win over a new source.
.venv/compiled/ok: .venv/dev.ok setup.py $(shell find proxy -name '*.py')
	rm -rf $(@D)
	CROSSFADE_COMPILE=require $(INSTALL) --no-deps --no-build-isolation --target $(@D) .
	cp -r tests loadtests pyproject.toml $(@D)
	touch $@

# The newest versions that pyproject.toml allows, the same in all files, for every CPython from 3.11 on.
COMPILE = .venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes --no-annotate --custom-compile-command 'make lock'
BUILD := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
lock:
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv
	$(PYTHON) -c '$(BUILD)' >.venv/lock/build.in
	$(COMPILE) pyproject.toml .venv/lock/build.in --extra dev --extra bench --output-file .venv/lock/all.txt
	$(COMPILE) .venv/lock/build.in --constraints .venv/lock/all.txt --output-file requirements/build.txt
	$(COMPILE) pyproject.toml --constraints .venv/lock/all.txt --output-file requirements/run.txt
	for extra in models test dev bench; do $(COMPILE) pyproject.toml --extra $$extra \
	  --constraints .venv/lock/all.txt --output-file requirements/$$extra.txt || exit; done

clean: ; rm -rf .venv build *.egg-info

.venv/bin/python: ; $(PYTHON) -m venv .venv
.venv/%.ok: .venv/bin/python pyproject.toml requirements/build.txt requirements/%.txt
	$(INSTALL) --require-hashes --requirement requirements/build.txt --requirement requirements/$*.txt
	$(INSTALL) --no-deps --no-build-isolation --editable . && touch $@
