# Two commands for everybody: `make demo` and `make test`. For developers: `make check`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
NATIVE := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*/*.cc native/*/*/*.h)
# Beside CPU torch, torchvision's import fails, and lightning's with it. It lies in a folder of its
# own, which only tests/vision sees.
VISION := .venv/vision

.PHONY: demo test check lint format types docs clean

demo: .venv/.demo
	$(BIN)/bnn demo

test: .venv/.dev
	$(BIN)/pytest -n 2 --dist loadgroup
	PYTHONPATH=$(VISION) $(BIN)/pytest tests/vision

check: lint types test

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror native/*/*.cc native/*/*/*.h

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i native/*/*.cc native/*/*/*.h

types: .venv/.dev
	$(BIN)/mypy

docs: .venv/.dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build site runs

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/pip $(NATIVE)
	$(PIP) -e '.[train]'
	touch $@

.venv/.dev: .venv/bin/pip $(NATIVE)
	$(PIP) -e '.[train,mnist,docs,dev]'
	$(PIP) --no-deps --upgrade --target $(VISION) torchvision
	touch .venv/.demo $@
