"""Nearly incompressible phases: errors of plain voxels and of mean dilatations against the exact value, and their cost.

    python -m benchmarks.bench_locking [--quick]

One disk or ball (30 %, Poisson's ratio .2) in a matrix of another Poisson's ratio, one shear modulus, so that lambda +
2 mu of the cell is the harmonic mean (Hill 1964) of the voxels' own fractions; tolerance 1e-4, 64 bits. Times are the
least of five calls of a jitted batch, both discretisations in turn. Writes results/locking.json.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, new_parser

POISSON = (0.2, 0.4, 0.49, 0.499, 0.4999)
CASES = {"2D": ((16, 2, 8), (32, 2, 8), (64, 2, 8)), "3D": ((16, 3, 2), (32, 3, 1))}
DISCRETIZATIONS = {"plain": nh.Primal(), "mean": nh.MeanDilatation()}


def inclusion(n: int, ndim: int, poisson: float):
    """Lame parameters of the cell; one for each voxel."""
    x = (np.arange(n) + 0.5) / n - 0.5
    squares = sum(np.meshgrid(*[x**2] * ndim, indexing="ij"))
    radius = np.sqrt(0.3 / np.pi) if ndim == 2 else (0.9 / (4 * np.pi)) ** (1 / 3)
    ratio = np.where(squares < radius**2, 0.2, poisson)
    return 2 * ratio / (1 - 2 * ratio), np.ones_like(ratio)


def measure(n: int, ndim: int, num_cells: int, poisson: float) -> dict:
    """Relative error of C11 in percent and milliseconds per cell, of each discretisation."""
    lame, shear = inclusion(n, ndim, poisson)
    exact = 1 / np.mean(1 / (lame + 2 * shear))
    field = tuple(jnp.broadcast_to(part, (num_cells, *part.shape)) for part in (lame, shear))
    solves = {}
    for name, discretization in DISCRETIZATIONS.items():
        cell = nh.CellProblem(
            nh.Grid((n,) * ndim), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-4, discretization=discretization
        )
        solves[name] = functools.partial(jax.jit(lambda field, cell=cell: nh.effective_tensor(cell, field)), field)
    return {
        name: {
            "error_percent": float(100 * (solves[name]()[0, 0, 0] / exact - 1)),
            "ms": 1e3 * seconds / num_cells,
        }
        for name, seconds in least_seconds(solves, 5).items()
    }


def main() -> None:
    quick = new_parser(__doc__).parse_args().quick
    cases = {"2D": ((8, 2, 1),)} if quick else CASES
    jax.config.update("jax_enable_x64", True)
    store = Store("locking", ["numpyro-homog", "jax", "jaxlib"], quick=quick)
    print(f"{'':8}{'Poisson':>8}" + "".join(f"{name:>24}" for name in DISCRETIZATIONS) + "    (error %, ms)")
    for name, sizes in cases.items():
        for n, ndim, num_cells in sizes:
            for poisson in POISSON:
                row = measure(n, ndim, num_cells, poisson)
                store.put("cases", f"{name}, n = {n}", poisson, row)
                shown = "".join(f"{r['error_percent']:14.2f}{r['ms']:10.2f}" for r in row.values())
                print(f"{name} {n:4d}{poisson:9}{shown}", flush=True)


if __name__ == "__main__":
    main()
