#!/usr/bin/env bash
# Cells per second and one whole fit on a GPU beside the CPU of the same machine: benchmarks/results/gpu.json.
# Needs an environment with numpyro-homog and JAX for CUDA (pip install 'jax[cuda13]').
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" -m benchmarks.bench_gpu "$@"
