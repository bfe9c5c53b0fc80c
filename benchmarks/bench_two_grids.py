"""Time of the mixing rules that docs/accuracy.md judges: from seeds to tensors, side by side.

    python benchmarks/bench_two_grids.py [--quick]

Johnson-Mehl cells of three phases, tolerance 1e-4, 32 bits, one jitted batch on one core; least of nine rounds. Writes
results/two_grids.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpyro_homog as nh  # noqa: E402
from benchmarks.machine import describe_machine  # noqa: E402

KAPPA, DELAYS = jnp.array([1.0, 5.0, 10.0]), jnp.array([0.0, 0.1, 0.05])
JOBS = {
    "sharp, n = 64": (64, nh.Primal(), True, False),
    "laminate, n = 24": (24, nh.Primal(), False, False),
    "laminate, n = 32": (32, nh.Primal(), False, False),
    "laminate, two grids, n = 24": (24, nh.Primal(), False, True),
    "laminate, two grids, n = 32": (32, nh.Primal(), False, True),
    "laminate, primal-dual, n = 24": (24, nh.PrimalDual(), False, False),
    "laminate, primal-dual, n = 32": (32, nh.PrimalDual(), False, False),
    "laminate, primal-dual, two grids, n = 24": (24, nh.PrimalDual(), False, True),
    "laminate, primal-dual, two grids, n = 32": (32, nh.PrimalDual(), False, True),
}


def solver(n: int, discretization, sharp: bool, two_grids: bool, seeds: jax.Array):
    """Function of the conductivities that returns the tensors of all cells."""
    grid = nh.Grid((n, n))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-4, discretization=discretization)
    law = nh.LaguerreTessellation(grid, DELAYS, sharp=sharp)

    @jax.jit
    def solve(kappa):
        phases = law.transforms[0](seeds)
        if two_grids:
            return nh.effective_tensor(nh.TwoGridCell(cell), (phases, kappa))
        return nh.effective_tensor(cell, phases @ kappa if sharp else nh.mix(phases, kappa))

    return solve


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few cells: does it run at all?")
    quick = parser.parse_args().quick
    num_cells, rounds = (8, 1) if quick else (256, 9)
    seeds = jax.random.uniform(jax.random.key(0), (num_cells, 3, 2))
    solvers = {name: solver(*job, seeds) for name, job in JOBS.items()}
    for solve in solvers.values():
        solve(KAPPA).block_until_ready()
    best = dict.fromkeys(solvers, float("inf"))
    for _ in range(rounds):
        for name, solve in solvers.items():
            begin = time.perf_counter()
            solve(KAPPA).block_until_ready()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - begin) / num_cells)
    for name, milliseconds in best.items():
        print(f"{name:42s} {milliseconds:.3f} ms  {milliseconds / best['sharp, n = 64']:.2f}")
    folder = ROOT / ("out" if quick else "benchmarks/results")
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": describe_machine(["numpyro-homog", "jax", "jaxlib"]), "ms_per_cell": best}
    (folder / "two_grids.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
