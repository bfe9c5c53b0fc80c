"""Nearly incompressible phases: errors of plain voxels and of mean dilatations against the exact value, and their cost.

    python benchmarks/bench_locking.py [--quick]

One disk or ball (30 %, Poisson's ratio .2) in a matrix of another Poisson's ratio, one shear modulus, so that lambda +
2 mu of the cell is the harmonic mean (Hill 1964) of the voxels' own fractions; tolerance 1e-4, 64 bits. Times are the
least of five calls of a jitted batch, both discretisations in turn. Writes results/locking.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpyro_homog as nh  # noqa: E402
from benchmarks.machine import describe_machine  # noqa: E402

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
    solves, rows = {}, {}
    for name, discretization in DISCRETIZATIONS.items():
        cell = nh.CellProblem(
            nh.Grid((n,) * ndim), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-4, discretization=discretization
        )
        solves[name] = jax.jit(lambda field, cell=cell: nh.effective_tensor(cell, field))
        rows[name] = {"error_percent": float(100 * (solves[name](field)[0, 0, 0] / exact - 1)), "ms": np.inf}
    for _ in range(5):
        for name, solve in solves.items():
            begin = time.perf_counter()
            solve(field).block_until_ready()
            rows[name]["ms"] = min(rows[name]["ms"], 1e3 * (time.perf_counter() - begin) / num_cells)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small case: does it run at all?")
    quick = parser.parse_args().quick
    cases = {"2D": ((8, 2, 1),)} if quick else CASES
    content = {"machine": describe_machine(["numpyro-homog", "jax", "jaxlib"]), "cases": {}}
    print(f"{'':8}{'Poisson':>8}" + "".join(f"{name:>24}" for name in DISCRETIZATIONS) + "    (error %, ms)")
    for name, sizes in cases.items():
        for n, ndim, num_cells in sizes:
            for poisson in POISSON:
                row = measure(n, ndim, num_cells, poisson)
                content["cases"].setdefault(f"{name}, n = {n}", {})[f"{poisson}"] = row
                shown = "".join(f"{r['error_percent']:14.2f}{r['ms']:10.2f}" for r in row.values())
                print(f"{name} {n:4d}{poisson:9}{shown}", flush=True)
    folder = ROOT / ("out" if quick else "benchmarks/results")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "locking.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
