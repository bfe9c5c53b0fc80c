"""Time of the mixing rules that docs/accuracy.md judges: from seeds to tensors, side by side.

    python -m benchmarks.bench_two_grids [--quick]

Johnson-Mehl cells of three phases, tolerance 1e-4, 32 bits, one jitted batch on one core; least of nine rounds. Writes
results/two_grids.json.
"""

import functools

import jax
import jax.numpy as jnp

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, new_parser

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
    quick = new_parser(__doc__, "few cells: does it run at all?").parse_args().quick
    num_cells, rounds = (8, 1) if quick else (256, 9)
    seeds = jax.random.uniform(jax.random.key(0), (num_cells, 3, 2))
    solvers = {name: functools.partial(solver(*job, seeds), KAPPA) for name, job in JOBS.items()}
    least = {name: 1e3 * seconds / num_cells for name, seconds in least_seconds(solvers, rounds).items()}
    for name, milliseconds in least.items():
        print(f"{name:42s} {milliseconds:.3f} ms  {milliseconds / least['sharp, n = 64']:.2f}")
    Store("two_grids", ["numpyro-homog", "jax", "jaxlib"], quick=quick).put("ms_per_cell", least)


if __name__ == "__main__":
    main()
