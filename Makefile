# Every target makes its own environment in .venv first. Other interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
TRITON ?= triton==3.7.1
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) $(PIP_ARGS)

.PHONY: help demo test test-kernels test-slow lint bench clean

help:
	@echo "make demo          train a tiny model to see, measure what it forgets (./wings-demo, about 5 minutes)"
	@echo "make test          the fast tests"
	@echo "make test-kernels  the Triton kernels in Triton's interpreter (installs Triton, 290 MB)"
	@echo "make test-slow     the slow tests"
	@echo "make lint          ruff and mypy"
	@echo "make bench         what the wings cost beside the same backbone without them (docs/speed.md)"

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

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Into ./wings-bench; an hour or more on two cores. A first look: make bench BENCH_ARGS=--quick
bench: $(VENV)/.demo
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
