# Every target makes what it needs: `make run` on a fresh clone is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# what `make up` starts beside servers and services: observer, metrics, alerts; Jaeger. `make up PROFILES=` for small machines
PROFILES ?= watch,traces
COMPOSE = COMPOSE_PROFILES=$(PROFILES) $(if $(findstring traces,$(PROFILES)),TRACES_ENDPOINT=http://jaeger:4318) \
	docker compose -f compose/compose.yaml
BENCH_STAMP := $(VENV)/.bench-installed

.PHONY: help setup run observer test proof fuzz bench bench-long lint up down clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## make .venv with everything in it

$(STAMP): setup.cfg pyproject.toml compose/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c compose/constraints.txt -e '.[dev]'
	@touch $@

# peers have versions of their own, which must not meet ours
$(BENCH_STAMP): $(STAMP) $(wildcard compose/bench/peers/requirements*.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -c compose/constraints.txt -e '.[dev,bench]'
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r compose/bench/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers-dbos
	.venv-peers-dbos/bin/pip install --quiet --disable-pip-version-check -r compose/bench/peers/requirements-dbos.txt
	@touch $@

run: setup  ## servers, services and a sample that shows every ending; Ctrl-C stops it all. SECURE=1: TLS, logins, rights
	$(BIN)/checkout run $(if $(SECURE),--secure)

observer: setup  ## the observer's pages beside what runs: http://127.0.0.1:6066/live
	eval "$$($(BIN)/checkout stack env --as observer)" && exec $(BIN)/python -m services.observer

test: setup  ## all tests, on real servers
	$(BIN)/pytest

proof: setup  ## the slow proofs: ten kills, ten thousand dead letters, order
	$(BIN)/pytest -m slow -n 0 -s tests

fuzz: setup  ## a hundred thousand hostile messages beside honest checkouts; ARGS="--messages 5000 --seed 7" for others
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: $(BENCH_STAMP)  ## what it does in a second, beside Faust, FastStream, DBOS and Debezium; ARGS="latency --runs 1" for a part
	$(BIN)/python -m compose.bench $(ARGS)

bench-long: $(BENCH_STAMP)  ## after a million checkouts, and beside a transaction that stays open: an hour
	$(BIN)/python -m compose.bench million held-transaction $(ARGS)

lint: setup  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

compose/.env:
	$(PYTHON) compose/make_env.py

up: compose/.env  ## the same in containers, with Kafka UI, dashboards, traces (needs Docker); PROFILES= for less
	$(COMPOSE) up --build --detach --wait
	@$(COMPOSE) run --rm setup checkout sample; code=$$?; $(PYTHON) compose/pages.py $(PROFILES); exit $$code

down: PROFILES = watch,traces
down: compose/.env  ## stop the containers and drop their data
	$(COMPOSE) down --volumes --remove-orphans

clean:  ## remove what setup made
	rm -rf $(VENV) .venv-peers .venv-peers-dbos build *.egg-info
