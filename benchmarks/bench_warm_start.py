"""What a solution of neighbouring parameters saves: iterations and time, cold and warm, side by side.

    python -m benchmarks.bench_warm_start [--quick]

Sharp Voronoi cells of three phases, the conductivities or moduli of the last two changed by some per cent, tolerance
1e-4, 32 bits, `solve_cell` on one jitted batch; least of three calls in turn. Writes results/warm_start.json.
"""

import functools

import jax
import numpy as np

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, new_parser
from benchmarks.voronoi_cells import voronoi_field

CHANGES = (0.001, 0.01, 0.05, 0.2)
CASES = {
    "2D conduction": ((64, 64), nh.Conductivity(), 16),
    "2D elasticity": ((64, 64), nh.LinearElasticity(), 8),
    "3D conduction": ((32, 32, 32), nh.Conductivity(), 2),
}


def measure(shape, law, num_cells: int, contrast: float) -> dict:
    """Mean iterations and milliseconds per cell, cold and after each change."""
    cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-4)

    def field(change):
        factors = np.array([1.0, 1 + change, 1 - change])
        return voronoi_field(shape, law, num_cells, np.geomspace(1, contrast, 3) * factors)

    cold = jax.jit(lambda field: nh.solve_cell(cell, field))
    warm = jax.jit(lambda field, start: nh.solve_cell(cell, field, start=start))
    before = cold(field(0.0))
    calls = {"cold": lambda: cold(field(CHANGES[0]))}
    calls |= {f"{change:g}": functools.partial(warm, field(change), before) for change in CHANGES}
    return {
        name: {"iterations": float(calls[name]().stats["iterations"].mean()), "ms": 1e3 * seconds / num_cells}
        for name, seconds in least_seconds(calls, 3).items()
    }


def main() -> None:
    quick = new_parser(__doc__).parse_args().quick
    cases = {"2D conduction": ((16, 16), nh.Conductivity(), 4)} if quick else CASES
    store = Store("warm_start", ["numpyro-homog", "jax", "jaxlib"], quick=quick)
    columns = ["cold", *(f"{change:g}" for change in CHANGES)]
    print(f"{'':16}{'contrast':>9}" + "".join(f"{name:>16}" for name in columns) + "    (iterations, ms)")
    for name, (shape, law, num_cells) in cases.items():
        for contrast in (10.0, 100.0):
            rows = measure(shape, law, num_cells, contrast)
            store.put("cases", name, f"{contrast:g}", rows)
            shown = "".join(f"{rows[c]['iterations']:8.1f}{rows[c]['ms']:8.2f}" for c in columns)
            print(f"{name:16}{contrast:9g}{shown}", flush=True)


if __name__ == "__main__":
    main()
