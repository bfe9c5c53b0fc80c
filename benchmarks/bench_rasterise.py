"""What a cell of many Voronoi seeds costs to draw, beside brute force and the solve; and the bias of relaxed labels.

    python -m benchmarks.bench_rasterise

On one core, in 32 bits, compiled, best of interleaved rounds. Phases of conductivities 1, sqrt(10), 10. The bias is in
mean and spread of the effective tensors of `VoronoiPhases(..., temperature=t)` against t = 0, with common random
numbers. Writes benchmarks/results/rasterise.json, which docs/microstructures.md quotes.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store, rounded

# Read when JAX makes its first array.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
SIZES = (((32, 32), 25), ((64, 64), 100), ((128, 128), 400), ((16, 16, 16), 8), ((32, 32, 32), 64))
KAPPA = jnp.array([1.0, 10.0**0.5, 10.0], jnp.float32)
FRACTIONS = jnp.array([0.3, 0.3, 0.4], jnp.float32)
BATCH, ROUNDS = 8, 15
TEMPERATURES, NUM_CELLS = (0.003, 0.01, 0.03, 0.1, 0.3), 400


def brute_force(seeds, membership, grid):
    """One-hot phases by all distances, one member after the other."""

    def member(part):
        z, m = part
        gap = jnp.abs(grid.centers(z.dtype)[..., None, :] - z)
        return m[jnp.argmin(jnp.sum(jnp.minimum(gap, 1 - gap) ** 2, axis=-1), axis=-1)]

    return jax.lax.map(member, (seeds, membership))


@functools.partial(jax.jit, static_argnames=("grid", "sharp"))
def voronoi_phases(seeds, membership, grid, *, sharp):
    """The cells of given seeds, each of a phase for certain: `membership` is one-hot."""
    law = nh.VoronoiPhases(grid, membership, seeds=seeds, sharp=sharp)
    return law.transforms[0](jnp.full(seeds.shape[:-1], 0.5, seeds.dtype))


def timings(shape, num_seeds):
    grid = nh.Grid(shape)
    seeds = jax.random.uniform(jax.random.key(0), (BATCH, num_seeds, len(shape)), jnp.float32)
    labels = jax.random.randint(jax.random.key(1), (BATCH, num_seeds), 0, 3)
    membership = jax.nn.one_hot(labels, 3, dtype=jnp.float32)
    crowded = 0.02 * seeds
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())
    phases = voronoi_phases(seeds, membership, grid, sharp=False)
    law = nh.VoronoiPhases(grid, FRACTIONS, num_seeds)
    draw = jax.jit(lambda key: law.sample(key, (BATCH,)))
    growth = nh.LaguerreTessellation(grid, jnp.array([0.0, 0.1, 0.05], jnp.float32))
    grow = jax.jit(lambda key: growth.sample(key, (BATCH,)))
    brute = jax.jit(brute_force, static_argnums=2)
    slope = jax.jit(jax.grad(lambda z: jnp.sum(voronoi_phases(z, membership, grid, sharp=False) ** 2)))
    solve = jax.jit(lambda p: nh.effective_tensor(cell, nh.mix(p, KAPPA, grid=grid)))
    jobs = {
        "smooth": lambda: voronoi_phases(seeds, membership, grid, sharp=False),
        "sharp": lambda: voronoi_phases(seeds, membership, grid, sharp=True),
        "brute_force_sharp": lambda: brute(seeds, membership, grid),
        "crowded_sharp": lambda: voronoi_phases(crowded, membership, grid, sharp=True),
        "sample": lambda: draw(jax.random.key(2)),
        "laguerre_of_three": lambda: grow(jax.random.key(2)),
        "gradient_in_seeds": lambda: slope(seeds),
        "mix_and_solve": lambda: solve(phases),
    }
    row = {"shape": shape, "seeds": num_seeds}
    return row | {f"{name}_ms": 1e3 * seconds / BATCH for name, seconds in least_seconds(jobs, ROUNDS).items()}


def bias_rows(n=64, num_seeds=100):
    grid = nh.Grid((n, n))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())

    def tensors(temperature):
        law = nh.VoronoiPhases(grid, FRACTIONS, num_seeds, temperature=temperature)
        keys = jax.random.split(jax.random.key(3), NUM_CELLS // 50)
        batches = [nh.effective_tensor(cell, nh.mix(law.sample(key, (50,)), KAPPA)) for key in keys]
        return np.concatenate(batches)[:, 0, 0]

    hard, rows = tensors(None), []
    for temperature in TEMPERATURES:
        soft = tensors(temperature)
        shift = (soft - hard) / hard.mean()
        rows.append(
            {
                "temperature": temperature,
                "mean_shift_percent": 100 * shift.mean(),
                "standard_error": 100 * shift.std() / np.sqrt(NUM_CELLS),
                "mean_shift_in_spreads": (soft - hard).mean() / hard.std(),
                "spread_ratio": soft.std() / hard.std(),
            }
        )
    return {"n": n, "seeds": num_seeds, "cells": NUM_CELLS, "mean": hard.mean(), "spread": hard.std(), "rows": rows}


def main() -> None:
    store = Store("rasterise", ["jax", "jaxlib"])
    store.content |= {"batch": BATCH, "rounds": ROUNDS}
    store.put("timings", [timings(*size) for size in SIZES])
    store.put("temperature", bias_rows())
    for row in store.content["timings"] + store.content["temperature"]["rows"]:
        print(rounded(row))


if __name__ == "__main__":
    main()
