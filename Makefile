# Every target makes what it needs: `make run` on a fresh clone is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# every file of every package has a hash in locks/; which index it comes from is pip's own affair
INSTALL := pip install --quiet --disable-pip-version-check
# what `make up` starts beside servers and services: observer, metrics, alerts; Jaeger. `make up PROFILES=` for small machines
PROFILES ?= watch,traces
COMPOSE = COMPOSE_PROFILES=$(PROFILES) $(if $(findstring traces,$(PROFILES)),TRACES_ENDPOINT=http://jaeger:4318) \
	docker compose -f compose/compose.yaml
BENCH_STAMP := $(VENV)/.bench-installed
# what Kubernetes' own schemas know: KEDA's kinds and Kustomize's file are others'
MANIFESTS = $(filter-out %/keda.yaml %/kustomization.yaml,$(wildcard compose/kubernetes/*.yaml))

.PHONY: help setup run observer test proof fuzz bench bench-long lint lint-manifests locks sbom audit-deps up down clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## make .venv with everything in it

$(STAMP): setup.cfg pyproject.toml locks/build.txt locks/dev.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(INSTALL) --require-hashes -r locks/build.txt -r locks/dev.txt
	$(BIN)/$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# tools and peers have versions of their own, which must not meet ours: an environment for each lock
.venv-peers/.installed: compose/bench/peers/requirements.txt
.venv-peers-dbos/.installed: compose/bench/peers/requirements-dbos.txt
.venv-checkov/.installed: locks/checkov.txt
.venv-locks/.installed: locks/locks.txt
.venv-sbom/.installed: locks/sbom.txt
.venv-audit/.installed: locks/audit.txt
.venv-%/.installed:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/$(INSTALL) --require-hashes -r $^
	@touch $@

$(BENCH_STAMP): $(STAMP) locks/bench.txt .venv-peers/.installed .venv-peers-dbos/.installed
	$(BIN)/$(INSTALL) --require-hashes -r locks/bench.txt
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

lint: setup  ## ruff, mypy --strict, import contracts; manifests by Kubernetes' schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/kubernetes-validate --strict --quiet $(MANIFESTS)

lint-manifests: .venv-checkov/.installed  ## manifests and Dockerfile by checkov's checks, which brings a hundred packages
	.venv-checkov/bin/checkov --config-file compose/checkov.yaml

locks: .venv-locks/.installed  ## write locks/ anew after a change of what is needed; ARGS="--upgrade" for the newest versions
	locks/write $(ARGS)

sbom: setup .venv-sbom/.installed  ## CycloneDX documents of the image and of the development tree, jars included: build/sbom
	mkdir -p build/sbom
	.venv-sbom/bin/cyclonedx-py requirements --output-file build/sbom/image.cdx.json locks/image.txt
	.venv-sbom/bin/cyclonedx-py requirements --output-file build/sbom/development.cdx.json locks/dev.txt
	$(BIN)/python -m compose.sbom build/sbom/image.cdx.json
	$(BIN)/python -m compose.sbom --jars build/sbom/development.cdx.json

audit-deps: .venv-audit/.installed  ## ask the package index for known weaknesses of what is installed (needs the network)
	locks/audit

compose/.env:
	$(PYTHON) compose/make_env.py

up: compose/.env  ## the same in containers, with Kafka UI, dashboards, traces (needs Docker); PROFILES= for less
	$(COMPOSE) up --build --detach --wait
	@$(COMPOSE) run --rm setup checkout sample; code=$$?; $(PYTHON) compose/pages.py $(PROFILES); exit $$code

down: PROFILES = watch,traces
down: compose/.env  ## stop the containers and drop their data
	$(COMPOSE) down --volumes --remove-orphans

clean:  ## remove what setup made
	rm -rf $(VENV) .venv-* build *.egg-info
