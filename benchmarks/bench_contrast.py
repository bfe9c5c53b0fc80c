"""Reference medium and multigrid against the contrast, side by side.

    python -m benchmarks.bench_contrast [--quick]

Sharp Voronoi cells of five phases, tolerance 1e-4, 32 bits, one jitted batch on one core; least of nine calls. Writes
results/contrast.json.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, new_parser
from benchmarks.voronoi_cells import voronoi_field

CONTRASTS = (5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 1e3, 1e4)
CASES = {
    "2D conduction": ((64, 64), nh.Conductivity(), 16),
    "2D elasticity": ((64, 64), nh.LinearElasticity(), 8),
    "3D conduction": ((32, 32, 32), nh.Conductivity(), 2),
    "3D elasticity": ((16, 16, 16), nh.LinearElasticity(), 4),
    "3D elasticity, 32": ((32, 32, 32), nh.LinearElasticity(), 1),
}


def measure(solvers: dict, field) -> dict:
    """Milliseconds per cell, most iterations, and how many members were certified, by each solver."""
    seconds = least_seconds({name: functools.partial(solve, field) for name, solve in solvers.items()}, 9)
    rows = {}
    for name, solve in solvers.items():
        tensors, iterations = solve(field)
        rows[name] = {
            "ms": 1e3 * seconds[name] / len(tensors),
            "iterations": int(iterations.max()),
            "certified": int(jnp.isfinite(tensors).all((1, 2)).sum()),
            "cells": len(tensors),
        }
    return rows


def solver(shape, law, preconditioner):
    """A compiled function from a field to the tensors and iterations of a batch."""
    cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-4, preconditioner=preconditioner)

    def solve(field):
        solution = nh.solve_cell(cell, field, throw=False)
        return solution.effective, solution.stats["iterations"]

    return jax.jit(solve)


def main() -> None:
    quick = new_parser(__doc__).parse_args().quick
    cases = {"2D conduction": ((16, 16), nh.Conductivity(), 4)} if quick else CASES
    store = Store("contrast", ["numpyro-homog", "jax", "jaxlib"], quick=quick)
    print(f"{'':18}{'contrast':>9}{'reference':>24}{'multigrid':>24}    (ms, iterations, certified)")
    for name, (shape, law, num_cells) in cases.items():
        solvers = {
            "reference": solver(shape, law, nh.ReferenceMedium()),
            "multigrid": solver(shape, law, nh.Multigrid(contrast=1.0)),
        }
        for contrast in CONTRASTS:
            field = voronoi_field(shape, law, num_cells, np.geomspace(1, contrast, 5))
            row = measure(solvers, field)
            store.put("cases", name, f"{contrast:g}", row)
            shown = "".join(f"{r['ms']:13.2f}{r['iterations']:5d}{r['certified']:4d}/{num_cells}" for r in row.values())
            print(f"{name:18}{contrast:9g}{shown}", flush=True)


if __name__ == "__main__":
    main()
