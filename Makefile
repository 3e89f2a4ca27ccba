# Two commands need nothing but Python 3.11+: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint install clean wheel oldest crash soak soak-ranks races bench

demo: $(READY)  ## train a VAE, a GAN and a flow on the real MNIST for a few minutes; pictures and numbers in checkpoints/
	$(BIN)/genctl train vae --epochs 9
	$(BIN)/genctl sample vae
	$(BIN)/genctl reconstruct vae
	$(BIN)/genctl eval-bpd vae
	$(BIN)/genctl train vae --latent-dim 2 --epochs 8
	$(BIN)/genctl manifold vae
	$(BIN)/genctl train gan --epochs 5
	$(BIN)/genctl sample gan
	$(BIN)/genctl interpolate gan --steps 7
	$(BIN)/genctl train realnvp --size small --lr 1e-2 --epochs 2
	$(BIN)/genctl sample realnvp
	$(BIN)/genctl manifold realnvp
	$(BIN)/genctl eval-bpd realnvp
	$(BIN)/genctl runs

test: $(READY)  ## the whole suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(READY)  ## style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(READY)  ## set-up alone

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[onnx]' --group dev
	touch $(READY)

wheel: $(READY)  ## dist/genctl-VERSION-py3-none-any.whl
	$(BIN)/python -m build --wheel --no-isolation

oldest:  ## the suite with the oldest torch that pyproject.toml allows, in .venv-oldest; gigabytes, so not in .ci/run
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-oldest/bin/python -m pip install --quiet --editable . --group dev "torch==2.11.*" "torchvision==0.26.*"
	.venv-oldest/bin/python -m pytest

clean:  ## remove the set-up and caches, never a run
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache .mypy_cache .hypothesis

crash: $(READY)  ## kill the checkpoint writer 1,000 times
	$(BIN)/python tests/checkpoint/crash.py 1000

soak: $(READY)  ## kill real trainings 200 times, some half an hour; by hand: tests/training/soak.py --kills 1000
	$(BIN)/python tests/training/soak.py --kills 200

soak-ranks: $(READY)  ## kill one of two processes of real trainings 200 times, some half an hour
	$(BIN)/python tests/training/soak_ranks.py --kills 200

races: $(READY)  ## 200 times, processes meet in one run's folder
	$(BIN)/python tests/runs/races.py --races 200

bench: $(READY)  ## speed beside the plain scripts, start-up, memory, time to quality; on an otherwise idle machine
	$(BIN)/python -m benchmarks
