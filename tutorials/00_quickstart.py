# %% [markdown]
# # Quickstart: from measured conductivities to the microstructure
#
# **Question.** A process makes plates of three phases. Each phase grows from one nucleus; the nuclei sit anywhere, and
# some start later than others. Nobody cuts a plate open, but its effective conductivity is measured, for a thousand
# plates. What are the conductivities of the phases, and how late do the later ones start?
#
# Run it on your own file with
#
#     python tutorials/00_quickstart.py plates.csv --num-phases 4
#
# where `plates.csv` has a header with K11, K12, K22 and one plate per row, in any unit. With `FAST=1` in the
# environment everything is small, and takes less than a minute.

# %%
import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform
from numpyro.infer import Predictive

import numpyro_homog as nh

warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")  # ArviZ announces its rewrite

EXAMPLE = "laguerre_plates"
FAST = os.environ.get("FAST", "0") == "1"
parser = argparse.ArgumentParser(description="Estimate phase conductivities and start times from measured tensors.")
parser.add_argument("csv", nargs="?", help="measured tensors; default: the packaged example")
parser.add_argument("--num-phases", type=int, default=3, help="number of phases of the model")
parser.add_argument("--out", type=Path, default=Path("out"), help="folder for figures and results")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.out.mkdir(parents=True, exist_ok=True)
begin = time.perf_counter()

# %% [markdown]
# ## The data
#
# One symmetric tensor per plate. The loader names the rows it cannot use.

# %%
measured = nh.load_specimens(options.csv) if options.csv else nh.load_example(EXAMPLE)
unit = "" if options.csv else nh.example_truth(EXAMPLE)["units"]["kappa"]
level = float(np.exp(np.mean(np.log(np.linalg.eigvalsh(measured)))))
print(f"{len(measured)} specimens, typical conductivity {level:.3g} {unit}")

# %% [markdown]
# ## The model
#
# Plain NumPyro, with two new words: the distribution `LaguerreTessellation`, whose value is the volume fraction of each
# phase in each voxel, and the primitive `homogenize`, which solves the cell problem. Start times count from that of the
# first phase and carry the unit of length of the cell (the growth speed is one). Conductivities are ordered: relabelled
# phases would give the same plates. The prior says that neighbours differ by factors between 1.3 and 30; it only makes
# the starts, and the fit may end anywhere.

# %%
num_phases = options.num_phases
cell = nh.CellProblem(nh.Grid((16, 16) if FAST else (32, 32)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
lowest = jnp.log(level) - (num_phases - 1) / 2
log_kappa = dist.Normal(jnp.zeros(num_phases).at[0].set(lowest), 0.75).to_event(1)
kappa_prior = dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()])


def model(num_specimens):
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([num_phases - 1]).to_event(1))
    kappa = numpyro.sample("kappa", kappa_prior)
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.grid, jnp.append(0.0, delay)))
        nh.homogenize("K_eff", cell, nh.mix(phases, kappa))


# %% [markdown]
# ## The estimate
#
# The cloud of simulated tensors is matched to the measured one: sliced Wasserstein distance, Levenberg-Marquardt, five
# starts from the prior, four simulated plates for each measured one.

# %%
estimator = nh.MinimumDistance(model, {"K_eff": measured}, nh.SlicedWasserstein())
fit = estimator.run(
    jax.random.key(0),
    num_specimens=1000 if FAST else max(4000, 4 * len(measured)),
    num_starts=3 if FAST else 5,
)
print(fit.summary())
print(fit.basins)

# %% [markdown]
# ## The answer, beside the truth
#
# The truth is known for the packaged plates only: they were simulated, on a grid eight times finer than the model's.

# %%
truth = {}
if not options.csv and num_phases == 3:
    known = nh.example_truth(EXAMPLE)
    truth = {"delay": known["delays"][1:] - known["delays"][0], "kappa": known["kappa"]}
print(f"\n{'parameter':<12}{'estimate':>10}{'std. error':>12}" + (f"{'truth':>10}{'off by':>12}" if truth else ""))
for name, values in fit.params.items():
    for i, value in enumerate(values):
        error = fit.standard_errors[name][i]
        line = f"{f'{name}[{i}]':<12}{value:>10.4g}{error:>12.2g}"
        if truth:
            line += f"{truth[name][i]:>10.4g}{(value - truth[name][i]) / error:>8.1f} s.e."
        print(line)

# %% [markdown]
# ## Pictures and files
#
# New plates from the fitted model, their tensors over the measured ones, and the descent of each start. The NetCDF file
# holds the estimate, draws of its sampling distribution and the data, and opens with ArviZ.

# %%
fitted = {name: jnp.asarray(value) for name, value in fit.params.items()}
plates = Predictive(model, params={}, posterior_samples={k: v[None] for k, v in fitted.items()})(
    jax.random.key(1), num_specimens=len(measured)
)
figures = {
    "plates": nh.plot_field(plates["phases"][0, :6]),
    "cloud": nh.plot_cloud(measured, np.asarray(plates["K_eff"][0]), unit=unit),
    "convergence": nh.plot_convergence(fit, ylabel="sliced Wasserstein distance, squared"),
}
for name, figure in figures.items():
    figure.savefig(options.out / f"quickstart_{name}.png", dpi=150)
fit.to_arviz().to_netcdf(str(options.out / "quickstart.nc"))
print(f"\nFigures and quickstart.nc are in {options.out}/. It took {time.perf_counter() - begin:.0f} s.")

# %%
if truth:
    worst = max(np.max(np.abs(fit.params[name] - truth[name]) / fit.standard_errors[name]) for name in truth)
    assert worst < (8 if FAST else 4), f"an estimate is {worst:.1f} standard errors from the truth"
