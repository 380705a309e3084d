# One way to do each thing. Every target installs what it needs and is quick when nothing is missing.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := python3 python3-venv python3-dev gcc pkg-config libvirt-dev mosquitto mosquitto-clients openssl
# What the tests need besides, as root: containers, units, monitoring, a store, other people's clients.
TEST_PACKAGES := podman buildah runc podman-compose netavark aardvark-dns iptables debootstrap systemd prometheus \
    polkitd openssl postgresql nodejs npm jq prometheus-alertmanager nftables chromium fonts-dejavu-core rpm rpmlint cpio ansible-lint zsh
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: help install system packages lock release-check release demo check lint test explore mutants lab bench soak pictures released clean

help:
	@echo 'make install   what is needed by apt, and .venv with the program in it'
	@echo 'make demo      the whole thing on this machine, with nothing configured; KEEP=1: until Ctrl-C'
	@echo 'make check     lint, types and unit tests: the loop of daily work'
	@echo 'make test      everything; as root with real hosts and real migrations'
	@echo 'make explore   histories of migrations, every one within bounds: a fixed slice of them'
	@echo 'make mutants   the decision changed, one place at a time: each change is found by a test, or named'
	@echo 'make lab       as root: two real hosts, a real guest migrated there and back, shown live'
	@echo 'make bench     what it costs, against the barest thing that does the same'
	@echo 'make packages  as root: packages for Debian, into dist/'
	@echo 'make release   as root, with VERSION=: checks everything, tags, and leaves what is released in dist/'
	@echo 'make soak      the long version of the tests'
	@echo 'make pictures  the pictures of the page in the README, anew'

install: system .venv/installed

system:
	@PYTHON=$(PYTHON) .ci/install-packages $(PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo 'needs Python 3.11 or newer, and $(PYTHON) is not; another: make PYTHON=python3.11' >&2; exit 1; }

.venv/installed: pyproject.toml | system
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,agent,dashboard,postgresql]'
	@touch $@

demo: install
	@$(BIN)/libvirt-mqtt demo $(if $(KEEP),--keep)

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -q -n 2 -m 'not server and not lab and not slow'

# pytest comes last, once, so that its closing line is the last one. Most tests wait rather than compute, so files
# run side by side, in the order of tests/conftest.py.
test: lint
	@if [ "$$(id -u)" -eq 0 ]; then \
	    .ci/install-packages $(TEST_PACKAGES) && $(BIN)/python -m tests.lab install; fi
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

explore: install
	$(BIN)/pytest -q tests/explorer

mutants: install
	$(BIN)/python -m tests.mutants -j 2

lab: install
	@$(BIN)/python -m tests.lab install
	@$(BIN)/python -m tests.lab show

bench: install
	@$(BIN)/python -m tests.bench

soak: install
	@if [ "$$(id -u)" -eq 0 ]; then \
	    .ci/install-packages $(TEST_PACKAGES) && $(BIN)/python -m tests.lab install; fi
	$(BIN)/pytest --soak

# The README's pictures of the dashboard's page, anew.
pictures: install
	$(BIN)/pytest -q tests/page/test_pictures.py -k made
	mkdir -p docs/pictures && cp tests/page/results/*.png docs/pictures/

# Debian's packages, into dist/; as root.
packages: install
	@.ci/install-packages debootstrap
	$(BIN)/python -m tests.tools.packages dist

.venv/release: .venv/installed
	$(BIN)/pip install -q --disable-pip-version-check -e '.[release]'
	@touch $@

# The versions and hashes of all that is shipped with the program, anew: what Debian 12's packages bring along
# (its PyYAML is new enough), what is in the image, and in the one without libvirt.
COMPILE := $(BIN)/uv pip compile -q --no-config --universal --python-version 3.11 --generate-hashes --upgrade \
    --no-header pyproject.toml
lock: .venv/release
	$(COMPILE) --no-emit-package pyyaml --extra dashboard -o docker/lock/debian.txt
	$(COMPILE) --extra postgresql --extra dashboard -o docker/lock/correlator.txt
	$(COMPILE) --extra postgresql --extra dashboard --extra agent -o docker/lock/agent.txt

# What goes to PyPI, with a list of what it was tested with (CycloneDX), into dist/. Where the database of known
# vulnerabilities isn't reached: make release-check AUDIT=true
AUDIT ?= $(BIN)/pip-audit --strict --disable-pip --require-hashes -r docker/lock/agent.txt
release-check: .venv/release
	rm -f dist/*.whl dist/*.tar.gz dist/*.cdx.json
	$(BIN)/uv build -q --no-config -o dist
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	version=$$($(BIN)/libvirt-mqtt --version | cut -d ' ' -f 2) && \
	    sed "s/^dynamic = .*/version = \"$$version\"/" pyproject.toml > .venv/pyproject.toml && \
	    $(BIN)/cyclonedx-py requirements --pyproject .venv/pyproject.toml --mc-type application --output-reproducible \
	    -o "dist/libvirt_mqtt-$$version.cdx.json" docker/lock/agent.txt
	$(AUDIT)

# Checks, tags, and leaves everything in dist/: make release VERSION=0.2.0
release: install
	$(BIN)/python -m tests.tools.release $(VERSION)
	rm -rf dist
	$(MAKE) test
	$(MAKE) packages
	$(MAKE) release-check
	git tag -a -m 'Version $(VERSION)' v$(VERSION)
	$(MAKE) released
	@echo 'Tagged v$(VERSION). Commit tests/data/released, then push the tag and what is in dist/.'

# At a release: from then on nothing that its readers rely on may change.
released:
	cp schemas/v1/*.schema.json tests/data/released/

clean:
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist build
