# Each target sets up what it needs: a fresh clone wants only Python (>= 3.11) and pip.
PYTHON ?= python3
BIN := .venv/bin
# One thread of torch per test process: two processes with two threads each stall one another on two cores.
WORKERS ?= 2
SPEED = $(BIN)/python benchmarks/speed.py --write $(PAGE)
# For the rows with biotrainer: make bench PEER="--peer-python peer/bin/python", see benchmarks/peer.py.
PEER ?=

.PHONY: demo test fuzz torture check bench bench-tables bench-gpu docs clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: .venv/installed            ## tune a protein language model on real sequences, a few minutes on two cores
	$(BIN)/python examples/demo.py

test: .venv/installed            ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

fuzz: .venv/installed            ## 10,000 calls of everything public with hostile arguments; ten minutes
	$(BIN)/python tests/fuzz/fuzz.py --inputs 10000

torture: .venv/installed         ## 200 processes killed while they write, 6,000 saved folders and backbones tampered with; half an hour
	$(BIN)/python tests/torture/torture.py --kills 200 --folders 5000

check: .venv/installed           ## formatting, lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed           ## speed and memory against fair baselines, two hours of a quiet machine; writes its page in docs/benchmarks
	$(MAKE) bench-tables PAGE=$$($(BIN)/python benchmarks/machine.py --page)

bench-tables:
	$(BIN)/python benchmarks/machine.py --heading > $(PAGE)
	$(SPEED) --only training --proteins 64
	$(SPEED) --only embedding tokenising --proteins 240 --rounds 2 $(PEER)
	$(SPEED) --only embedding --proteins 4000 --rounds 1
	$(SPEED) --only frozen --proteins 400
	$(SPEED) --only tuned --proteins 64
	$(SPEED) --only training --proteins 24 --shape 35m
	$(SPEED) --only embedding --proteins 96 --rounds 2 --shape 35m $(PEER)
	$(SPEED) --only lengths --rounds 9
	$(SPEED) --only budget
	$(BIN)/python benchmarks/optional.py --proteins 32 --rounds 3 --write $(PAGE)
	$(BIN)/python benchmarks/embedding_memory.py --shape tiny --write $(PAGE)
	$(BIN)/python benchmarks/embedding_memory.py --shape 8m --proteins 20000 --write $(PAGE)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/steps.py >> $(PAGE)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/many.py embed --sequences 20000 1000000 >> $(PAGE)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/many.py tune --sequences 20000 100000 >> $(PAGE)

bench-gpu: .venv/installed       ## residues per second, share of the peak and memory, by size of the model, where there is a GPU
	$(BIN)/python benchmarks/gpu.py --write docs/benchmarks/gpu.md

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: .venv/docs                 ## write docs/backbones.md, run the examples and build the site in docs/_build/html
	rm -rf docs/_build docs/api docs/gallery
	$(BIN)/python docs/build_backbones.py
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv build *.egg-info docs/_build docs/api docs/gallery
