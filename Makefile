# The commands of a checkout. Every target sets up .venv first and does no install work if it already fits the lock.
PYTHON ?= python3.11
EXTRA ?= cpu
ARGS ?=
export PYTHON EXTRA UPGRADE
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test drills lint format lock doctor

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "Variables: EXTRA=cpu|gpu (which lock), PYTHON=/path/to/python3.11 (3.12, 3.13), ARGS='...' (passed on)"

setup: ## create or update .venv from the lock
	@bash requirements/install.sh

quickstart: setup ## one turn of the closed loop with a small model on this machine, and its page
	@.venv/bin/genrm-rl quickstart $(ARGS)

test: setup ## run all tests but the drills (ARGS='tests/unit -k name' for some)
	@.venv/bin/python -m pytest -m "not drill" -n 2 --no-loadscope-reorder $(ARGS)

drills: setup ## kill everything that can die, on real clusters (about an hour; ARGS='-k disk' for some)
	@.venv/bin/python -m pytest -m drill $(ARGS)

lint: setup ## check style without changing anything
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: setup ## mend style
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

doctor: setup ## say whether this machine can run it, and what to mend
	@.venv/bin/genrm-rl doctor $(ARGS)

lock: ## regenerate requirements/cpu.txt and gpu.txt (UPGRADE=1: newest versions)
	@bash requirements/lock.sh
