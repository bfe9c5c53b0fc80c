"""Accuracy of the mixing rules: what they do to tensors, and to the parameters that an inversion returns.

Every rule at every resolution sees the same seeds as the reference, sharp cells on a grid at least four times finer.
Writes benchmarks/results/mixing.json and mixing.png; docs/accuracy.md explains and quotes them, and those of
--name mixing_contrast_100 --kappa 1 20 100 --cells 1500 --sizes 16 32 64 and of

    --name mixing_reversed --kappa 10 5 1 --cells 1500 --sizes 24 32 --rules primal-dual "two grids"
        "primal-dual, two grids"
    --name mixing_elastic --elastic --cells 1000 --sizes 16 32 --reference 128
    --name mixing_space --dimension 3 --cells 300 --sizes 8 16 24 --reference 96

In elasticity (plane strain) the moduli of Young take the place of conductivities; Poisson's ratio is .3 everywhere.
"""

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import numpyro_homog as nh
from benchmarks.store import Store, new_parser
from numpyro_homog import homogenization as hom

RULES = {
    "sharp": None,
    "arithmetic": hom.ArithmeticMixing(),
    "harmonic": hom.HarmonicMixing(),
    "geometric": hom.GeometricMixing(),
    "laminate": hom.LaminateMixing(),
    "primal-dual": hom.LaminateMixing(),
    "two grids": hom.LaminateMixing(),
    "primal-dual, two grids": hom.LaminateMixing(),
}
POISSON = 0.3
TRUTH = np.array([1.0, 5.0, 10.0, 0.1, 0.05])  # three conductivities; the delays of phases 2 and 3
NAMES = ("kappa_1", "kappa_2", "kappa_3", "delay_2", "delay_3")


def cell_problem(elastic, shape: tuple[int, ...], tolerance: float, name: str) -> nh.CellProblem:
    discretization = nh.PrimalDual() if name.startswith("primal-dual") else nh.Primal()
    law = nh.LinearElasticity() if elastic else nh.Conductivity()
    return nh.CellProblem(nh.Grid(shape), law, nh.Periodic(), tolerance=tolerance, discretization=discretization)


def phases(grid, theta, seeds, sharp):
    """Phases of given seeds: the common random numbers of all columns of the table."""
    law = nh.LaguerreTessellation(grid, jnp.append(0.0, theta[3:]), sharp=sharp)
    return law.transforms[0](seeds)


def tensors(elastic, n, name, seeds, chunk, tolerance, derivatives):
    """Components (N, p) of the tensors, and their derivatives (N, p, 5) with respect to the parameters.

    Sharp cells are constant almost everywhere in the delays; they get the derivative of laminate mixing, which is what
    a model that draws sharp cells and differentiates smooth ones would use.
    """
    cell, rule = cell_problem(elastic, (n,) * seeds.shape[-1], tolerance, name), RULES[name]

    def run(theta, seeds, rule):
        moduli = theta[:3]
        if elastic:
            moduli = nh.lame_from_young(moduli, jnp.full_like(moduli, POISSON))
        fractions, chosen = phases(cell.grid, theta, seeds, rule is None), rule or hom.ArithmeticMixing()
        if name.endswith("two grids"):
            return nh.tensors.unique_components(nh.effective_tensor(nh.TwoGridCell(cell, chosen), (fractions, moduli)))
        field = nh.mix(fractions, moduli, chosen, grid=cell.grid)
        return nh.tensors.unique_components(nh.effective_tensor(cell, field))

    theta = jnp.asarray(TRUTH, seeds.dtype)
    value = jax.jit(lambda seeds: run(theta, seeds, rule))
    slope = jax.jit(jax.jacfwd(lambda theta, seeds: run(theta, seeds, rule or hom.LaminateMixing())))
    parts = np.split(np.asarray(seeds), range(chunk, len(seeds), chunk))
    values = np.concatenate([value(part) for part in parts])
    return values, np.concatenate([slope(theta, part) for part in parts]) if derivatives else None


def quantile_residuals(components, tangents, scale, directions, num_bins):
    """Bin means of the sorted projections, and their Jacobian: the map of a sliced-Wasserstein Gauss-Newton step."""
    projected = (components / scale) @ directions.T
    order = np.argsort(projected, 0)
    bins = np.array_split(np.arange(len(components)), num_bins)
    ordered = np.take_along_axis(projected, order, 0)
    residuals = np.stack([ordered[index].mean(0) for index in bins]).ravel()
    if tangents is None:
        return residuals, None
    slopes = np.einsum("nct,lc->nlt", tangents / scale[:, None], directions)
    slopes = np.take_along_axis(slopes, order[:, :, None], 0)
    return residuals, np.stack([slopes[index].mean(0) for index in bins]).reshape(-1, tangents.shape[-1])


