"""Reference medium and multigrid against the contrast, side by side.

    python benchmarks/bench_contrast.py [--quick]

Sharp Voronoi cells of five phases, tolerance 1e-4, 32 bits, one jitted batch on one core; least of nine calls. Writes
results/contrast.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpyro_homog as nh  # noqa: E402
from benchmarks.machine import describe_machine  # noqa: E402
from benchmarks.voronoi_cells import voronoi_field  # noqa: E402

CONTRASTS = (5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 1e3, 1e4)
CASES = {
    "2D conduction": ((64, 64), nh.Conductivity(), 16),
    "2D elasticity": ((64, 64), nh.LinearElasticity(), 8),
    "3D conduction": ((32, 32, 32), nh.Conductivity(), 2),
    "3D elasticity": ((16, 16, 16), nh.LinearElasticity(), 4),
    "3D elasticity, 32": ((32, 32, 32), nh.LinearElasticity(), 1),
}


def measure(solve, field) -> dict:
    """Milliseconds per cell, most iterations, and how many members were certified."""
    tensors, iterations = jax.block_until_ready(solve(field))
    seconds = []
    for _ in range(9):
        begin = time.perf_counter()
        jax.block_until_ready(solve(field))
        seconds.append(time.perf_counter() - begin)
    return {
        "ms": 1e3 * min(seconds) / len(tensors),
        "iterations": int(iterations.max()),
        "certified": int(jnp.isfinite(tensors).all((1, 2)).sum()),
        "cells": len(tensors),
    }


def solver(shape, law, preconditioner):
    """A compiled function from a field to the tensors and iterations of a batch."""
    cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-4, preconditioner=preconditioner)

    def solve(field):
        solution = nh.solve_cell(cell, field, throw=False)
        return solution.effective, solution.stats["iterations"]

    return jax.jit(solve)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small case: does it run at all?")
    quick = parser.parse_args().quick
    cases = {"2D conduction": ((16, 16), nh.Conductivity(), 4)} if quick else CASES
    content = {"machine": describe_machine(["numpyro-homog", "jax", "jaxlib"]), "cases": {}}
    print(f"{'':18}{'contrast':>9}{'reference':>24}{'multigrid':>24}    (ms, iterations, certified)")
    for name, (shape, law, num_cells) in cases.items():
        solvers = {
            "reference": solver(shape, law, nh.ReferenceMedium()),
            "multigrid": solver(shape, law, nh.Multigrid(contrast=1.0)),
        }
        for contrast in CONTRASTS:
            field = voronoi_field(shape, law, num_cells, np.geomspace(1, contrast, 5))
            row = {label: measure(solve, field) for label, solve in solvers.items()}
            content["cases"].setdefault(name, {})[f"{contrast:g}"] = row
            shown = "".join(f"{r['ms']:13.2f}{r['iterations']:5d}{r['certified']:4d}/{num_cells}" for r in row.values())
            print(f"{name:18}{contrast:9g}{shown}", flush=True)
    folder = ROOT / ("out" if quick else "benchmarks/results")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contrast.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
