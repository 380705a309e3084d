# One way to do each thing. Every target installs what it needs and is quick when nothing is missing.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := python3 python3-venv python3-dev gcc pkg-config libvirt-dev mosquitto mosquitto-clients openssl
# What the tests need besides, as root: containers, units, monitoring, a store, other people's clients.
TEST_PACKAGES := podman buildah runc podman-compose netavark aardvark-dns iptables debootstrap systemd prometheus \
    polkitd openssl postgresql nodejs npm jq chromium fonts-dejavu-core
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help install packages demo check lint test explore lab bench soak released clean

help:
	@echo 'make install   what is needed by apt, and .venv with the program in it'
	@echo 'make demo      the whole thing on this machine, with nothing configured'
	@echo 'make check     lint, types and unit tests: the loop of daily work'
	@echo 'make test      everything; as root with real hosts and real migrations'
	@echo 'make explore   histories of migrations, every one within bounds: a fixed slice of them'
	@echo 'make lab       as root: two real hosts, a real guest migrated there and back, shown live'
	@echo 'make bench     what it costs, against the barest thing that does the same'
	@echo 'make soak      the long version of the tests'

install: packages .venv/installed

packages:
	@PYTHON=$(PYTHON) .ci/install-packages $(PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo 'needs Python 3.11 or newer, and $(PYTHON) is not; another: make PYTHON=python3.11' >&2; exit 1; }

.venv/installed: pyproject.toml | packages
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,postgresql]'
	@touch $@

demo: install
	@$(BIN)/libvirt-mqtt demo

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -q -n 2 -m 'not server and not lab and not slow'

# pytest comes last, once, so that its closing line is the last one. Most tests wait rather than compute, so files
# run side by side; in the order of their names those with real hosts come first, and what is short fills up.
test: lint
	@if [ "$$(id -u)" -eq 0 ]; then \
	    .ci/install-packages $(TEST_PACKAGES) && $(BIN)/python -m tests.lab install; fi
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

explore: install
	$(BIN)/pytest -q tests/explorer

lab: install
	@$(BIN)/python -m tests.lab install
	@$(BIN)/python -m tests.lab show

bench: install
	@$(BIN)/python -m tests.bench

soak: install
	@if [ "$$(id -u)" -eq 0 ]; then \
	    .ci/install-packages $(TEST_PACKAGES) && $(BIN)/python -m tests.lab install; fi
	$(BIN)/pytest --soak

# At a release: from then on nothing that its readers rely on may change.
released:
	cp schemas/v1/*.schema.json tests/data/released/

clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist build