def implied_shift(components, tangents, reference, num_slices=64, num_bins=50):
    """Parameters that fit the reference with this model, minus the truth, to first order."""
    directions = np.random.default_rng(0).normal(size=(num_slices, components.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    scale = reference.std(0)
    ours, jacobian = quantile_residuals(components, tangents, scale, directions, num_bins)
    theirs, _ = quantile_residuals(reference, None, scale, directions, num_bins)
    return np.linalg.lstsq(jacobian, theirs - ours, rcond=None)[0]


def relative(shift):
    """Relative 2-norms for the conductivities and for the delays."""
    groups = (slice(0, 3), slice(3, 5))
    return [float(np.linalg.norm(shift[g]) / np.linalg.norm(TRUTH[g])) for g in groups]


def judge(components, tangents, reference, num_parts=4):
    shift = implied_shift(components, tangents, reference)
    parts = [
        implied_shift(components[i::num_parts], tangents[i::num_parts], reference[i::num_parts])
        for i in range(num_parts)
    ]
    error = np.std(parts, axis=0, ddof=1) / np.sqrt(num_parts)
    num_diagonal = int(np.sqrt(2 * components.shape[1]))  # the diagonal comes first
    norm = np.sqrt(np.where(np.arange(components.shape[1]) < num_diagonal, 1.0, 2.0))
    single = np.linalg.norm((components - reference) * norm, axis=1) / np.linalg.norm(reference * norm, axis=1)
    trace = (components - reference)[:, :num_diagonal].sum(1) / reference[:, :num_diagonal].sum(1)
    kappa, delays = relative(shift)
    kappa_error, delays_error = relative(error)
    return {
        "single_cell_error": float(single.mean()),
        "trace_bias": float(trace.mean()),
        "implied": dict(zip(NAMES, (TRUTH + shift).tolist(), strict=True)),
        "monte_carlo_error": dict(zip(NAMES, error.tolist(), strict=True)),
        "kappa_bias": kappa,
        "kappa_bias_error": kappa_error,
        "delays_bias": delays,
        "delays_bias_error": delays_error,
    }


def draw(rows, path):
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    columns = (
        ("single_cell_error", "error of single cells"),
        ("kappa_bias", "bias of conductivities"),
        ("delays_bias", "bias of delays"),
    )
    for ax, (key, title) in zip(axes, columns, strict=True):
        for rule in RULES:
            chosen = [row for row in rows if row["rule"] == rule]
            if not chosen:
                continue
            ax.loglog([row["n"] for row in chosen], [100 * row[key] for row in chosen], "o-", label=rule, ms=4)
        sizes = sorted({row["n"] for row in rows})
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
        ax.set(xlabel="voxels per edge n", ylabel=f"{title} (%)")
        ax.grid(alpha=0.3)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=8, fontsize=8)
    fig.savefig(path, dpi=130)


def main():
    parser = new_parser(__doc__, quick=None)
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 24, 32, 48, 64])
    parser.add_argument("--reference", type=int, default=256)
    parser.add_argument("--kappa", type=float, nargs=3, default=[1.0, 5.0, 10.0], help="true conductivities")
    parser.add_argument("--elastic", action="store_true", help="elastic phases instead of conductors")
    parser.add_argument("--dimension", type=int, choices=(2, 3), default=2)
    parser.add_argument(
        "--rules", nargs="+", choices=list(RULES), help="only these; rows of others in the file are kept"
    )
    parser.add_argument("--name", default="mixing", help="name of the results")
    parser.add_argument("--out", type=Path, help="folder of the results (default benchmarks/results)")
    options = parser.parse_args()
    if options.reference < 4 * max(options.sizes):
        parser.error("the reference must be at least four times finer than every model")
    TRUTH[:3] = options.kappa
    elastic, start = options.elastic, time.perf_counter()
    plane = options.dimension == 2 and not elastic
    rules = [rule for rule in options.rules or RULES if plane or not rule.startswith("primal-dual")]
    store = Store(options.name, ["jax", "jaxlib", "numpyro"], folder=options.out)
    store.content |= {
        "cells": options.cells,
        "elastic": options.elastic,
        "dimension": options.dimension,
        "truth": dict(zip(NAMES, TRUTH.tolist(), strict=True)),
        "reference": f"sharp, n = {options.reference}",
    }
    seeds = jax.random.uniform(jax.random.key(0), (options.cells, 3, options.dimension))
    tolerance, chunk = (1e-6, 100) if plane else (1e-5, 20 if options.dimension == 2 else 5)
    reference, _ = tensors(elastic, options.reference, "sharp", seeds, chunk, tolerance, derivatives=False)
    print(f"reference n = {options.reference}: {time.perf_counter() - start:.0f} s", flush=True)
    rows = json.loads(store.path.read_text())["rows"] if options.rules and store.path.exists() else []
    rows = [row for row in rows if row["rule"] not in rules]
    for n in options.sizes:
        for name in rules:
            found = tensors(elastic, n, name, seeds, 5 * chunk, tolerance, derivatives=True)
            row = {"rule": name, "n": n, **judge(*found, reference)}
            rows.append(row)
            print(
                f"{name:22s} {n:3d}  cell {row['single_cell_error']:.1e}  trace {100 * row['trace_bias']:+.2f} %  "
                f"kappa {100 * row['kappa_bias']:.2f} +- {100 * row['kappa_bias_error']:.2f} %  "
                f"delays {100 * row['delays_bias']:.2f} +- {100 * row['delays_bias_error']:.2f} %  "
                + " ".join(f"{value:.4g}" for value in row["implied"].values()),
                flush=True,
            )
            store.content["seconds"] = time.perf_counter() - start
            store.put("rows", rows)
    if plane:
        draw(rows, store.path.with_suffix(".png"))


if __name__ == "__main__":
    main()
