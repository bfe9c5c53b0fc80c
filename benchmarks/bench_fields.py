"""Time and memory of random fields, and what a temperature does to an effective conductivity.

    python -m benchmarks.bench_fields

A large specimen seen at scattered points: 1000 windows with 400 points each, 256 x 256 modes. Writes
benchmarks/results/fields.json, which docs/microstructures.md quotes.
"""

import functools
import json
import resource

import jax
import jax.numpy as jnp

import numpyro_homog as nh
from benchmarks.rounds import least_seconds
from benchmarks.store import Store

KEY = jax.random.key(0)
SPECIMEN = nh.NeumannMatern((1.0, 1.0), 64.0, 4.0, num_modes=256, margin=0.05)
ALPHA = jnp.array([0.5, 1.0, 2.0])


def seconds(function, *args):
    """The best of three runs, compiled."""
    return least_seconds({"it": functools.partial(jax.jit(function), *args)}, 3)["it"]


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def costs():
    points = jax.random.uniform(KEY, (1000, 400, 2))

    def field(points):
        return nh.GaussianField(points, SPECIMEN).sample(KEY)

    def phases(alpha):
        return nh.DirichletCopulaField(alpha, nh.GaussianField(points, SPECIMEN)).sample(KEY)

    def on_grid(n, d, num_modes):
        grid = nh.Grid((n,) * d)
        law = nh.GaussianField(grid, nh.PeriodicMatern(grid.lengths, 0.1, 1.5, num_modes=num_modes))
        return seconds(law.sample, KEY)

    before = peak_memory()
    result = {
        "field at 400 000 points, s": seconds(field, points),
        "its memory, GB": peak_memory() - before,
        "Dirichlet field of three phases at 400 000 points, s": seconds(phases, ALPHA),
        "its derivative in the concentration, s": seconds(jax.grad(lambda a: jnp.sum(phases(a) ** 2)), ALPHA),
        "memory of all these, GB": peak_memory() - before,
        "grid 128 x 128 with 64 frequencies, s": on_grid(128, 2, 64),
        "grid 64 x 64 x 64 with 32 frequencies, s": on_grid(64, 3, 32),
    }
    return {name: float(f"{value:.2g}") for name, value in result.items()}


def temperature_bias():
    """Relative change of the mean effective conductivity: halves, contrast 10, 100 cells with the same noise."""
    grid = nh.Grid((32, 32))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())
    covariance = nh.PeriodicSquaredExponential(grid.lengths, 0.1, num_modes=12)

    def mean_conductivity(temperature):
        law = nh.ThresholdedGaussianField(grid, covariance, jnp.array([0.5, 0.5]), temperature=temperature)
        field = nh.mix(law.sample(KEY, (100,)), jnp.array([1.0, 10.0]), grid=grid)
        return float(jnp.trace(nh.effective_tensor(cell, field).mean(0)) / 2)

    sharp = mean_conductivity(None)
    return {str(t): round(mean_conductivity(t) / sharp - 1, 5) for t in (0.02, 0.05, 0.1, 0.2, 0.5)}


def main():
    store = Store("fields", ["jax", "jaxlib", "numpyro"])
    store.put("costs", costs())
    store.put("bias of the effective conductivity", temperature_bias())
    print(json.dumps(store.content, indent=1))


if __name__ == "__main__":
    main()
