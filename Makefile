# `make fuzz` and `make test` do everything, set-up included.
#   make fuzz TIME=600      a longer campaign
#   make setup PYTHON=...   with a Python of your choice
TIME ?= 60
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup fuzz fuzz-parser test test-live lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml tools/find-python
	python="$${PYTHON:-$$(tools/find-python)}" && "$$python" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

fuzz: $(STAMP)
	$(BIN)/eventdiff fuzz --time $(TIME) || [ $$? -eq 1 ]

# Fails on what the schedule parsers do not take or refuse in one line; the input is then in /tmp.
fuzz-parser: $(STAMP)
	$(BIN)/python -m tests.fuzz_parser -max_total_time=$(TIME) -timeout=30 \
		-artifact_prefix=$${TMPDIR:-/tmp}/fuzz-parser-

test: lint
	$(BIN)/python -m pytest -q

# Sets real KVM builds up, in EVENTDIFF_CACHE or the XDG cache, and runs schedules on them. Skips
# where packages cannot be had; fails if setup fails otherwise.
test-live: $(STAMP)
	EVENTDIFF_LIVE=1 $(BIN)/python -m pytest -q -rs tests/live

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

bench: $(STAMP)
	$(BIN)/python -m bench.throughput

clean:
	rm -rf $(VENV)
