# %% [markdown]
# # A posterior of the microstructure
#
# **Question.** A thousand plates came from one process: in each, three phases grew from one nucleus each. Only the
# effective conductivity of every plate was measured. Which conductivities of the phases and which start times of their
# growth are plausible, *and how do they depend on each other*?
#
# The quickstart gives an estimate with standard errors. Here stock NUTS explores a posterior around it, and new plates
# are drawn from it. The intervals of this posterior are **not calibrated yet**: its width is set by one number,
# `loss_scale`, matched to the standard errors of the estimate. Read its shape, and take intervals from the fit.
#
# With `FAST=1` in the environment everything is small, and takes less than a minute.

# %%
import os
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform
from numpyro.infer import MCMC, NUTS, Predictive

import numpyro_homog as nh

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its rewrite
    import arviz as az

FAST = os.environ.get("FAST", "0") == "1"
out = Path("out")
out.mkdir(exist_ok=True)
numpyro.set_host_device_count(2)  # two chains at a time; must come before the first computation

# %% [markdown]
# ## The data and the model
#
# The start times count from that of the first phase. The conductivities are ordered: without that, relabelling the
# phases would give six equal modes. The prior says that neighbours differ by factors between 2 and 40. The grid is
# coarse, so that the chains take minutes; the estimates carry a bias of a few percent for it.

# %%
measured = nh.load_example("laguerre_plates")  # (1000, 2, 2), W/(m K)
truth = nh.example_truth("laguerre_plates")
cell = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic(), tolerance=1e-3)
log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
kappa_prior = dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()])


def model(num_specimens):
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
    kappa = numpyro.sample("kappa", kappa_prior)
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.grid, jnp.append(0.0, delay)))
        nh.homogenize("K_eff", cell, nh.mix(phases, kappa))


# %% [markdown]
# ## The estimate
#
# `fit.summary()` compares the divergence with what sampling alone makes: if it is much larger, the model is wrong. The
# table of basins says whether different starts agree.

# %%
data = {"K_eff": measured}
divergence = nh.SlicedWasserstein(num_projections=24)
start = time.perf_counter()
fit = nh.MinimumDistance(model, data, divergence).run(
    jax.random.key(0), num_specimens=500 if FAST else 2000, num_starts=2 if FAST else 5, progress=False
)
print(fit.summary())
print(fit.basins)

# %% [markdown]
# ## The posterior
#
# `generalized_bayes` keeps the priors of `delay` and `kappa`, simulates the sites of the plate with noise that is held
# fixed, and adds the factor $-\text{loss scale}\, D$. Cells and tensors are hidden.
#
# With `fit=fit` its one latent is a vector in which the posterior about the fit is nearly standard normal. So chains
# begin and step right without a word about starts or metrics; the parameters are functions of that vector.

# %%
posterior = nh.generalized_bayes(model, data, divergence, rng_key=jax.random.key(1), fit=fit)
num_warmup, num_samples, num_specimens = (30, 60, 200) if FAST else (150, 700, 1000)
mcmc = MCMC(
    NUTS(posterior, max_tree_depth=3),  # in these coordinates seven steps lead to the other side
    num_warmup=num_warmup,
    num_samples=num_samples,
    num_chains=2,
    chain_method="parallel",
    progress_bar=False,
)
mcmc.run(jax.random.key(2), num_specimens, extra_fields=("accept_prob", "diverging", "num_steps"))
jax.block_until_ready(mcmc.get_samples())
print(f"{num_specimens} simulated plates, {time.perf_counter() - start:.0f} s with the fit")

# %% [markdown]
# Did the chains work? No divergent steps, an acceptance near its target, and two chains that agree.

# %%
extra = mcmc.get_extra_fields()
idata = az.from_numpyro(mcmc, log_likelihood=False)
summary = az.summary(idata, var_names=["delay", "kappa"])
r_hat = max(float(values.max()) for values in az.rhat(idata, var_names=["delay", "kappa"]).data_vars.values())
divergent, acceptance = float(np.mean(extra["diverging"])), float(np.mean(extra["accept_prob"]))
print(summary)
print(f"divergent steps {100 * divergent:.1f} %, acceptance {acceptance:.2f}, largest R-hat {r_hat:.4f}, "
      f"{float(np.mean(extra['num_steps'])):.1f} gradients a draw")  # fmt: skip

# %% [markdown]
# ## How the parameters depend on each other

# %%
az.plot_pair(idata, var_names=["delay", "kappa"])
plt.suptitle("posterior of start times (cell / velocity) and conductivities, W/(m K)")
plt.savefig(out / "01_pairs.png", dpi=80)

# %% [markdown]
# ## New plates from the posterior
#
# `Predictive` on the *original* model draws new cells for each draw of the parameters. Name the sites: all cells of all
# draws would be gigabytes.

# %%
samples = mcmc.get_samples()
some = {name: samples[name][:: len(samples[name]) // 20] for name in ("delay", "kappa")}
new = Predictive(model, some, return_sites=["K_eff"])(jax.random.key(3), num_specimens=50)["K_eff"]
figure = nh.plot_cloud(measured, new.reshape(-1, 2, 2), unit="W/(m K)", labels=("measured", "posterior predictive"))
figure.savefig(out / "01_predictive.png", dpi=80)

# %% [markdown]
# ## Answer

# %%
kappa, delay = np.mean(samples["kappa"], axis=0), np.mean(samples["delay"], axis=0)
kappa_truth, delay_truth = (np.asarray(truth[name]) for name in ("kappa", "delays"))
kappa_error = np.linalg.norm(kappa - kappa_truth) / np.linalg.norm(kappa_truth)
print(f"conductivities {np.round(kappa, 2)}, truth {kappa_truth}: off by {100 * kappa_error:.1f} %")
print(f"start times {np.round(delay, 3)}, truth {delay_truth[1:]}")

assert kappa_error < (0.3 if FAST else 0.1)
if not FAST:  # sixty draws of a chain tell little about these
    assert divergent < 0.01
    assert acceptance > 0.75
    assert r_hat < 1.01
