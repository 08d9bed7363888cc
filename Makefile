# One command per act; .ci/run calls the same. Everything lives in .venv, made on demand, of the versions in requirements/.
PYTHON ?= python3
# Another Python has an environment of its own: make test PYTHON=python3.13
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),/$(notdir $(PYTHON)))
PY := $(VENV)/bin/python
INSTALL := $(VENV)/bin/pip install --quiet --disable-pip-version-check
# Tests wait more than they compute. CPython's development mode warns of more that is left open, which fails a test; what
# tests start runs without it, at the speed of every day.
JOBS ?= 4
DEV ?= -X dev
# Without the allocator's debug hooks of that mode: they find faults of C, and the sources have none. They take a seventh.
export PYTHONMALLOC := pymalloc
# Bytecode is kept though the environment says no: else each of the hundreds of processes of the tests compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE
SHARED := -m pytest -n $(JOBS) --dist worksteal
# By the Python that is named. Exit code 5: ARGS chose no test of this kind.
run_beside = $(1) $(SHARED) -m 'not alone' $(ARGS) || [ $$? = 5 ]
run_alone = $(1) -m pytest -m alone $(ARGS) || [ $$? = 5 ]
PURE := tests/config tests/http1 tests/quality tests/report tests/rollout tests/routing tests/stats tests/test_errors.py

.PHONY: demo test test-beside test-alone test-all-pythons test-compiled test-newest newest servers coverage mutants soak lint types layers docs hooks bench bench-serving features lock clean
demo: $(VENV)/models.ok $(if $(findstring tour,$(ARGS)),$(VENV)/tour.ok) ; $(PY) -m crossfade demo $(ARGS)
test: test-beside test-alone
# Those that may run beside others, and those that may not.
test-beside: $(VENV)/test.ok ; $(call run_beside,$(PY) $(DEV))
test-alone: $(VENV)/test.ok ; $(call run_alone,$(PY) $(DEV))
test-all-pythons:
	for python in $$(.ci/pythons); do echo "== $$python" && $(MAKE) test PYTHON=$$python || exit; done
# Of the pure packages, by their own tests.
coverage: $(VENV)/test.ok ; $(PY) $(SHARED) --cov --cov-report=term-missing:skip-covered $(PURE) $(ARGS)
# For the night, not in CI: the changes to a pure file that no test notices. make mutants FILES=proxy/crossfade/rollout/move.py,
# or SINCE=a revision: the pure files that have changed since (main, if nothing is said). Some seconds for each change.
mutants: $(VENV)/mutation.ok ; $(PY) -m tests.mutation $(addprefix --since=,$(SINCE)) $(FILES)
# What holds of the data plane whoever runs it, for the compiled one, as `pip install .` makes it where there is a C compiler:
# with the scenarios of serving. What judges, decides, and keeps its state is not compiled, so it is tested once, with the sources.
SERVING := access_log backend_tls behind_nginx challenger_killed drain drain_endpoint endpoints in_flight kept_pairs listeners \
  many_reloads memory own_routes prediction_log promotion proxy_killed rate_limit reload rewriting takeover tls traces \
  transparent visitors websockets
test-compiled: $(VENV)/compiled/ok
	cd $(VENV)/compiled && ../bin/python -m crossfade version | grep compiled
	cd $(VENV)/compiled && ../bin/python $(SHARED) tests/http1 tests/routing tests/dataplane tests/fuzz tests/workers $(SERVING:%=tests/scenarios/test_%.py) -m 'not alone' $(ARGS)
# The whole proxy under faults drawn from a seed: make soak ARGS="--minutes 30 --seed 7". It ends with the number of violations.
soak: $(VENV)/test.ok ; $(PY) -m tests.soak $(ARGS)
# Model servers that tests/servers starts, each in an environment of its own: what they require contradicts each other.
servers: $(VENV)/servers/mlserver.ok $(VENV)/servers/mlflow.ok $(VENV)/servers/registry.ok
$(VENV)/servers/%.ok: $(VENV)/bin/python tests/servers/%.txt
	$(PYTHON) -m venv $(@D)/$*
	$(@D)/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/servers/$*.txt
	touch $@
