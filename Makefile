# Two commands for everybody: `make demo` and `make test`. For developers: `make check`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
CPP := $(shell find native -name '*.cc' -o -name '*.h')
NATIVE := pyproject.toml constraints.txt CMakeLists.txt \
	$(filter-out native/tests/%,$(CPP)) $(shell find native -name '*.inc')
# Beside CPU torch, torchvision's import fails, and lightning's with it. It lies in a folder of its
# own, which only tests/vision sees.
VISION := .venv/vision

.PHONY: demo test native-test neon-test larq-parity zoo-bench check lint format types docs clean

demo: .venv/.demo
	$(BIN)/bnn demo

test: .venv/.dev
	$(BIN)/pytest -n 2 --dist loadgroup
	PYTHONPATH=$(VISION) $(BIN)/pytest tests/vision

# The C++ tests under sanitizers, and under an emulator of AArch64 (Debian's; installed if that can
# be done without a password). Neither needs Python.
native-test:
	native/tests/run.sh host

neon-test:
	native/tests/run.sh neon

# Larq Zoo's 14 networks, built by Larq with random weights, imported here, outputs compared. Larq
# wants libraries that nothing else here does, so it has an environment of its own.
LARQ := .venv-larq
ZOO := QuickNetSmall QuickNet QuickNetLarge BinaryAlexNet XNORNet DoReFaNet BiRealNet \
	BinaryResNetE18 RealToBinaryNet MeliusNet22 BinaryDenseNet28 BinaryDenseNet37 \
	BinaryDenseNet37Dilated BinaryDenseNet45

larq-parity: .venv/.dev $(LARQ)/.ready
	for network in $(ZOO); do \
		$(LARQ)/bin/python -m benchmarks.larq_parity.export $$network build/larq-parity || exit 1; \
	done
	$(BIN)/python benchmarks/larq_parity/compare.py build/larq-parity --write
	$(LARQ)/bin/python benchmarks/larq_parity/guide.py tests/data/larq_guide
	$(BIN)/pytest -q tests/docs/test_migration.py

# Published networks, packed and emulated, and three of them in Larq Compute Engine.
zoo-bench: .venv/.dev $(LARQ)/.ready
	$(BIN)/python -m benchmarks.zoo --json benchmarks/results/zoo.json

$(LARQ)/.ready:
	$(PYTHON) -m venv $(LARQ)
	$(LARQ)/bin/pip install --quiet tensorflow-cpu==2.21.0 tf_keras==2.21.0 larq==0.14.0 h5py \
		click inflection typeguard tqdm
	$(LARQ)/bin/pip install --quiet --no-deps larq-zoo==2.3.2 zookeeper==1.4.0 \
		larq-compute-engine==0.16.0
	touch $@

check: lint types test native-test neon-test

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

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
	$(PIP) -e '.[train,mnist,interop,docs,dev]'
	$(PIP) --no-deps --upgrade --target $(VISION) torchvision
	touch .venv/.demo $@
