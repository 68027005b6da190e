# Two commands do it all on a fresh Debian or Ubuntu with Python 3.11 or newer: `make run` and `make test`.
# Every path is relative, so that a checkout below "My Documents" works too.

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
COMPILED := .venv-compiled/bin/python -P
COMPILED_READY := .venv-compiled/.ready
SOURCES := $(shell find greenmail -name "*.py")
# One more than there are cores: many tests wait, for a server to start or for a time to pass.
JOBS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# The tests start hundreds of servers: each would compile all modules again where the shell forbids to keep byte code.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check check-compiled compiled wheel lint format types pages interop bench bench-compiled bench-quick fuzz properties crash soak scale docs rfc site clean

run: $(READY)
	@$(PY) tools/demo.py demo
	@exec $(PY) -m greenmail -c demo/imap.yaml

# What fails can be repeated: sets and examples are the same in each run; `make properties` draws others.
test check check-compiled: export PYTHONHASHSEED ?= 0

test: $(READY)
	$(PY) -m pytest -n $(JOBS) --dist loadgroup -m "not long" $(PYTEST)

check: $(READY) pages lint types
	$(PY) -m pytest -n $(JOBS) --dist loadgroup -m "not slow and not long and not interop" --ignore tests/live $(PYTEST)

lint: $(READY)
	$(PY) -m ruff format --check greenmail tests tools .ci setup.py
	$(PY) -m ruff check greenmail tests tools .ci setup.py

format: $(READY)
	$(PY) -m ruff format greenmail tests tools .ci setup.py
	$(PY) -m ruff check --fix greenmail tests tools .ci setup.py

types: $(READY)
	$(PY) -m mypy

# A few seconds, so that nobody leaves it to `make test`: what `make docs` makes is what it would make now.
PAGES := tests/imap/test_pages.py tests/cli/test_log.py tests/cli/test_manual.py tests/config/test_config_example.py

pages: $(READY)
	$(PY) -m pytest -n 0 -m generated $(PAGES)

interop: $(READY)
	$(PY) -m pytest -m interop -rs $(PYTEST)

bench: $(READY)
	$(PY) -m bench $(BENCH)

# The installed wheel: the checkout is behind it on the path, for `bench` alone.
bench-compiled: $(COMPILED_READY)
	PYTHONSAFEPATH=1 $(COMPILED) -c "import runpy, sys; sys.path.append('.'); runpy.run_module('bench', run_name='__main__')" $(BENCH)

# `make fuzz FUZZ_SECONDS=600 FUZZ="mime uidlist"`: octets at what reads those of others, guided by coverage.
FUZZ_SECONDS ?= 60

fuzz: $(READY)
	@$(PY) -c "import atheris, coverage" 2>/dev/null || $(PY) -m pip install --quiet "atheris>=3,<4" "coverage>=7.6,<8"
	PYTHONPATH=tests:. nice -n 10 $(PY) -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

# The properties of the tests, with many more examples than `make test` takes.
properties: $(READY)
	$(PY) -m pytest -n $(JOBS) -m hypothesis --hypothesis-profile=long --timeout=3600 $(PYTEST)

bench-quick: $(READY)
	$(PY) -m bench --quick $(BENCH)

crash: $(READY)
	PYTHONPATH=tests $(PY) tests/crash 500

soak: $(READY)
	GREENMAIL_SOAK=600 $(PY) -m pytest -m "slow or long" tests/live tests/interop --timeout=3600 $(PYTEST)

scale: $(READY)
	$(PY) -m pytest -m long tests/storage/test_many.py --timeout=3600 $(PYTEST)

site: $(READY)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q
	@echo "build/site/index.html"

docs rfc: $(READY)
	@mkdir -p build
	$(PY) tools/rfc_index.py docs/rfc-index.md
	$(PY) tools/commands_page.py docs/imap.md
	$(PY) tools/log_events.py docs/log-events.md
	$(PY) tools/manual_page.py contrib/man/greenmail.1
	$(PY) tools/compare_page.py docs/compare.md
	$(PY) -m greenmail.config_doc > build/imap.yaml && cp build/imap.yaml conf/imap.yaml

# The quick tests of what is compiled, against the installed wheel: -P keeps the checkout's own modules out.
check-compiled: $(COMPILED_READY)
	GREENMAIL_EXPECT=compiled PYTHONSAFEPATH=1 $(COMPILED) -m pytest -n $(JOBS) --dist loadgroup \
		-m "not slow and not long and not interop and not interpreted" \
		tests/test_built.py tests/message tests/imap tests/pop3 tests/storage tests/crash $(PYTEST)

compiled: $(COMPILED_READY)

wheel:
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

$(COMPILED_READY): setup.py pyproject.toml tools/compiled.sh tools/build_backend.py $(SOURCES)
	@sh tools/compiled.sh "$(PYTHON)"
	@touch $(COMPILED_READY)

$(READY): setup.py pyproject.toml tools/venv.sh
	@sh tools/venv.sh "$(PYTHON)"
	@touch $(READY)

clean:
	rm -rf .venv .venv-compiled demo build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
