"""How far an iteration is from the limits of the machine: arithmetic and memory, on one core.

    python -m benchmarks.bench_limits [--quick]

For each physics one chunk, as `effective_tensor` works on: the operator and the inverse of the reference medium by
themselves, and a whole iteration (the time of many less that of few). Floating-point operations are those that XLA
counts; Fourier transforms count 2.5 n log2 n for each real array. Limits: the dense product of two matrices, and a copy
of an array as large as the chunk's unknown and of one that fits no cache. 32 bits. Writes results/limits.json.
"""

import functools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, new_parser
from benchmarks.voronoi_cells import voronoi_field
from numpyro_homog.homogenization._cell import discretize

CASES = {
    "2D conduction": ((64, 64), nh.Conductivity()),
    "2D elasticity": ((64, 64), nh.LinearElasticity()),
    "3D conduction": ((32, 32, 32), nh.Conductivity()),
    "3D elasticity": ((32, 32, 32), nh.LinearElasticity()),
}
REPEATS = 30


def seconds(fn, *arguments) -> float:
    """Least time of some calls of a compiled function."""
    return least_seconds({"it": functools.partial(fn, *arguments)}, REPEATS)["it"]


def repeated(fn, count: int):
    """`fn` so many times in one program, each on the result of the last."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, count, lambda _, y: fn(y), x))


def per_call(fn, x) -> float:
    """Seconds of one application of `fn` within a program."""
    return (seconds(repeated(fn, 24), x) - seconds(repeated(fn, 8), x)) / 16


def measure(shape, law) -> dict:
    """Nanoseconds and operations for each unknown of one chunk."""
    rng = np.random.default_rng(0)

    def chunk(contrast, batch):
        return voronoi_field(shape, law, batch, np.geomspace(1, contrast, 5))

    cell = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-4)
    space, coefficients, _ = discretize(cell, chunk(10.0, 1))
    batch = space.chunk
    space, coefficients, _ = discretize(cell, chunk(1000.0, batch))
    prepared = space.prepare(coefficients.values)
    components = law.num_components(len(shape))
    unknown = jnp.asarray(rng.normal(size=(batch, len(space.loads), components, *shape)), jnp.float32)
    unknown = unknown - unknown.mean(axis=tuple(range(3, unknown.ndim)), keepdims=True)
    inverse = space.reference.preconditioner(coefficients.ratio)
    step = 1e-3 / float(jnp.max(jnp.abs(space.apply(prepared, unknown))))
    apply = per_call(lambda x: x - step * space.apply(prepared, x), unknown)
    invert = per_call(lambda x: inverse(x), unknown)

    field = chunk(1000.0, batch)

    def iterating(limit):
        limited = nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=1e-9, max_iterations=limit)
        done = np.asarray(nh.solve_cell(limited, field, throw=False).stats["iterations"]).max()
        return seconds(jax.jit(lambda field: nh.effective_tensor(limited, field, throw=False)), field), int(done)

    (short, few), (long, many) = iterating(20), iterating(40)
    iteration = (long - short) / (many - few)
    flops = jax.jit(lambda x: space.apply(prepared, x)).lower(unknown).compile().cost_analysis()["flops"]
    transforms = 2 * 2.5 * math.log2(math.prod(shape)) * unknown.size
    return {
        "chunk": batch,
        "unknowns": unknown.size,
        "MiB_of_an_array": unknown.nbytes / 2**20,
        "ns_per_unknown": {
            "operator": 1e9 * apply / unknown.size,
            "inverse": 1e9 * invert / unknown.size,
            "iteration": 1e9 * iteration / unknown.size,
        },
        "flops_per_unknown": {"operator": flops / unknown.size, "transforms": transforms / unknown.size},
        "operator_gflops": flops / apply / 1e9,
        "transforms_gflops": transforms / invert / 1e9,
    }


def limits() -> dict:
    """Arithmetic and memory of one core."""
    n = 1024
    a = jnp.ones((n, n), jnp.float32)
    found = {"matmul_gflops": 2 * n**3 / seconds(jax.jit(jnp.matmul), a, a) / 1e9}
    for name, size in (("cache", 2**17), ("memory", 2**26)):
        x = jnp.ones(size, jnp.float32)
        found[f"copy_{name}_GB/s"] = 8 * size / seconds(jax.jit(lambda x: x + 1), x) / 1e9
    return found


def main() -> None:
    quick = new_parser(__doc__).parse_args().quick
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})  # before JAX makes its threads
    cases = {"2D conduction": ((16, 16), nh.Conductivity())} if quick else CASES
    store = Store("limits", ["numpyro-homog", "jax", "jaxlib"], quick=quick)
    store.put("limits", limits())
    print(", ".join(f"{name} {value:.1f}" for name, value in store.content["limits"].items()))
    for name, (shape, law) in cases.items():
        row = measure(shape, law)
        store.put("cases", name, row)
        times = "  ".join(f"{part} {value:.2f}" for part, value in row["ns_per_unknown"].items())
        print(
            f"{name:15} ns per unknown: {times}   Gflop/s: operator {row['operator_gflops']:.1f}, "
            f"transforms {row['transforms_gflops']:.1f}   {row['flops_per_unknown']['operator']:.0f} flops",
            flush=True,
        )


if __name__ == "__main__":
    main()
