# %% [markdown]
# # Polycrystals: the law of the fractions behind a discrete draw
#
# **Question.** Every specimen is a polycrystal of a hundred grains of three phases. From specimen to specimen the
# volume fractions scatter with a Dirichlet law. Each effective conductivity was measured once. What are the
# conductivities of the phases, and what is the law of the fractions?
#
# The phase of a grain is a discrete draw: no tensor has a derivative in the fractions. But the fractions are a site of
# the model with a density, and that is enough: the estimator differentiates by its score, and the conductivities by the
# usual path. Nobody has to say so.
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
num_grains, n = (25, 12) if FAST else (100, 32)

# %% [markdown]
# ## The model
#
# One realisation of the grains for each draw of the fractions, as in the measurement: a model of the mean over many
# realisations would take the scatter of the grains for scatter of the fractions.

# %%
cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
kappa_prior = dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()])


def model(num_specimens):
    alpha = numpyro.sample("alpha", dist.LogNormal(0.5, 0.7).expand([3]).to_event(1))
    kappa = numpyro.sample("kappa", kappa_prior)
    with numpyro.plate("specimens", num_specimens):
        fractions = numpyro.sample("fractions", dist.Dirichlet(alpha))
        phases = numpyro.sample("phases", nh.VoronoiPhases(cell.grid, fractions, num_grains))
        nh.homogenize("K_eff", cell, nh.mix(phases, kappa))


# %% [markdown]
# ## The data
#
# Simulated on a finer grid than the model's, with sharp grains.

# %%
alpha, kappa = jnp.array([0.5, 1.0, 1.5]), jnp.array([1.0, 5.0, 10.0])
num_measured = 300 if FAST else 1000
fine = nh.Grid((2 * n, 2 * n) if FAST else (4 * n, 4 * n))
first, second = jax.random.split(jax.random.key(0))
fractions = dist.Dirichlet(alpha).sample(first, (num_measured,))
grains = nh.VoronoiPhases(fine, fractions, num_grains, sharp=True)
keys = jax.random.split(second, num_measured)


@jax.jit
def field_of(share, key):
    return nh.VoronoiPhases(fine, share, num_grains, sharp=True).sample(key) @ kappa


fields = jax.lax.map(lambda pair: field_of(*pair), (fractions, keys))
measured = nh.effective_tensor(nh.CellProblem(fine, nh.Conductivity(), nh.Periodic(), tolerance=1e-4), fields)

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.8), layout="constrained")
for i, axis in enumerate(axes):
    axis.imshow(np.asarray(fields[i]).T, origin="lower", vmin=0, vmax=10)
    shares = ", ".join(f"{share:.2f}" for share in fractions[i])
    axis.set(xticks=[], yticks=[], title=f"K11 = {measured[i, 0, 0]:.2f}", xlabel=f"fractions {shares}")
figure.savefig(out / "04_cells.png", dpi=100)

# %% [markdown]
# ## The fit
#
# The summary says which parameter went by path and which by score. Scores are noisier than paths, so the estimate is
# the mean of those from six independent populations, each simulated once. The standard errors know of sampling alone:
# with `FAST=1` the cells are so coarse that the conductivities are off by more.

# %%
num_simulated = (2 if FAST else 4) * num_measured
estimator = nh.MinimumDistance(model, {"K_eff": measured}, nh.SlicedWasserstein())
fit = estimator.run(jax.random.key(1), num_specimens=num_simulated, num_starts=2 if FAST else 3, progress=False)
print(fit.summary())
print(fit.basins)

# %% [markdown]
# ## Answer

# %%
new = numpyro.infer.Predictive(model, {k: jnp.asarray(v)[None] for k, v in fit.params.items()}, return_sites=["K_eff"])
predicted = new(jax.random.key(2), num_specimens=num_measured)["K_eff"][0]
figure = nh.plot_cloud(measured, predicted, unit="W/(m K)", labels=("measured", "fitted"))
figure.savefig(out / "04_cloud.png", dpi=100)

kappa_error = np.linalg.norm(fit.params["kappa"] - kappa) / np.linalg.norm(kappa)
alpha_error = np.linalg.norm(fit.params["alpha"] - alpha) / np.linalg.norm(alpha)
print(f"conductivities {np.round(fit.params['kappa'], 2)}, truth {kappa}: off by {100 * kappa_error:.1f} %")
print(f"concentrations {np.round(fit.params['alpha'], 2)}, truth {alpha}: off by {100 * alpha_error:.1f} %")
assert kappa_error < (0.3 if FAST else 0.1)
if not FAST:
    assert alpha_error < 0.2
