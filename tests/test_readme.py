"""The Python of README.md, pasted from top to bottom, and that of the page on posteriors."""

import re
from pathlib import Path

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import ExpTransform, OrderedTransform
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
from numpyro.infer.util import initialize_model

import numpyro_homog as nh
from numpyro_homog.population import Simulator

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.numpyro_layer]


def blocks(path):
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)


def test_the_readme_pasted(tmp_path, monkeypatch, capsys):
    """From a bare start: the chain of a bare NUTS has converged, and finds what the fit has found.

    Its widths are those of the Gibbs posterior, which are not the fit's standard errors in each direction; in the
    whitened coordinates they are about one, which is what default steps and metrics need.
    """
    monkeypatch.chdir(tmp_path)
    nh.save_specimens("my_specimens.csv", nh.load_example("laguerre_plates")[:20])
    names = {}
    for block in blocks("README.md"):
        exec(block, names)
    assert names["measured"].shape == (20, 2, 2)
    fit, samples = names["fit"], names["mcmc"].get_samples(group_by_chain=True)
    for name in ("delay", "kappa"):
        summary = numpyro.diagnostics.summary({name: samples[name]})[name]
        assert summary["r_hat"].max() < 1.1  # of a hundred draws
        # The posterior holds 1000 simulated specimens, the fit 4000 others: with S the covariance of one specimen they
        # differ by S (1/1000 + 1/4000), which is that of the fit. Five parameters at four of them.
        assert (np.abs(summary["mean"] - fit.params[name]) < 4 * fit.standard_errors[name]).all()
    assert (np.abs(np.log(np.std(samples["whitened"], axis=(0, 1)))) < np.log(2)).all()
    printed = capsys.readouterr().out
    assert "sampling noise alone makes" in printed
    assert "kappa[2]" in printed


def laminates(num_specimens):
    """A stand-in for the model of the page, with the same parameters and a cell in closed form."""
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.3).expand([2]).to_event(1))
    log_kappa = dist.Normal(0.5, 0.3).expand([3]).to_event(1)
    kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        share = jax.nn.softmax(2 * z + jnp.append(0.0, delay), axis=-1)
        nh.homogenize("K_eff", nh.LaminateCell(), (share, kappa))


def test_the_page_on_posteriors():
    """NUTS, a guide, and two samplers of BlackJAX draw from the same posterior.

    Of 50 particles, and some 50 independent draws of a chain: means agree within four standard errors of a difference,
    4 sqrt(2 / 50) = .8 deviations.
    """
    truth = {"delay": jnp.array([0.2, -0.2]), "kappa": jnp.array([1.0, 4.0, 12.0])}
    population = Simulator(laminates, ["K_eff"], (400,))
    names = {"model": laminates, "data": {"K_eff": population.simulate(truth, jax.random.key(9))["K_eff"]}}
    names |= {"jax": jax, "jnp": jnp, "nh": nh, "MCMC": MCMC, "NUTS": NUTS, "SVI": SVI, "Predictive": Predictive}
    names |= {"AutoMultivariateNormal": AutoMultivariateNormal, "Adam": numpyro.optim.Adam, "Trace_ELBO": Trace_ELBO}
    names |= {"initialize_model": initialize_model, "blackjax": blackjax}
    found = {}
    for block in blocks("docs/posterior.md"):
        if "numpyro.plate" in block:
            continue  # a part of a model
        names["draws"] = None
        exec(block, names)
        if names["draws"] is not None:
            found[block] = names["draws"]
    assert len(found) == 3
    assert np.isfinite(names["run"].losses).all()
    chain = names["mcmc"].get_samples()
    for draws in found.values():
        for name in truth:
            mean, deviation = np.mean(chain[name], axis=0), np.std(chain[name], axis=0)
            assert (np.abs(np.mean(draws[name], axis=0) - mean) < 0.8 * deviation).all()
