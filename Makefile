# Every command a newcomer types. `make help` lists them.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-edge bench-store bench-fill bench-demand bench-pagecache bench-live bench-publish bench-collapse bench-conformance bench-planet bench-steering bench-popularity soak wheel lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## one real playback on this machine, from nothing; Ctrl-C ends it
	@exec $(BIN)/python -m demo $(DEMO_ARGS)

test: lint ## lint, then every test
	@$(BIN)/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/.dev ## format check, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: bench-edge bench-store bench-fill bench-demand bench-pagecache bench-live bench-collapse bench-conformance bench-planet bench-steering bench-popularity ## every comparison, as tables

bench-edge: $(VENV)/.dev ## one edge worker beside nginx, same run
	@$(BIN)/python -m bench.edge $(BENCH_ARGS)

bench-store: $(VENV)/.dev ## a store of a million objects: start, memory, end
	@$(BIN)/python -m bench.store $(BENCH_ARGS)

bench-fill: $(VENV)/.dev ## fill run beside s5cmd, from the same S3
	@$(BIN)/python -m bench.fill $(BENCH_ARGS)

bench-demand: $(VENV)/.dev ## the demand cache beside LRU, S3-FIFO, SIEVE and W-TinyLFU
	@$(BIN)/python -m bench.demand $(DEMAND_ARGS)

bench-pagecache: $(VENV)/.dev ## whether advice to the kernel about the page cache helps; root
	@$(BIN)/python -m bench.pagecache

bench-live: $(VENV)/.dev ## a live stream through two tiers: upstream requests, added delay, stalls
	@$(BIN)/python -m bench.live $(LIVE_ARGS)

bench-publish: $(VENV)/.dev ## what the per-title ladder saves, and costs in quality
	@$(BIN)/python -m bench.publish $(PUBLISH_ARGS)

bench-collapse: $(VENV)/.dev ## 2,000 players ask at once for a file that is not there, beside nginx and Varnish
	@$(BIN)/python -m bench.collapse $(COLLAPSE_ARGS)

bench-conformance: $(VENV)/.dev ## an independent suite for HTTP caches against ours, nginx, Varnish and Traffic Server
	@$(BIN)/python -m bench.conformance $(CONFORMANCE_ARGS)

bench-planet: $(VENV)/.dev ## the plan of 17,000 appliances, and a month of one site beside LRU and the optimum
	@$(BIN)/python -m bench.planet $(PLANET_ARGS)

bench-steering: $(VENV)/.dev ## decisions of a planet's fleet, over HTTP with all its heartbeats; a midnight
	@$(BIN)/python -m bench.steering $(STEERING_ARGS)

bench-popularity: $(VENV)/.dev ## a month of delivery logs counted night by night, and the backtest
	@$(BIN)/python -m bench.popularity $(POPULARITY_ARGS)

soak: $(VENV)/.dev ## the long forms of the crash and fuzz tests
	@NEARCAST_SOAK=1 $(BIN)/python -m pytest -m "soak or not soak" --hypothesis-profile=soak tests/unit tests/component $(PYTEST_ARGS)

wheel: $(VENV)/.dev ## build dist/: the wheel, and an archive with all that docs/install.md asks for
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel
	@name=$$(basename dist/*-py3-none-any.whl -py3-none-any.whl) && \
		tar -czf dist/$$name.tar.gz --owner=0 --group=0 --transform "s,^,$$name/," \
			-C dist $$name-py3-none-any.whl -C .. locks/runtime.txt systemd configs docs/install.md && \
		echo dist/$$name.tar.gz

lock: ## resolve pyproject.toml again into locks/ (needs uv)
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --no-emit-package nearcast pyproject.toml -o locks/runtime.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --no-emit-package nearcast --extra=demo pyproject.toml -o locks/demo.txt
	uv pip compile -q --generate-hashes --no-header --python-version 3.11 --no-emit-package nearcast --extra=demo --extra=spark --group=dev pyproject.toml -o locks/dev.txt

clean: ## remove what make built
	rm -rf $(VENV) var dist demo/player/node_modules bench/conformance/node_modules

# dev.txt holds all of demo.txt, so a virtualenv made for the tests serves the demo too.
$(VENV)/.demo: locks/demo.txt pyproject.toml
	@if [ ! -e $(VENV)/.dev ]; then sh demo/virtualenv.sh $(PYTHON) $(VENV) locks/demo.txt; fi
	@touch $@

$(VENV)/.dev: locks/dev.txt pyproject.toml
	@sh demo/virtualenv.sh $(PYTHON) $(VENV) locks/dev.txt
	@touch $@
