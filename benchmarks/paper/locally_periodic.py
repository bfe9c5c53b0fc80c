"""5.2: one large specimen whose periodic cell varies slowly, measured with noise at sparse sites."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from benchmarks.estimate_models import CHUNK, DELAYS, KAPPA
from benchmarks.store import cached_array

from .rows import Rows, fit_row

NAME = "5.2"
NUM_CELLS = 512  # along each axis of the specimen
TAU = 256.0  # half a cell: the correlation reaches over about ten cells
NOISE = 0.02


def sites(spacing: int, num_sites: int) -> np.ndarray:
    """Origins of the measured cells, `spacing` cells apart, around the centre of the unit specimen: (num_sites, 2)."""
    side = round(num_sites**0.5)
    first = (NUM_CELLS - side * spacing) // 2
    index = first + spacing * np.arange(side)
    return np.stack(np.meshgrid(index, index, indexing="ij"), -1).reshape(-1, 2) / NUM_CELLS


def specimen(points: np.ndarray) -> nh.GaussianCopulaField:
    """One coordinate of one seed over the specimen, uniform in (0, 1), at the measured cells only."""
    covariance = nh.NeumannMatern((1.0, 1.0), tau=TAU, s=4.0, num_modes=256, margin=16 / NUM_CELLS)
    return nh.GaussianCopulaField(
        dist.Uniform(0.0, 1.0), nh.GaussianField(jnp.asarray(points, jnp.float32), covariance)
    )


def simulate(index: int, spacing: int, num_sites: int, n: int) -> np.ndarray:
    """Noisy tensors of sharp cells on n x n grids, as K11, K22, K12: shape (num_sites, 3); cached without noise."""

    def make():
        law = specimen(sites(spacing, num_sites))
        key = jax.random.fold_in(jax.random.key(20266), index)
        seeds = jnp.moveaxis(law.sample(key, (3, 2)), -1, 0)  # the same realisation for all spacings of a data set
        grid = nh.Grid((n, n))
        cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-5)
        cells = nh.LaguerreTessellation(grid, jnp.array(DELAYS), sharp=True)
        draw = jax.jit(lambda part: cells.transforms[-1](part) @ jnp.array(KAPPA))
        parts = [nh.effective_tensor(cell, draw(seeds[i : i + CHUNK])) for i in range(0, len(seeds), CHUNK)]
        return np.asarray(nh.tensors.unique_components(jnp.concatenate(parts)))

    exact = cached_array(f"locally_periodic_{index}_{spacing}_{num_sites}_{n}", make)
    return exact + NOISE * np.random.default_rng([20267, index, spacing]).normal(size=exact.shape)


def make_model(n: int):
    """The model of 5.1 with the known noise of the measurement; sites are taken as independent."""
    cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
    log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)

    def model(num_specimens):
        delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
        kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
        with numpyro.plate("specimens", num_specimens):
            phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.grid, jnp.append(0.0, delay)))
            components = nh.tensors.unique_components(nh.homogenize("K_eff", cell, nh.mix(phases, kappa)))
            numpyro.sample("K_measured", dist.Normal(components, NOISE).to_event(1))

    return model


def run(rows: Rows, num_data_sets: int, quick: bool) -> None:
    """Every eighth and sixteenth cell; then sites so close that they are not independent."""
    fine, coarse, simulated = (32, 16, 256) if quick else (128, 32, 10_000)
    estimator = None
    for spacing, num_sites in ((16, 64),) if quick else ((8, 4096), (16, 1024), (8, 1024), (4, 1024), (2, 1024)):
        for index in range(num_data_sets):
            name = NAME if spacing * num_sites**0.5 == NUM_CELLS else f"{NAME} every {spacing} cells"
            if rows.has(name, "sliced Wasserstein", num_sites, index):
                continue
            data = {"K_measured": simulate(index, spacing, num_sites, fine).astype(np.float32)}
            if estimator is None:
                estimator = nh.MinimumDistance(make_model(coarse), data, nh.SlicedWasserstein())
            fit = estimator.with_data(data).run(jax.random.key(index), simulated, num_starts=5, progress=False)
            blocks = {
                "kappa": (fit.params["kappa"], fit.standard_errors["kappa"], np.array(KAPPA)),
                "delays": (fit.params["delay"], fit.standard_errors["delay"], np.array(DELAYS[1:])),
            }
            rows.put(fit_row(name, "sliced Wasserstein", index, fit, blocks))
