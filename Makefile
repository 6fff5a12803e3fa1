# Every target sets up .venv first; nothing else is needed but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup demo stop test lint types bench results clean

help:
	@echo "make setup    .venv with searec and everything it is tested with"
	@echo "make demo     packaged sample -> check -> train -> evaluate -> report -> running service (make stop ends it)"
	@echo "make test     all tests (CI=1 measures coverage), with the servers and the browser they start (installed where that is possible)"
	@echo "make lint     ruff and mypy"
	@echo "make bench    benchmarks, one JSON line each (DATA=folder to measure on your own data)"
	@echo "make results  the headline table (DATA=folder, OUT=folder)"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --requirement constraints.txt
	$(PIP) --editable '.[dense,generative,serendipity,nearline,service,postgres,distil,chat,study,fusion,tensorboard,dev,bench]'
	touch $@

demo: setup
	$(BIN)/searec demo

stop: setup
	$(BIN)/searec demo --stop

test: setup
	./tests/install_services.sh
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(if $(CI),--cov)

lint: setup
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/all.py $(if $(DATA),--data $(DATA))

results: setup
	$(BIN)/python benchmarks/headline.py run $(DATA) --out $(or $(OUT),runs/headline)

clean:
	rm -rf .venv build dist runs
