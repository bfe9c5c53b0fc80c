"""generalized_bayes: a posterior model for stock NUTS, SVI, Predictive and ArviZ."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide, init_to_value
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density, potential_energy
from toy_models import (
    CELL,
    TRUTH,
    Answer,
    CountingCell,
    RaisingCell,
    checkerboards,
    energy_distance,
    measured_checkerboards,
)

import numpyro_homog as nh
from numpyro_homog import _compat
from numpyro_homog.clouds import CloudScale
from numpyro_homog.handlers import generalized_bayes
from numpyro_homog.population import Simulator

KEY = jax.random.key(3)
# K12 of these cells is zero: dropped with a warning, which is not what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:Components without spread")


def posterior_of(model=checkerboards, *, measured=None, divergence=energy_distance, loss_scale=200.0, **options):
    measured = measured_checkerboards(60) if measured is None else measured
    data = {"K_eff": measured}
    return generalized_bayes(model, data, divergence, rng_key=KEY, loss_scale=loss_scale, **options)


@pytest.mark.slow
def test_the_sites_are_the_parameters_and_the_factor():
    trace = handlers.trace(handlers.seed(posterior_of(), KEY)).get_trace(40)
    assert [name for name, site in trace.items() if site["type"] != "plate"] == ["mu", "sigma", "divergence"]
    assert not [name for name, site in trace.items() if site["type"] == "plate"]
    assert isinstance(trace["mu"]["fn"], dist.Normal)


def test_the_density_is_prior_times_exponential_of_the_divergence():
    measured = measured_checkerboards(60)
    posterior = posterior_of(measured=measured, loss_scale=7.0)
    params = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    density, trace = log_density(posterior, (40,), {}, params)
    prior = dist.Normal(0.0, 1.0).log_prob(params["mu"]) + dist.HalfNormal(1.0).log_prob(params["sigma"])
    factor = trace["divergence"]["fn"].log_prob(trace["divergence"]["value"])
    np.testing.assert_allclose(density, prior + factor, rtol=1e-6)

    scale = CloudScale({"K_eff": measured})
    same_key = jax.random.split(KEY, 3)[0]
    cloud = scale.cloud(Simulator(checkerboards, ["K_eff"], (40,)).simulate(params, same_key))
    np.testing.assert_allclose(factor, -7.0 * energy_distance(cloud, scale.data_cloud(), rng_key=KEY), rtol=1e-5)


def test_noise_is_common_to_all_evaluations():
    posterior = posterior_of()
    potential = jax.jit(lambda p: potential_energy(posterior, (40,), {}, p))
    point = {"mu": jnp.asarray(0.2), "sigma": jnp.asarray(-0.5)}
    assert potential(point) == potential(point)


@pytest.mark.slow
def test_derivatives_agree_and_repeat_no_solve(x64):
    counts = []
    posterior = posterior_of(lambda n: checkerboards(n, CountingCell(counts)), chunk_size=20)
    point = {"mu": jnp.asarray(0.2), "sigma": jnp.asarray(-0.5)}

    def potential(p):
        return potential_energy(posterior, (40,), {}, p)

    results = []
    for transform in (jax.grad, jax.jacfwd):
        derivative = jax.jit(transform(potential))
        counts.clear()
        results.append(jax.block_until_ready(derivative(point)))
        assert len(counts) == 2  # chunks
    step = 1e-5 if x64 else 1e-2
    value = jax.jit(potential)
    for name in point:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-4)
        up, down = ({**point, name: point[name] + s} for s in (step, -step))
        np.testing.assert_allclose((value(up) - value(down)) / (2 * step), results[0][name], rtol=1e-6 if x64 else 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("chain_method", ["vectorized", "sequential"])
def test_nuts_recovers_the_truth_and_arviz_reads_it(chain_method):
    kernel = NUTS(posterior_of(measured=measured_checkerboards(200)))
    mcmc = MCMC(kernel, num_warmup=150, num_samples=150, num_chains=2, chain_method=chain_method, progress_bar=False)
    mcmc.run(jax.random.key(0), 200)
    samples = mcmc.get_samples()
    assert set(samples) == {"mu", "sigma"}
    # The standard error of a mean of 200 measured and 200 simulated specimens, four times.
    assert abs(jnp.mean(samples["mu"]) - TRUTH["mu"]) < 4 * 0.5 / 2 * np.sqrt(2 / 200)
    assert abs(jnp.mean(samples["sigma"]) - TRUTH["sigma"]) < 0.2
    assert jnp.mean(mcmc.get_extra_fields()["diverging"]) < 0.01
    # The start values of the chains differ: only the simulated sites are seeded.
    idata = az.from_numpyro(mcmc, log_likelihood=False)
    assert type(idata) is type(_compat.arviz_groups())
    assert set(idata.posterior.data_vars) == {"mu", "sigma"}
    assert max(float(values.max()) for values in az.rhat(idata).data_vars.values()) < 1.05
    new = Predictive(checkerboards, samples, return_sites=["K_eff"])(KEY, 20)["K_eff"]
    assert new.shape == (300, 20, 2, 2)


@pytest.mark.slow
def test_nuts_runs_a_few_steps_under_jit_with_the_data_in_its_closure():
    posterior = posterior_of()

    @jax.jit
    def run(rng_key):
        mcmc = MCMC(NUTS(posterior, max_tree_depth=2), num_warmup=2, num_samples=3, progress_bar=False)
        mcmc.run(rng_key, 10)
        return mcmc.get_samples()["mu"]

    assert run(KEY).shape == (3,)


@pytest.mark.slow
def test_start_values_of_chains_are_not_frozen():
    mcmc = MCMC(NUTS(posterior_of()), num_warmup=0, num_samples=1, num_chains=3, chain_method="vectorized",
                progress_bar=False)  # fmt: skip
    mcmc.run(jax.random.key(0), 10)
    assert len(np.unique(mcmc.get_samples()["mu"])) == 3


@pytest.mark.slow
def test_svi_runs():
    posterior = posterior_of()
    guide = autoguide.AutoNormal(posterior, init_loc_fn=init_to_value(values=TRUTH))
    svi = SVI(posterior, guide, numpyro.optim.Adam(0.02), Trace_ELBO())
    result = svi.run(KEY, 30, 40, progress_bar=False)
    assert jnp.isfinite(result.losses).all()
    assert result.losses[-10:].mean() < result.losses[:10].mean()


@pytest.mark.parametrize("order", ["inside", "outside"])
def test_an_emulator_inside_or_outside_means_no_true_solve(order):
    def model(num_specimens):
        return checkerboards(num_specimens, RaisingCell())

    wrapped = posterior_of(Answer(model)) if order == "inside" else Answer(posterior_of(model))
    point = {"mu": jnp.asarray(0.2), "sigma": jnp.asarray(-0.5)}

    def gradient_of(posterior):
        return jax.jit(jax.value_and_grad(lambda p: potential_energy(posterior, (20,), {}, p)))(point)

    value, gradient = gradient_of(wrapped)
    expected, expected_gradient = gradient_of(posterior_of())
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient["mu"], expected_gradient["mu"], rtol=1e-4)


def test_a_failed_cell_gives_minus_infinity_and_a_finite_gradient():
    def model():
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 6):
            z = numpyro.sample("z", dist.Normal(0.0, 0.1).expand([4]).to_event(1))
            nh.homogenize("K_eff", CELL, jnp.exp(z) + shift)  # negative for negative shifts

    posterior = posterior_of(model)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: potential_energy(posterior, (), {}, p)))(
        {"shift": jnp.asarray(-3.0)}
    )
    assert value == jnp.inf
    assert jnp.isfinite(gradient["shift"])


@pytest.mark.slow
def test_a_divergence_that_is_not_finite_gives_minus_infinity():
    posterior = posterior_of(divergence=lambda x, y, *, rng_key: jnp.sum(x) * jnp.nan)
    assert log_density(posterior, (10,), {}, {"mu": 0.0, "sigma": 1.0})[0] == -jnp.inf


def test_predictive_on_the_posterior_model_skips_the_divergence():
    counts = []
    posterior = posterior_of(lambda n: checkerboards(n, CountingCell(counts)))
    samples = {"mu": jnp.zeros(3), "sigma": jnp.ones(3)}
    assert Predictive(posterior, samples)(KEY, 10) == {}
    assert counts == []


def test_global_deterministic_sites_and_other_observations_stay():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.deterministic("level", jnp.exp(mu))
        numpyro.sample("thermometer", dist.Normal(mu, 0.1), obs=0.2)
        with numpyro.plate("specimens", 6):
            z = numpyro.sample("z", dist.Normal(0.0, 0.1).expand([4]).to_event(1))
            nh.homogenize("K_eff", CELL, jnp.exp(mu + z))
            numpyro.deterministic("inner", z)

    trace = handlers.trace(handlers.seed(posterior_of(model), KEY)).get_trace()
    assert set(trace) == {"mu", "level", "thermometer", "divergence"}


def test_outer_handlers_act_on_the_parameters():
    posterior = posterior_of()
    trace = handlers.trace(handlers.seed(handlers.scope(posterior, prefix="a"), KEY)).get_trace(10)
    assert set(trace) == {"a/mu", "a/sigma", "a/divergence"}
    config = {"mu": LocScaleReparam(0)}
    trace = handlers.trace(handlers.seed(handlers.reparam(posterior, config=config), KEY)).get_trace(10)
    assert {"mu_decentered", "mu", "sigma", "divergence"} == set(trace)
    trace = handlers.trace(handlers.seed(handlers.condition(posterior, data={"mu": 0.1}), KEY)).get_trace(10)
    assert trace["mu"]["is_observed"]


@pytest.mark.slow
def test_a_scan_over_parameters_runs():
    def model(num_specimens):
        def step(level, _):
            level = numpyro.sample("level", dist.Normal(level, 0.1))
            return level, level

        _, levels = scan(step, 0.0, None, length=4)
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
            nh.homogenize("K_eff", CELL, jnp.exp(levels + 0.1 * z))

    gradient = jax.grad(lambda p: potential_energy(posterior_of(model), (10,), {}, p))({"level": jnp.zeros(4)})
    assert jnp.all(gradient["level"] != 0)


# --- bad input ---


def test_a_parameter_behind_a_discrete_draw_is_warned_of():
    def model():
        p = numpyro.sample("p", dist.Beta(2.0, 2.0))
        with numpyro.plate("specimens", 8):
            flip = numpyro.sample("flip", dist.Bernoulli(p).expand([4]).to_event(1))
            nh.homogenize("K_eff", CELL, 1.0 + flip)

    with pytest.warns(UserWarning, match=r"without a derivative: \{'flip': \('p',\)\}"):
        handlers.seed(posterior_of(model), KEY)()


@pytest.mark.parametrize("loss_scale", [0.0, -1.0, np.nan, np.inf, "much"])
def test_loss_scale_must_be_positive(loss_scale):
    with pytest.raises(ValueError, match="loss_scale must be a positive finite number"):
        posterior_of(loss_scale=loss_scale)


def test_loss_scale_or_a_fit_are_required():
    with pytest.raises(ValueError, match=r"pass fit=.* or loss_scale="):
        generalized_bayes(checkerboards, {"K_eff": measured_checkerboards(5)}, energy_distance, rng_key=KEY)


def test_data_that_do_not_fit_the_site_are_refused():
    with pytest.raises(ValueError, match=r"has shape \(3,\), but site 'K_eff' of the model has event shape \(2, 2\)"):
        handlers.seed(posterior_of(measured=np.random.default_rng(0).normal(size=(5, 3))), KEY)(10)
