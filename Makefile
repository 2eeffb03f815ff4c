# python3 (>= 3.11) and make are all this needs. UV_TORCH_BACKEND=cpu in the environment asks uv for torch's small CPU wheels.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The package alone, which the demo needs; and with what tests, checks, pages and benchmarks need besides.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
UV_VERSION := $(shell sed -n 's/^uv==//p' constraints.txt)

# Bytecode is kept even where the environment says otherwise: without it every process compiles torch anew (4 s each).
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all check bench docs gpu clean

demo: $(READY)
	$(BIN)/ricebench demo

test: $(READY_DEV)
	$(BIN)/python -m pytest -n 2 -q -m "not slow"

test-all: test
	$(BIN)/python -m pytest -n 2 -q -m slow

check: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY_DEV)
	$(BIN)/python -m benchmarks

# Pages from docs/ and the docstrings, in build/site; strict, so that a link to nothing fails. The variable silences an advertisement.
docs: $(READY_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Ten minutes on one GPU, without a network: it takes the Python that is there, with its torch, and installs nothing.
# GPU_OUT is where the JSON and the table go, benchmarks/results/gpu unless it is given.
GPU_PYTHON ?= python3
gpu:
	@$(GPU_PYTHON) -m benchmarks.gpu $(if $(GPU_OUT),--out $(GPU_OUT))

# uv rather than pip: plain pip can pair a CPU-only torch with a CUDA torchvision, and then torchvision::nms is missing.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ricebench needs Python 3.11 or newer; try: make PYTHON=python3.12 demo")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e .
	@touch $@

# After the package, never beside it: two installations at once would write into one environment.
$(READY_DEV): $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV)