# In a new environment, of the newest versions that there are today, whatever requirements/ says.
test-newest: newest ; $(MAKE) test VENV=$(VENV)/newest DEV=
newest:
	rm -rf $(VENV)/newest && $(PYTHON) -m venv $(VENV)/newest && $(PYTHON) -c '$(BUILD)' >$(VENV)/newest/build.in
	$(VENV)/newest/bin/pip install --quiet --disable-pip-version-check -r $(VENV)/newest/build.in --editable '.[test]'
	touch $(VENV)/newest/test.ok
lint: $(VENV)/dev.ok
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff check --config proxy/pure.toml proxy && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell
types: $(VENV)/dev.ok ; $(VENV)/bin/mypy
# The pages of docs/ as a site in build/site; a link without a target is an error.
docs: $(VENV)/test.ok ; NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet
hooks: $(VENV)/dev.ok ; $(VENV)/bin/pre-commit install
layers: $(VENV)/dev.ok ; $(VENV)/bin/lint-imports
bench: $(VENV)/dev.ok
	-@$(MAKE) --no-print-directory $(VENV)/bench.ok   # where there are no such binaries, the bench says what is absent
	-@$(MAKE) --no-print-directory $(VENV)/compiled/ok
	$(PY) -m loadtests.bench $(ARGS)

# Before and after of micro-batching, the response cache and load balancing, by Locust.
bench-serving: $(VENV)/dev.ok
	-@$(MAKE) --no-print-directory $(VENV)/compiled/ok
	$(PY) -m loadtests.serving $(ARGS)

features: $(VENV)/dev.ok $(VENV)/compiled/ok
	$(PY) -m loadtests.features $(ARGS)

# Beside the tests, so that they meet this package first. Never inside of proxy/: an old library would win over a new source.
$(VENV)/compiled/ok: $(VENV)/dev.ok setup.py $(shell find proxy -name '*.py')
	rm -rf $(@D)
	CROSSFADE_COMPILE=require $(INSTALL) --no-deps --no-build-isolation --target $(@D) .
	cp -r tests loadtests pyproject.toml $(@D)
	touch $@

# The newest versions that pyproject.toml allows, the same in all files, for every CPython from 3.11 on.
COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes --no-annotate --custom-compile-command 'make lock'
BUILD := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
lock:
	rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	$(PYTHON) -c '$(BUILD)' >$(VENV)/lock/build.in
	$(COMPILE) pyproject.toml $(VENV)/lock/build.in --extra dev --extra bench --extra mutation --output-file $(VENV)/lock/all.txt
	$(COMPILE) $(VENV)/lock/build.in --constraints $(VENV)/lock/all.txt --output-file requirements/build.txt
	$(COMPILE) pyproject.toml --extra regex --extra encodings --extra parquet --constraints $(VENV)/lock/all.txt --output-file requirements/run.txt
	for extra in models edge tour test dev bench mutation; do $(COMPILE) pyproject.toml --extra $$extra \
	  --constraints $(VENV)/lock/all.txt --output-file requirements/$$extra.txt || exit; done
	for server in mlserver mlflow registry; do $(COMPILE) tests/servers/$$server.in --output-file tests/servers/$$server.txt || exit; done

clean: ; rm -rf .venv build *.egg-info

$(VENV)/bin/python: ; $(PYTHON) -m venv $(VENV)
$(VENV)/%.ok: $(VENV)/bin/python pyproject.toml requirements/build.txt requirements/%.txt
	$(INSTALL) --require-hashes --requirement requirements/build.txt --requirement requirements/$*.txt
	$(INSTALL) --no-deps --no-build-isolation --editable . && touch $@
