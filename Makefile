# `make` lists the commands. VENV=dir and PYTHON=python3.x choose another virtual environment and interpreter.

.DEFAULT_GOAL := help
.PHONY: help needs setup demo probe s3-servers test test-compiled pure test-pure lint codegen fixtures recordings bench \
	exporter-kills asan fuzz clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CAPTURE := tests/fixtures/webshell.scap
SECONDS ?= 60
KILLS ?= 200
# What sf-codegen makes of which IDL.
SCHEMAS := -f avsc -f avpr -o sftools/schema $(sort $(wildcard sftools/schema/idl/sysflow_v*.avdl))
CLASSES := -f python -o sftools/schema sftools/schema/idl/sysflow.avdl

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

needs:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "sftools needs Python 3.11 or newer: apt-get install python3 python3-venv python3-dev, or make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "sftools needs Python's venv module: apt-get install python3-venv"; exit 1; }
	@test -n "$$SFTOOLS_DISABLE_EXT" || command -v "$${CC:-gcc}" >/dev/null \
		|| { echo "sftools needs a C compiler: apt-get install gcc libc6-dev (or, slow: make SFTOOLS_DISABLE_EXT=1)"; exit 1; }
	@test -n "$$SFTOOLS_DISABLE_EXT" \
		|| $(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' \
		|| { echo "sftools needs Python's C headers: apt-get install python3-dev"; exit 1; }

$(VENV)/.ready: pyproject.toml setup.py | needs
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), half a minute; then compiling, about one"
	@SFTOOLS_DISABLE_EXT=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# A compiled module hides its .py, so it is renewed before anything runs; with nothing changed this takes a second.
setup: $(VENV)/.ready ## create .venv, install sftools there (editable) and compile what is not up to date
	@test -n "$$SFTOOLS_DISABLE_EXT" || SFTOOLS_REQUIRE_EXT=1 $(BIN)/python setup.py --quiet build_ext --inplace
	@$(BIN)/python -m compileall -q sftools

demo: setup ## convert the bundled capture with sysporter and print it with sysprint
	@mkdir -p build
	$(BIN)/sysporter -r $(CAPTURE) -w build/demo.sf --force
	$(BIN)/sysprint -c ts,type,pproc.pid,proc.pid,proc.exe,opflags,res,flow.rbytes,flow.wbytes build/demo.sf

# The eBPF programs of live capture. vmlinux.h comes from this machine's kernel; the programs fit themselves to others.
PROBE := sftools/live/sysflow.bpf.o
PROBE_BUILD := build/capture

# bpftool is where users' PATH does not look.
$(PROBE): export PATH := $(PATH):/usr/sbin

probe: $(PROBE) ## compile the eBPF programs of live capture (capture/)

$(PROBE): $(wildcard capture/*.h) capture/sysflow.bpf.c sftools/scap/tables.py sftools/scap/event_table.py scripts/gen_probe_header.py
	@command -v clang >/dev/null && command -v bpftool >/dev/null && test -e /usr/include/bpf/bpf_helpers.h \
		|| { echo "live capture needs clang, libbpf's headers and bpftool: apt-get install clang libbpf-dev bpftool"; exit 1; }
	@test -e /sys/kernel/btf/vmlinux \
		|| { echo "this kernel has no type information (/sys/kernel/btf/vmlinux): build on one with CONFIG_DEBUG_INFO_BTF"; exit 1; }
	@mkdir -p $(PROBE_BUILD)
	bpftool btf dump file /sys/kernel/btf/vmlinux format c > $(PROBE_BUILD)/vmlinux.h
	$(PYTHON) scripts/gen_probe_header.py > $(PROBE_BUILD)/scap.h
	clang -g -O2 -target bpf -D__TARGET_ARCH_x86 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
		-I$(PROBE_BUILD) -I/usr/include/$$(uname -m)-linux-gnu -c capture/sysflow.bpf.c -o $@.tmp
	@mv $@.tmp $@

s3-servers: $(VENV)/.ready ## install the S3 servers that tests use: Ceph's gateway (as root), rclone and Swift
	scripts/s3_servers.sh $(BIN)/python

test: lint test-compiled test-pure ## everything that CI runs

test-compiled: setup ## only the tests, compiled
	SFTOOLS_EXPECT=compiled $(BIN)/python -m pytest --numprocesses auto

# An installed copy without compiled modules; PYTHONSAFEPATH keeps the checkout, which has them, off sys.path.
pure: $(VENV)/.ready
	@rm -rf build/pure build/lib
	@SFTOOLS_DISABLE_EXT=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --target build/pure .

test-pure: pure ## only the tests, without the compiled modules
	SFTOOLS_EXPECT=pure PYTHONPATH=build/pure PYTHONSAFEPATH=1 $(BIN)/python -m pytest --numprocesses auto

lint: $(VENV)/.ready ## ruff, mypy, the layer check, and whether generated files are up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python scripts/check_layers.py
	$(BIN)/python scripts/gen_scap_tables.py --check
	$(BIN)/sf-codegen --check $(SCHEMAS)
	$(BIN)/sf-codegen --check $(CLASSES)
	$(BIN)/python scripts/make_fixtures.py --check
	$(BIN)/python scripts/make_traces.py --check

codegen: $(VENV)/.ready ## write the schemas, their classes and the event tables anew
	$(BIN)/python scripts/gen_scap_tables.py
	$(BIN)/sf-codegen $(SCHEMAS)
	$(BIN)/sf-codegen $(CLASSES)
	$(BIN)/python -c 'import sftools.filter as f; print(f.filter_markdown(), end="")' > docs/filter.md
	$(BIN)/python -c 'import sftools.sfql as s; print(s.sfql_markdown(), end="")' > docs/sfql.md

fixtures: setup ## write tests/fixtures anew: captures from their scenarios, golden files from the captures
	$(BIN)/python scripts/make_fixtures.py
	$(BIN)/python scripts/golden.py
	$(BIN)/python scripts/make_traces.py

recordings: setup probe ## record the captures of tests/fixtures/recorded anew (as root, with strace), and their golden files
	$(BIN)/python scripts/record_fixtures.py
	$(BIN)/python scripts/golden.py

bench: setup ## time and memory: of conversions beside gzip -dc, of sysprint beside fastavro, of live capture, of exporting beside boto3
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_sysprint.py
	$(BIN)/python scripts/bench_live.py
	$(BIN)/python scripts/bench_exporter.py

asan: $(VENV)/.ready ## compile with address and undefined-behaviour sanitizers, into build/asan
	SFTOOLS_SANITIZE=1 SFTOOLS_REQUIRE_EXT=1 $(BIN)/python setup.py --quiet \
		build --build-lib build/asan --build-temp build/asan-objects

fuzz: asan pure ## look for crashes and differences for SECONDS=60, in captures, traces and plain Python at once
	@status=0 running=; for fuzzer in "fuzz.py --target captures" "fuzz.py --target traces" fuzz_plain.py; do \
		$(BIN)/python scripts/$$fuzzer --seconds $(SECONDS) & running="$$running $$!"; done; \
	for process in $$running; do wait $$process || status=1; done; exit $$status

exporter-kills: setup ## kill sf-exporter KILLS=200 times at random: to a directory, and to Ceph; look for files lost or sent twice
	$(BIN)/python scripts/exporter_kills.py --kills $(KILLS)
	$(BIN)/python scripts/s3_server.py ceph $(BIN)/python scripts/exporter_kills.py --kills $(KILLS)

clean: ## remove what was built, and .venv
	rm -rf build dist bench-data $(PROBE) $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find sftools tests scripts \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
