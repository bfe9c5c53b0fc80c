"""5.1: periodic cells of three phases that grow from uniform seeds with different start times; also the paper's way."""

import jax
import numpy as np
import optax

import numpyro_homog as nh
from benchmarks.estimate_models import DELAYS, KAPPA, errors, make_model, make_relaxed_model, simulate

from .rows import Clock, Rows, fit_row

NAME = "5.1"


def run(rows: Rows, num_data_sets: int, quick: bool) -> None:
    """Data sets of sharp cells on a fine grid, the model on 32 x 32."""
    num_specimens, fine, coarse = (200, 32, 16) if quick else (10_000, 128, 32)
    estimator = None
    for index in range(num_data_sets):
        data = {"K_eff": simulate(index, num_specimens, fine)}
        if index == 0 and not rows.has(NAME, "the paper's way", num_specimens, index):
            stochastic(rows, data, coarse, quick)
        if rows.has(NAME, "sliced Wasserstein", num_specimens, index):
            continue
        if estimator is None:
            estimator = nh.MinimumDistance(make_model(coarse), data, nh.SlicedWasserstein())
        fit = estimator.with_data(data).run(jax.random.key(index), num_specimens, num_starts=5, progress=False)
        blocks = {
            "kappa": (fit.params["kappa"], fit.standard_errors["kappa"], np.array(KAPPA)),
            "delays": (fit.params["delay"], fit.standard_errors["delay"], np.array(DELAYS[1:])),
        }
        rows.put(fit_row(NAME, "sliced Wasserstein", index, fit, blocks))


def stochastic(rows: Rows, data: dict, n: int, quick: bool) -> None:
    """Softmax relaxation, Adam, fresh batches, five starts."""
    steps, batch = (20, 32) if quick else (1000, 128)
    rate = optax.exponential_decay(1e-2, max(1, steps // 4), 0.5, staircase=True)
    estimator = nh.MinimumDistance(
        make_relaxed_model(n), data, nh.SlicedWasserstein(100), optax.adam(rate), num_steps=steps, batch_size=8 * batch
    )
    clock = Clock()
    fit = estimator.run(jax.random.key(0), batch, num_starts=5, progress=False)
    row = {"experiment": NAME, "estimator": "the paper's way", "num_specimens": len(data["K_eff"]), "data_set": 0}
    row |= {"errors": errors(np.exp(fit.params["log_kappa"]), fit.params["delay"]), "floor": {}}
    row |= {"solves": int(fit.stats["solves"]), "seconds": clock() - fit.stats["compile_seconds"]}
    rows.put(row)
