# make is a convenience: each target is one or two plain commands, and the README gives the two that matter.
PYTHON ?= python
TREE = build/tree

.PHONY: demo test check bench

demo:
	$(PYTHON) -m pip install . && gems run "three red apples to the left of a blue vase"

test:
	$(PYTHON) -m pytest

# Types and import rules are checked on an installed tree, where the top-level rooms are packages of `gems`.
check:
	ruff check .
	ruff format --check .
	rm -rf build && $(PYTHON) -m pip install --quiet --no-deps --target $(TREE) .
	cd $(TREE) && MYPYPATH=. $(PYTHON) -m mypy --config-file $(CURDIR)/pyproject.toml -p gems
	cd $(TREE) && PYTHONPATH=. lint-imports --config $(CURDIR)/pyproject.toml --no-cache

bench:
	$(PYTHON) -m gems.evals.bench
