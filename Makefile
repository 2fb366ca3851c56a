# Each target does its own set-up: a machine with Python 3.11 or newer and make is enough.
PYTHON ?= python3
BIN := .venv/bin
# Debian's Python has the part that makes virtual environments in a package of its own.
VENV = { $(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update --quiet=2 \
	&& DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes python3-venv >/dev/null; } || \
	{ echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian, python3-venv)" >&2; exit 1; } } \
	&& $(PYTHON) -m venv

.PHONY: help venv demo test lint types layers unit test-zlib world autobahn fuzz soak reload-soak bench bench-codec-cpu bench-engines bench-scrapes bench-syscalls reference charts lock clean

help:
	@echo "make demo   live demo: a backend without compression, the proxy, real clients"
	@echo "make test   everything that CI checks"
	@echo "make venv   a virtual environment with wsproxy in it: then  . .venv/bin/activate"
	@echo "make test-zlib  the tests with neither isal nor zlib-ng installed"
	@echo "make world      every make of client and upstream, every combination"
	@echo "make autobahn   the Autobahn TestSuite against every plan, into docs/conformance.md"
	@echo "make fuzz       coverage-guided, FUZZ_SECONDS for each target"
	@echo "make soak       10,000 connections, kills of ends and of workers for SOAK_SECONDS each, 2,000 conversations"
	@echo "make reload-soak  reloads for RELOAD_SECONDS under RELOAD_TUNNELS tunnels"
	@echo "make bench      beside other proxies, into docs/performance.md (40 minutes)"
	@echo "make bench-codec-cpu  codec CPU in the metrics beside a profile, and what measuring it costs"
	@echo "make bench-scrapes  what a scrape costs a worker with 10,000 tunnels, and what it costs them"
	@echo "make bench-syscalls  system calls for each message, into docs/performance.md"
	@echo "make bench-engines  engines, levels and windows on several kinds of payload, into docs/performance.md"
	@echo "make reference  the settings' part of docs/configuration.md, from the code"
	@echo "make charts     renew the chart library of the built-in page"
	@echo "make lock   renew the lock files from pyproject.toml"

.venv/runtime.stamp: pyproject.toml requirements.lock
	$(VENV) .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

venv: .venv/runtime.stamp

demo: .venv/runtime.stamp
	$(BIN)/python -m wsproxy demo --seconds 10

test: lint types layers unit

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

layers: .venv/dev.stamp
	$(BIN)/lint-imports

unit: .venv/dev.stamp
	$(BIN)/python -m pytest

# The whole suite where only zlib is there. Takes as long as `make unit`.
test-zlib: .venv-zlib/dev.stamp
	.venv-zlib/bin/python -m pytest

.venv-zlib/dev.stamp: pyproject.toml requirements-dev.lock
	$(VENV) .venv-zlib
	.venv-zlib/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	.venv-zlib/bin/python -m pip uninstall --quiet --yes isal zlib-ng
	.venv-zlib/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# Every make of client with every make of upstream, in every combination: a quarter of an hour. `make test` holds a small part.
world: .venv/dev.stamp
	tests/install.sh
	WORLD_MATRIX=full $(BIN)/python -m pytest -o faulthandler_timeout=3600 tests/world

.venv-bench/stamp: benchmarks/peers/python/requirements.txt
	$(VENV) .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv-mitmproxy/stamp: benchmarks/peers/mitmproxy/requirements.txt
	$(VENV) .venv-mitmproxy
	-.venv-mitmproxy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

bench: .venv/runtime.stamp .venv-bench/stamp .venv-mitmproxy/stamp
	-cd benchmarks/peers/node && npm ci --silent --no-audit --no-fund
	$(BIN)/python -m benchmarks --report docs/performance.md

bench-codec-cpu: .venv/dev.stamp
	$(BIN)/python -m benchmarks.codec_cpu

bench-scrapes: .venv/dev.stamp
	$(BIN)/python -m tests.observer.scrapes

bench-engines: .venv/runtime.stamp
	$(BIN)/python -m benchmarks.engines --report docs/performance.md

# How many system calls each message costs; needs strace, and HAProxy to compare with.
bench-syscalls: .venv/runtime.stamp
	$(BIN)/python -m benchmarks.syscalls --report docs/performance.md

# The whole Autobahn TestSuite, which needs a Python 2.7; without one it says so and ends well. Hours.
autobahn: .venv/dev.stamp
	$(BIN)/python -m tests.autobahn.run --report docs/conformance.md

FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 120
FUZZ_TARGETS := header_grammar proxy_header frame_scanning inflate relay

fuzz: .venv-fuzz/dev.stamp
	for target in $(FUZZ_TARGETS); do .venv-fuzz/bin/python -m tests.fuzz $$target $(FUZZ_SECONDS) || exit 1; done

.venv-fuzz/dev.stamp: pyproject.toml requirements-dev.lock tests/fuzz/requirements.txt
	$(VENV) .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check -r tests/fuzz/requirements.txt
	touch $@

soak: .venv/dev.stamp
	$(BIN)/python -m tests.soak $(SOAK_SECONDS)
	$(BIN)/python -m tests.soak.workers $(SOAK_SECONDS)
	WSPROXY_HYPOTHESIS=soak $(BIN)/python -m pytest -q -o faulthandler_timeout=3600 tests/protocol/test_conversations.py -k arrives

reference: .venv/dev.stamp
	$(BIN)/python -m wsproxy.settings.reference docs/configuration.md

# The chart library of the built-in page, as it is published.
UPLOT := 1.6.32
charts:
	rm -rf build/uplot && mkdir -p build/uplot
	cd build/uplot && npm pack --silent uplot@$(UPLOT) && tar -xzf uplot-$(UPLOT).tgz
	cp build/uplot/package/dist/uPlot.iife.min.js build/uplot/package/dist/uPlot.min.css wsproxy/telemetry/dashboard/
	cp build/uplot/package/LICENSE wsproxy/telemetry/dashboard/uPlot.LICENSE

RELOAD_SECONDS ?= 60
RELOAD_TUNNELS ?= 500

reload-soak: .venv/dev.stamp
	RELOAD_SECONDS=$(RELOAD_SECONDS) RELOAD_TUNNELS=$(RELOAD_TUNNELS) $(BIN)/python -m pytest -s tests/endtoend/test_reload.py -k again

lock:
	$(VENV) .venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.lock pyproject.toml
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev -o requirements-dev.lock pyproject.toml

clean:
	rm -rf .venv .venv-lock .venv-zlib .venv-bench .venv-mitmproxy .venv-fuzz build dist .mypy_cache .ruff_cache .pytest_cache
