# Every target makes its own environment in .venv first. Other interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
DIST_TESTS ?= tests/cli/test_main.py tests/configuration tests/hub/test_remote_code.py tests/processing
FUZZ ?= 100000
FUZZ_SECONDS ?= 600
FUZZ_TESTS ?= images.test_mutated_files processor.test_chats processor.test_templates data.test_records \
	data.test_text_files data.test_tar_files conversion.test_weights conversion.test_index_files \
	configuration.test_configurations
TRITON ?= triton==3.7.1
TOOLS := $(VENV)-tools
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) $(PIP_ARGS)

.PHONY: help demo test test-kernels test-slow fuzz fuzz-coverage lint bench docs dist test-dist resolve licenses sbom audit clean

help:
	@echo "make demo           train a tiny model to see, measure what it forgets (./wings-demo, about 5 minutes)"
	@echo "make test           the fast tests"
	@echo "make test-kernels   the Triton kernels in Triton's interpreter (installs Triton, 290 MB)"
	@echo "make test-slow      the slow tests"
	@echo "make fuzz           the fuzz tests, FUZZ (100000) new inputs or FUZZ_SECONDS (600) each; hours on two cores"
	@echo "make fuzz-coverage  the same tests, guided by coverage, FUZZ_SECONDS (600) each (installs atheris)"
	@echo "make lint           ruff and mypy"
	@echo "make bench          what the wings cost beside the same backbone without them (docs/speed.md)"
	@echo "make docs           the documentation site, in ./site"
	@echo "make dist           wheel and source archive, in ./dist, and a check of their metadata"
	@echo "make test-dist      make dist, then tests from the unpacked source archive, of the wheel"
	@echo "make resolve        does every extra resolve on Python 3.11, 3.12 and 3.13 (asks the package index)"
	@echo "make licenses       docs/licenses.md anew: what each dependency is licensed under"
	@echo "make sbom           the list of what is installed, in CycloneDX's form, in ./dist"
	@echo "make audit          known vulnerabilities of the pinned dependencies (asks pypi.org)"

# One stamp per set of extras; each is made again when the dependencies change.
$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: setup.cfg $(CONSTRAINTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[$*]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/wings-hf demo $(DEMO_ARGS)

# Tests run in parallel, one torch thread each.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto $(PYTEST_ARGS)

# The Triton kernels in Triton's interpreter, which needs no GPU.
test-kernels: $(VENV)/.dev
	$(PIP) '$(TRITON)'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto tests/modeling/test_triton.py $(PYTEST_ARGS)

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# Inputs are new in each run; one that breaks a property is printed with the line that repeats it.
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 WINGS_FUZZ=$(FUZZ) WINGS_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -n auto tests/fuzz $(PYTEST_ARGS)

fuzz-coverage: $(VENV)/.dev
	$(PIP) atheris
	set -e; for name in $(FUZZ_TESTS); do OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/coverage_guided.py \
	    test_fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096; done

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into ./wings-bench; an hour or more on two cores. A first look: make bench BENCH_ARGS=--quick
bench: $(VENV)/.demo
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q docs site

# Tools that need not agree with the pinned versions live beside them.
$(TOOLS)/.%: setup.cfg
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet $(PIP_ARGS) $*
	@touch $@

dist: $(TOOLS)/.build $(TOOLS)/.twine
	rm -rf dist build
	$(TOOLS)/bin/python -m build --outdir dist .
	$(TOOLS)/bin/twine check --strict dist/*

# From the unpacked source archive, with the wheel installed as users have it: no editable install, no repository.
test-dist: dist $(VENV)/.dev
	rm -rf build/sdist && mkdir -p build/sdist/installed && tar -xzf dist/*.tar.gz -C build/sdist --strip-components=1
	$(BIN)/python -m pip install --quiet --no-deps --no-index --target build/sdist/installed dist/*.whl
	rm -rf build/sdist/src
	cd build/sdist && PYTHONPATH=installed OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest -m "not slow" -n auto \
	    -o pythonpath=installed $(DIST_TESTS) $(PYTEST_ARGS)

# Nothing is installed but uv, which asks for the newest versions and for those of both files of constraints.
resolve: $(TOOLS)/.uv
	$(TOOLS)/bin/python scripts/resolve_extras.py --uv $(TOOLS)/bin/uv

licenses: $(VENV)/.dev
	$(BIN)/python scripts/list_licenses.py docs/licenses.md

sbom: $(TOOLS)/.cyclonedx-bom $(VENV)/.dev
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible -o dist/sbom.cdx.json $(BIN)/python

# It needs pypi.org itself, which mirrors do not stand in for: what could not be asked is said, and is no failure.
AUDIT_LOG := $(TOOLS)/audit.log
audit: $(TOOLS)/.pip-audit
	@$(TOOLS)/bin/pip-audit --requirement $(CONSTRAINTS) --no-deps --disable-pip --progress-spinner off --timeout 20 \
	    >$(AUDIT_LOG) 2>&1; code=$$?; grep -v "could not be audited" $(AUDIT_LOG); \
	skipped=$$(grep -c "could not be audited" $(AUDIT_LOG)); \
	if [ $$skipped -ne 0 ]; then \
	    echo "make audit: $$skipped packages are unknown to the vulnerability service reached from here: NOT checked."; fi; \
	if [ $$code -ne 0 ] && ! grep -qE "Found [0-9]+ known" $(AUDIT_LOG) && \
	    grep -qiE "connection|resolve|timed out|unreachable|proxy|certificate" $(AUDIT_LOG); then \
	    echo "make audit: the vulnerability service cannot be reached from here: NOTHING was checked."; code=0; fi; \
	exit $$code

clean:
	rm -rf $(VENV) $(TOOLS) site build dist .mypy_cache .pytest_cache .ruff_cache
