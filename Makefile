# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# Where nothing that is compiled is kept, each start of the agent in the lab takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := $(wildcard *requirements.txt doc/requirements.txt tools/lab/requirements.txt)
# The schemas of libvirt come with libvirt0, or with a package that it depends on.
SCHEMA_PACKAGE := libvirt0
# What stands for switches: a NETCONF server, Open vSwitch, and ssh to reach them.
SWITCH_PACKAGES := netconfd openssh-server openvswitch-switch iproute2
TEST_PACKAGES := rabbitmq-server systemd sudo snmpd gcc binutils etcd-server prometheus chromium systemd-container bash-completion $(SCHEMA_PACKAGE) $(SWITCH_PACKAGES) $(LIBVIRT_PACKAGES)
# Guests of a real libvirt, and what its Python binding is built from.
LIBVIRT_PACKAGES := libvirt-daemon-system libvirt-clients libvirt-dev pkg-config python3-dev
PYTEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

.PHONY: demo
demo: venv ## Show a port-create event become a VF that pings through its switch
	@$(BIN)/python tools/lab setup --also $(SCHEMA_PACKAGE)
	@$(BIN)/python tools/demo

.PHONY: test
test: venv ## Run every test; PYTEST_ARGS='-k word' chooses some
	-@$(BIN)/python tools/lab setup --netdevsim --also $(TEST_PACKAGES)
	-@$(BIN)/python -m pip install -q -e .[libvirt]
	-@$(BIN)/python tools/openstack setup
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-openstack
test-openstack: venv ## Run the tests on a real Neutron alone
	@$(BIN)/python tools/openstack setup
	@$(BIN)/python -m pytest tests/openstack $(PYTEST_ARGS)

.PHONY: check
check: venv ## Check format, style, types, configuration sample, documentation and release notes
	@PATH="$(CURDIR)/$(BIN):$$PATH" pre-commit run --all-files --show-diff-on-failure
	@$(MAKE) docs releasenotes

.PHONY: format
format: venv ## Format the Python code and mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: config-sample
config-sample: venv ## Write the configuration samples from the options
	@for file in etc/oslo-config-generator/*.conf; do $(BIN)/oslo-config-generator --config-file $$file; done

.PHONY: bench
bench: venv ## Measure the agent, beside neutron-sriov-nic-agent; BENCH_ARGS chooses
	@$(BIN)/python tools/lab setup --also $(SWITCH_PACKAGES)
	@$(BIN)/python tools/openstack setup
	@$(BIN)/python tools/bench $(BENCH_ARGS)

.PHONY: docs
docs: venv ## Build the documentation into build/docs
	@$(BIN)/sphinx-build -q -W --keep-going -b html doc/source build/docs

.PHONY: releasenotes
releasenotes: venv ## Check the release notes and build them into build/releasenotes
	@[ "$$(git rev-parse --is-shallow-repository)" = false ] || { \
		echo "release notes: left out, they need the whole history: git fetch --unshallow"; exit 0; }; \
	$(BIN)/reno -q lint; \
	$(BIN)/sphinx-build -q -W --keep-going -b html releasenotes/source build/releasenotes

.PHONY: lab
lab: venv lab-setup ## A shell in the lab guest
	@$(BIN)/python tools/lab shell

.PHONY: lab-setup
lab-setup: venv ## Install what the lab needs
	@$(BIN)/python tools/lab setup

.PHONY: venv
venv: $(STAMP) ## Make .venv with the project and everything its checks need

$(STAMP): $(REQUIREMENTS) setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sriov-agent needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv && \
		$(PYTHON) -c 'import ensurepip, venv'; } || { \
		echo "$(PYTHON) cannot make a virtual environment: install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@git rev-parse -q --verify HEAD >/dev/null 2>&1 || export PBR_VERSION=0.0.0; \
	$(BIN)/python -m pip install -q $(addprefix -r ,$(REQUIREMENTS)) -e .
	@touch $@

.PHONY: dist
dist: venv ## Build the source distribution and the wheel into dist
	@$(BIN)/python -m build -o dist .

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage *.egg-info
