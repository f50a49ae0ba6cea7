# A menu: one command a target. `make setup` gives this machine a proved llama.cpp; `make test`
# runs every check. Both need only Python >= 3.10 (with venv), git, make and a C++ compiler.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CACHE := $(if $(LLAMABUILD_CACHE),--cache $(LLAMABUILD_CACHE))

.PHONY: help setup test check unit golden fuzz versions look mutants torture failures diagnoses hostile flips shelf fat matrix index \
	kills bench rebuild e2e-vulkan e2e-aarch64 e2e-cuda e2e-rpc e2e-toolchain e2e-windows e2e-abi e2e-share e2e-wheels clean

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/ready: pyproject.toml .ci/venv.py
	$(PYTHON) .ci/venv.py

setup: .venv/ready  ## give this machine a proved llama.cpp and llama-cpp-python
	$(BIN)/llamabuild setup $(CACHE)

test: .venv/ready check  ## all checks and tests, with real llama.cpp builds (most of an hour on 2 cores)
	$(BIN)/pytest

check: .venv/ready  ## format, lint, types, layers
	$(BIN)/python .ci/check.py

unit: .venv/ready  ## the tests that start no process
	$(BIN)/pytest tests/unit tests/contract tests/golden

golden: .venv/ready  ## write the golden plans and docs/machines.md anew; read the diff
	$(BIN)/python tests/golden/write.py

fuzz: .venv/ready  ## 10,000 recorded machines with broken answers (about a minute)
	LLAMABUILD_FUZZ=10000 $(BIN)/pytest tests/unit/test_fuzz.py

versions: .venv/ready  ## configure every pinned llama.cpp, compare with the plan (5 minutes)
	$(BIN)/python benchmarks/versions.py

look: .venv/ready  ## how long probe, plan and a fleet of 200 machines take
	$(BIN)/python benchmarks/look.py

mutants: .venv/ready  ## 77 broken builds and surroundings, each caught by the proof? (about 30 minutes)
	$(BIN)/python -m tests.mutants

e2e-abi: .venv/ready  ## bindings held against other llama.cpp trees, and one built under them (15 minutes)
	LLAMABUILD_E2E=abi $(BIN)/pytest -s tests/e2e/test_abi.py

e2e-vulkan: .venv/ready  ## Vulkan from nothing to a proof on a Vulkan device, software will do (20 minutes)
	LLAMABUILD_E2E=vulkan $(BIN)/pytest -s tests/e2e/test_vulkan.py

e2e-aarch64: .venv/ready  ## cross-compiled for AArch64 with SVE and I8MM, proved under QEMU (12 minutes)
	LLAMABUILD_E2E=aarch64 $(BIN)/pytest -s tests/e2e/test_aarch64.py

e2e-cuda: .venv/ready  ## CUDA for compute capability 9.0, audited, proved where it can be (40 minutes)
	LLAMABUILD_E2E=cuda $(BIN)/pytest -s tests/e2e/test_cuda.py

e2e-rpc: .venv/ready  ## layers that another machine computes, over the loopback interface (8 minutes)
	LLAMABUILD_E2E=rpc $(BIN)/pytest -s tests/e2e/test_rpc.py

e2e-toolchain: .venv/ready  ## without compiler and cmake: a compiler is brought along (15 minutes)
	LLAMABUILD_E2E=toolchain $(BIN)/pytest -s tests/e2e/test_toolchain.py

e2e-windows: .venv/ready  ## Windows programs made here, proved under Wine (15 minutes)
	LLAMABUILD_E2E=windows $(BIN)/pytest -s tests/e2e/test_windows.py

e2e-share: .venv/ready  ## builds shared through S3 and a mirror, adopted or refused by name (20 minutes)
	LLAMABUILD_E2E=share $(BIN)/pytest -s tests/e2e/test_share.py

e2e-wheels: .venv/ready  ## from llamabuild.lock to wheels in an index, for pip and uv (70 minutes)
	$(BIN)/pip install --quiet $$($(BIN)/llamabuild lock --tools)
	PATH="$(CURDIR)/$(BIN):$$PATH" LLAMABUILD_E2E=wheels $(BIN)/pytest -s tests/e2e/test_wheels.py

failures: .venv/ready  ## some forty failures produced for real: does the run say why, and what to do? (30 minutes)
	$(BIN)/python -m tests.failures --slow

diagnoses: .venv/ready  ## what diagnose says to the logs of the tests, as a table; LOGS=FOLDER for others
	$(BIN)/python benchmarks/diagnoses.py $(LOGS)

hostile: .venv/ready  ## patterns of the catalogue against hostile lines, and logs of 100 MB (2 minutes)
	$(BIN)/python benchmarks/catalogue_fuzz.py
	$(BIN)/python benchmarks/big_log.py

torture: .venv/ready  ## 32 processes on one store, 500 kills, failing I/O, a full disk (about 2 minutes)
	$(BIN)/python -m tests.torture

flips: .venv/ready  ## 10,000 single bits flipped in a store: is a changed byte ever used? (5 minutes)
	$(BIN)/python -m tests.torture.flips

kills: .venv/ready  ## 100 kills at random moments, a few of them on the real build (about 40 minutes)
	$(BIN)/python benchmarks/kills.py

bench: .venv/ready  ## speed of the result and of setup against what users do today (about 25 minutes)
	$(BIN)/python benchmarks/bench.py

rebuild: .venv/ready  ## what one changed option costs with a warm compiler cache (8 minutes)
	$(BIN)/python benchmarks/rebuild.py

fat: .venv/ready  ## a fat build against the native one of this machine (25 minutes)
	$(BIN)/python benchmarks/fat.py

matrix: .venv/ready  ## planning 5,000 cells against a store (2 minutes)
	$(BIN)/python benchmarks/matrix.py

index: .venv/ready  ## an index of 2,000 wheels: one more, and what pip reads of it (3 minutes)
	$(BIN)/python benchmarks/index.py

shelf: .venv/ready  ## a store with 20,000 artifacts: lookup, choice, gc (5 minutes)
	$(BIN)/python benchmarks/shelf.py

clean:  ## remove the virtual environment and tool caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
