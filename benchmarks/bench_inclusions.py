"""Mixing rules for elastic phases and in three dimensions: errors of single cells.

    python -m benchmarks.bench_inclusions

Voronoi cells of three elastic phases (plane strain) against sharp cells at n = 512, and spheres on a simple cubic
lattice against the series of Sangani and Acrivos (Proc. R. Soc. Lond. A 386, 1983). Writes
benchmarks/results/inclusions.json, which docs/accuracy.md quotes.
"""

import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh
from benchmarks.store import Store, rounded
from numpyro_homog import homogenization as hom

RULES = (hom.LaminateMixing(), hom.GeometricMixing(), hom.HarmonicMixing(), hom.ArithmeticMixing())
MATERIALS = {"moderate": ([1.0, 5.0, 10.0], [0.3] * 3), "strong": ([1.0, 10.0, 50.0], [0.4, 0.3, 0.2])}
SPHERES = {(0.1, 10): 1.24334, (0.2, 10): 1.53172, (0.2, 50): 1.70151, (0.4, 10): 2.36226, (0.4, 50): 3.00793}
SIZES, FINE, NUM_CELLS = (16, 32, 64), 512, 8


def labels(seed: int, n: int) -> np.ndarray:
    """Nearest of three seeds on the torus, at the centres of n x n voxels."""
    seeds = np.random.default_rng(seed).random((3, 2))
    centers = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2, indexing="ij"), -1)
    distance = np.abs(centers[:, :, None] - seeds)
    return np.argmin((np.minimum(distance, 1 - distance) ** 2).sum(-1), -1)


def elastic_rows(name: str) -> list[dict]:
    lame = [np.asarray(part, np.float32) for part in nh.lame_from_young(*map(np.float32, MATERIALS[name]))]

    def tensors(n, field):
        cell = nh.CellProblem(nh.Grid((n, n)), nh.LinearElasticity(), nh.Periodic(), tolerance=1e-5)
        return np.asarray(nh.effective_tensor(cell, field))

    def sharp(n, seeds):
        return tensors(n, tuple(jnp.asarray(part[np.array([labels(s, n) for s in seeds])]) for part in lame))

    reference = np.concatenate([sharp(FINE, [seed]) for seed in range(NUM_CELLS)])
    rows = []
    for n in SIZES:
        blocks = np.array([np.eye(3, dtype=np.float32)[labels(seed, FINE)] for seed in range(NUM_CELLS)])
        phases = jnp.asarray(blocks.reshape(NUM_CELLS, n, FINE // n, n, FINE // n, 3).mean((2, 4)))
        found = {"sharp": sharp(n, range(NUM_CELLS))}
        for rule in RULES:
            found[type(rule).__name__] = tensors(n, nh.mix(phases, nh.Lame(*map(jnp.asarray, lame)), rule))
        for rule, tensor in found.items():
            error = np.linalg.norm(tensor - reference, axis=(1, 2)) / np.linalg.norm(reference, axis=(1, 2))
            trace = np.trace(tensor - reference, axis1=1, axis2=2) / np.trace(reference, axis1=1, axis2=2)
            rows.append({"material": name, "rule": rule, "n": n, "error": error.mean(), "trace_bias": trace.mean()})
    return rows


def sphere_rows(fraction: float, contrast: float, factor: int = 6) -> list[dict]:
    rows, radius = [], (3 * fraction / (4 * np.pi)) ** (1 / 3)
    for n in SIZES:
        square = ((np.arange(n * factor) + 0.5) / (n * factor) - 0.5) ** 2
        share = np.zeros((n, n, n), np.float32)
        for i in range(n):
            slab = square[i * factor : (i + 1) * factor, None, None] + square[:, None] + square
            share[i] = (slab < radius**2).reshape(factor, n, factor, n, factor).mean((0, 2, 4))
        grid = nh.Grid((n, n, n))
        cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-5)
        phases = jnp.stack([1 - jnp.asarray(share), jnp.asarray(share)], axis=-1)
        value = float(nh.effective_tensor(cell, nh.mix(phases, jnp.array([1.0, contrast]), grid=grid))[0, 0])
        error = value / SPHERES[fraction, contrast] - 1
        rows.append({"fraction": fraction, "contrast": contrast, "n": n, "tensor": value, "error": error})
    return rows


def main() -> None:
    store = Store("inclusions", ["jax", "jaxlib"])
    store.content |= {"cells": NUM_CELLS, "reference": FINE}
    store.put("elasticity", [row for name in MATERIALS for row in elastic_rows(name)])
    store.put("spheres", [row for case in SPHERES for row in sphere_rows(*case)])
    for row in store.content["elasticity"] + store.content["spheres"]:
        print(rounded(row, 5))


if __name__ == "__main__":
    main()
