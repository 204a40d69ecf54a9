# The front door. `make demo`, `make test`, `make ui`, `make check`, `make results`.
PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || command -v python3),python3.11)
BIN    := .venv/bin
READY  := .venv/.ready
# Compiled code is kept: the suite starts a hundred processes, and compiling costs each of them seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo quick test thorough ui check stages docs reference results bad-input features bench bench-models bench-training bench-drift bench-landed bench-drift-speed bench-retraining bench-one-day bench-process bench-value bench-business bench-campaigns bench-uplift bench-offers bench-monday gates clean

demo: $(READY)  ## a simulated company, from landing files to ranked customers
	$(BIN)/churn demo

quick: $(READY)  ## the fast tests: all but those that run jobs, train models or simulate companies
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not thorough"

test: $(READY)  ## every behaviour once
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not thorough"

thorough: $(READY)  ## the properties, two thousand cases each, and what `make test` shows by a lighter test
	CHURN_EXAMPLES=2000 $(BIN)/python -m pytest -n 2 --maxschedchunk 1 -v -m "hypothesis or thorough"

ui: $(READY)  ## the Dagster UI on the demo (BUSINESS=examples/... for another, PORT=3000)
	$(BIN)/churn $(if $(BUSINESS),--business $(BUSINESS)) ui --port $(or $(PORT),3000)

check: $(READY)  ## lint, format, types, YAML, definitions, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dg check yaml
	$(BIN)/dg check defs
	$(BIN)/zensical build --clean --strict

docs: $(READY)  ## the docs as a site: open site/index.html
	$(BIN)/zensical build --clean --strict

reference: $(READY)  ## docs/reference/, from the fields of the YAML and the commands; the architecture's picture
	$(BIN)/python docs/assets/architecture.py
	WRITE_REFERENCE=1 $(BIN)/python -m pytest churn_orchestration_tests/test_reference_pages.py

stages: $(READY)  ## which stages' code is not in the record, and how to record what an edit changed
	$(BIN)/python -m churn_orchestration.stages

results: $(READY)  ## docs/results.md, from the real data in the folder that CHURN_REAL_DATA names
	$(BIN)/python -m benchmarks.results

gates: $(READY)  ## docs/gates.md, from real data in CHURN_REAL_DATA and simulated shops
	$(BIN)/python -m benchmarks.gates

bench-models: $(READY)  ## docs/models.md: the served model beside its peers, every month-end (needs `.[bench]`)
	$(BIN)/python -m benchmarks.models $(ARGS)

bench-training: $(READY)  ## what training costs beside the bare library, a million rows x 80 features
	$(BIN)/python -m benchmarks.training $(ARGS)

bad-input: $(READY)  ## docs/bad-input.md, from what becomes of every bad input when it is tried
	WRITE_BAD_INPUT=1 $(BIN)/python -m pytest churn_orchestration_tests/test_bad_input.py

features: $(READY)  ## docs/features.md, from the demo's declaration
	WRITE_FEATURES=1 $(BIN)/python -m pytest churn_orchestration_tests/test_feature_page.py

bench-drift: $(READY)  ## docs/drift.md: how rarely drift is told on quiet days, how soon after a change
	$(BIN)/python -m benchmarks.drift $(ARGS)

bench-one-day: $(READY)  ## one more day of a small shop beside the start-up that it needs, in processor time
	$(BIN)/python -m benchmarks.one_day $(ARGS)

bench-landed: $(READY)  ## docs/landed.md: how rarely a change in what lands is a false alarm
	$(BIN)/python -m benchmarks.landed $(ARGS)

bench-process: $(READY)  ## purchase processes of a million customers next to `lifetimes` (needs `.[bench]`)
	$(BIN)/python -m benchmarks.process $(ARGS)

bench-value: $(READY)  ## docs/value.md: forecasts of spend beside their peers, every month-end
	$(BIN)/python -m benchmarks.value $(ARGS)

bench-business: $(READY)  ## a business of 100,000 customers, step by step (ARGS="--customers 1000000")
	$(BIN)/python -m benchmarks.business $(ARGS)

bench-campaigns: $(READY)  ## docs/campaigns.md: intervals of effects, lists next to simpler ones, a million customers
	$(BIN)/python -m benchmarks.campaigns $(ARGS)

bench-uplift: $(READY)  ## docs/uplift.md: on whom a campaign works, beside causalml (needs `.[bench-uplift]`)
	$(BIN)/python -m benchmarks.uplift $(ARGS)

bench-offers: $(READY)  ## docs/offers.md: lists of items beside simpler ones, pairs of 300,000 products (needs `.[offers]`)
	$(BIN)/python -m benchmarks.offers $(ARGS)

bench-monday: $(READY)  ## docs/monday.md: lists acted on in a simulated business, and whether their effect is seen
	$(BIN)/python -m benchmarks.monday $(ARGS)

bench-drift-speed: $(READY)  ## the drift of a day beside Evidently, a million rows x 100 features
	$(BIN)/python -m benchmarks.drift_speed $(ARGS)

bench-retraining: $(READY)  ## docs/retraining.md: two years of sensors beside training every month
	$(BIN)/python -m benchmarks.retraining $(ARGS)

bench: $(READY)  ## the feature engine measured, as ratios (ARGS="--events 100000000 --only one,landing")
	$(BIN)/python -m benchmarks.features $(ARGS)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "Python 3.11 or 3.12 is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`: make PYTHON=/path/to/python3.11"; exit 1; }
	@mkdir .venv.making 2>/dev/null || \
		{ echo "another make is filling .venv: wait for it (if none is, remove the folder .venv.making)"; exit 1; }; \
		trap 'rmdir .venv.making' EXIT; trap 'exit 130' INT TERM; set -e; \
		echo "making .venv (once: it downloads the packages and takes a few minutes)"; \
		$(PYTHON) -m venv .venv; \
		$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -c constraints.txt -e '.[dev]'; \
		touch $(READY)

clean:  ## remove the environment; data/ stays
	rm -rf .venv .venv.making
