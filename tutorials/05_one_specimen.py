# %% [markdown]
# # One large specimen: many measurements of a material that varies slowly
#
# **Question.** There is one specimen only, but it is large: 512 x 512 cells. In each cell one grain of each of three
# phases has grown, and from cell to cell the grains drift. A local probe measures the conductivity of one cell, with an
# error. What are the conductivities of the phases and the start times of their growth?
#
# A distribution needs many independent draws, and this is one draw of one field. But cells that are far apart know
# little of each other: a sparse grid of sites stands in for many specimens. How sparse it has to be shows below.
#
# With `FAST=1` in the environment everything is small, and takes less than a minute.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh

FAST = os.environ.get("FAST", "0") == "1"
out = Path("out")
out.mkdir(exist_ok=True)
kappa, delays, noise = jnp.array([1.0, 5.0, 10.0]), jnp.array([0.0, 0.1, 0.05]), 0.02

# %% [markdown]
# ## The specimen
#
# Each seed has two coordinates within its cell, and each coordinate is a random field over the specimen: uniform at
# every point, by a copula, with a correlation that reaches over about ten cells. A field is a sum of modes, and is
# evaluated where it is asked for: the 262,144 cells are never made.

# %%
num_cells = 128 if FAST else 512
covariance = nh.NeumannMatern((1.0, 1.0), tau=num_cells / 2, s=4.0, num_modes=num_cells // 2, margin=16 / num_cells)


def seeds_at(points):
    """Seeds of the three phases, shape (*points, 3, 2), in units of a cell."""
    law = nh.GaussianCopulaField(dist.Uniform(0.0, 1.0), nh.GaussianField(jnp.asarray(points, jnp.float32), covariance))
    return jnp.moveaxis(law.sample(jax.random.key(0), (3, 2)), (0, 1), (-2, -1))


def tensors_at(points, n):
    """Tensors of the cells at some points, and their conductivities on n x n voxels, shape (points, n, n)."""
    grid = nh.Grid((n, n))
    growth = nh.LaguerreTessellation(grid, delays, sharp=True).transforms[-1]
    seeds = seeds_at(points).reshape(-1, 3, 2)
    fields = jax.lax.map(lambda part: growth(part) @ kappa, seeds, batch_size=64)
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-5)
    return nh.effective_tensor(cell, fields), fields


# %% [markdown]
# ## Where it is measured
#
# Every eighth cell in either direction (every sixteenth in the full run), away from the edge of the specimen.

# %%
spacing = 8 if FAST else 16
side = num_cells // spacing
index = spacing * np.arange(side) + spacing // 2
sites = np.stack(np.meshgrid(index, index, indexing="ij"), -1).reshape(-1, 2) / num_cells
true_tensors, _ = tensors_at(sites, 48 if FAST else 128)
components = np.asarray(nh.tensors.unique_components(true_tensors))
measured = components + noise * np.random.default_rng(1).normal(size=components.shape)

# %% [markdown]
# A look at a corner of the specimen, where every cell is solved for the picture alone: the field, the cells, the
# tensors, and the sites. Neighbours are alike; sites are not.

# %%
window = 24 if FAST else 40
inside = np.stack(np.meshgrid(*[np.arange(window)] * 2, indexing="ij"), -1) / num_cells
local, cells = tensors_at(inside, 16)
local_k11 = np.asarray(local)[:, 0, 0].reshape(window, window)
field = np.asarray(seeds_at(inside))[..., 0, 0]
patch = np.asarray(cells).reshape(window, window, 16, 16)[:6, :6].transpose(0, 2, 1, 3).reshape(96, 96)
figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
maps = (
    (axes[0], field, "viridis", "first coordinate of the first seed", window),
    (axes[1], patch, "cividis", "the first 6 x 6 cells, W/(m K)", 6),
    (axes[2], local_k11, "magma", "effective K11 of each cell, W/(m K)", window),
)
for axis, values, colours, title, extent in maps:
    image = axis.imshow(values.T, origin="lower", cmap=colours, extent=(0, extent, 0, extent))
    figure.colorbar(image, ax=axis, shrink=0.8)
    axis.set(title=title, xlabel="cells", ylabel="cells")
near = index[index < window] + 0.5
for axis in (axes[0], axes[2]):
    axis.plot(*(part.ravel() for part in np.meshgrid(near, near)), "o", mfc="none", mec="white", ms=7)
figure.savefig(out / "05_specimen.png", dpi=110)

# %% [markdown]
# ## How far apart is far enough?
#
# The correlation of K11 between cells of a line, from the window. Sites should be where it has died out.

# %%
centred = local_k11 - components[:, 0].mean()
lags = np.arange(window // 2)
correlation = [np.mean(centred[: window - lag] * centred[lag:]) / components[:, 0].var() for lag in lags]
between = components[:, 0].reshape(side, side) - components[:, 0].mean()
of_sites = float(np.mean(between[1:] * between[:-1]) / between.var())
print(f"correlation of K11 between neighbouring sites {of_sites:+.2f}, of {len(sites)} sites")
figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
axis.plot(lags, correlation, "o-", ms=4, label="cells of the window")
axis.plot([spacing], [of_sites], "s", label="neighbouring sites")
axis.axhline(0, color="grey", lw=0.8)
axis.set(xlabel="distance in cells", ylabel="correlation of K11")
axis.legend()
figure.savefig(out / "05_correlation.png", dpi=110)

# %% [markdown]
# ## The model
#
# Each site is taken for a specimen of its own: cells with uniform seeds, and the error of the probe as one more line.
# The field does not appear. If sites were too close, the estimate would still be right on average, but its standard
# errors would be too small.

# %%
cell = nh.CellProblem(nh.Grid((12, 12) if FAST else (32, 32)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
kappa_prior = dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()])


def model(num_specimens):
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
    conductivity = numpyro.sample("kappa", kappa_prior)
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.grid, jnp.append(0.0, delay)))
        effective = nh.homogenize("K_eff", cell, nh.mix(phases, conductivity))
        numpyro.sample("K_measured", dist.Normal(nh.tensors.unique_components(effective), noise).to_event(1))


estimator = nh.MinimumDistance(model, {"K_measured": measured.astype(np.float32)}, nh.SlicedWasserstein())
fit = estimator.run(jax.random.key(2), num_specimens=4 * len(sites), num_starts=3 if FAST else 5, progress=False)
print(fit.summary())
print(fit.basins)

# %% [markdown]
# ## Answer

# %%
point = {name: jnp.asarray(value)[None] for name, value in fit.params.items()}
predictive = numpyro.infer.Predictive(model, point, return_sites=["K_measured"])
predicted = predictive(jax.random.key(3), num_specimens=len(sites))["K_measured"][0]
figure = nh.plot_cloud(
    nh.tensors.from_unique_components(jnp.asarray(measured)),
    nh.tensors.from_unique_components(predicted),
    unit="W/(m K)",
    labels=("measured", "fitted"),
)
figure.savefig(out / "05_cloud.png", dpi=100)
kappa_error = float(np.linalg.norm(fit.params["kappa"] - kappa) / np.linalg.norm(kappa))
delay_error = float(np.abs(fit.params["delay"] - delays[1:]).max())
print(f"conductivities {np.round(fit.params['kappa'], 2)}, truth {kappa}: off by {100 * kappa_error:.1f} %")
print(f"start times {np.round(fit.params['delay'], 3)}, truth {delays[1:]}")
assert kappa_error < (0.25 if FAST else 0.05)
assert delay_error < (0.1 if FAST else 0.03)
