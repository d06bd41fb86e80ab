# QuantaCore. `make help` lists what there is; each target sets up what it needs by itself.

VENV    ?= .venv
BIN     := $(VENV)/bin
WORKERS ?= 2
SEED    ?=

ifneq ($(SEED),)
export QUANTACORE_SEED := $(SEED)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak docs setup clean distclean

help: ## this list
	@echo "QuantaCore: make TARGET"
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 14
	@echo
	@echo "Variables: PYTHON (interpreter, 3.11 or newer), DEMO_FLAGS, TEST_FLAGS, BENCH_FLAGS,"
	@echo "           SEED (of random tests), WORKERS (parallel tests, $(WORKERS))"

demo: setup ## a photon source's tags through the gateware, with a report (DEMO_FLAGS=--full ...)
	$(BIN)/quantacore demo $(DEMO_FLAGS)

test: lint ## ruff and all tests (TEST_FLAGS="-k link" ...)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST_FLAGS)

lint: setup ## ruff
	$(BIN)/ruff check .

bench: setup ## all benchmarks; one page in build/bench (BENCH_FLAGS=--quick)
	$(BIN)/python benchmarks/run_all.py $(BENCH_FLAGS)

soak: setup ## the random tests for much longer (SEED=... repeats a run)
	QUANTACORE_SOAK=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST_FLAGS)

docs: setup ## documents made from the gateware's layouts, pulse sheets, listings
	$(BIN)/python -m quantacore.gateware.layouts.documents docs
	$(BIN)/python -m quantacore.firmware.documents docs tests/unit/listings

setup: $(VENV)/.tools-ready ## the environment alone

# A stamp per step, so that a change of requirements installs again and nothing else does.
$(VENV)/.installed: pyproject.toml constraints.txt tools/find_python.sh tools/check_tools.py
	@set -e; python=$$(sh tools/find_python.sh); \
	"$$python" tools/check_tools.py; \
	echo "setting up $(VENV) with $$("$$python" --version) ($$python)"; \
	"$$python" -m venv "$(VENV)" || { \
	  echo "No virtual environment: install your system's package for it (Debian: python3-venv)" \
	    >&2; exit 1; }
	@echo "installing what QuantaCore needs into $(VENV) (about 0.8 GB, a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/.tools-ready: $(VENV)/.installed tools/warm_up.py
	@$(BIN)/python tools/warm_up.py
	@touch $@

clean: ## what tests, benchmarks and the demo wrote
	rm -rf build dist report sim_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## that, and the environment
	rm -rf "$(VENV)"
