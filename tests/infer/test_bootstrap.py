"""Draws by random weights: their mean, their covariance, their edges, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured

import numpyro_homog as nh
from numpyro_homog.divergences import AbstractDivergence, SlicedWasserstein
from numpyro_homog.infer import MinimumDistance, posterior_bootstrap

KEY = jax.random.key(3)


def normal(num_specimens, low=None):
    """Normal points of unknown mean and spread; the mean at least `low`."""
    prior = dist.Normal(0.0, 1.0) if low is None else dist.Uniform(low, 2.0)
    mean = numpyro.sample("mean", prior)
    spread = numpyro.sample("spread", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        numpyro.deterministic("y", mean + spread * numpyro.sample("z", dist.Normal(0.0, 1.0)))


def points(num=400, seed=0):
    """Points of mean .5 and standard deviation .3, exactly."""
    z = np.random.default_rng(seed).standard_normal(num)
    return {"y": 0.5 + 0.3 * (z - z.mean()) / z.std()}


def fit_of(model, data, mean=0.5, spread=0.3):
    estimator = MinimumDistance(model, data, SlicedWasserstein(), chunk_size=800)
    return estimator.run(KEY, 800, num_starts=1, starts=[{"mean": mean, "spread": spread}], progress=False)


@pytest.fixture(scope="module")
def normal_fit():
    return fit_of(normal, points())


@pytest.mark.x32
def test_draws_have_the_mean_and_the_covariance_of_the_sandwich(normal_fit):
    """Linear parameters, 4000 draws: a standard deviation is known within 1.1 %, a mean within 1.6 % of it; four each.

    The sandwich of a mean is exact: sigma^2 (1/N + 1/M).
    """
    draws = posterior_bootstrap(KEY, normal_fit, num_draws=4000)
    assert {name: x.shape for name, x in draws.items()} == {"mean": (4000,), "spread": (4000,)}
    for name, error in normal_fit.standard_errors.items():
        np.testing.assert_allclose(draws[name].std(), error, rtol=0.05)
        np.testing.assert_allclose(draws[name].mean(), normal_fit.params[name], atol=0.065 * error)
    np.testing.assert_allclose(normal_fit.standard_errors["mean"], 0.3 * np.sqrt(1 / 400 + 1 / 800), rtol=0.05)


def test_equal_weights_give_the_estimate_back(normal_fit):
    for part in normal_fit.influences:
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-4 * part.std(axis=0).max())  # in 32 bits
    assert normal_fit.influences[0].shape == (400, 2)


def test_weight_on_a_high_measured_point_raises_the_mean(normal_fit):
    """The influence of a point on a mean is the point, less the mean; mass of simulated ones pulls the other way."""
    y = points()["y"]
    np.testing.assert_allclose(normal_fit.influences[0][:, 0], y - 0.5, atol=0.05)
    y_simulated = normal_fit.influences[1][:, 0]
    np.testing.assert_allclose(y_simulated.std(), 0.3 * np.sqrt(len(y_simulated) / 800), rtol=0.05)


@pytest.mark.x32
def test_equal_keys_give_equal_draws(normal_fit):
    first, again, other = (posterior_bootstrap(jax.random.key(i), normal_fit, num_draws=5) for i in (0, 0, 1))
    np.testing.assert_array_equal(first["mean"], again["mean"])
    assert not np.array_equal(first["mean"], other["mean"])


@pytest.mark.slow
def test_near_an_edge_the_draws_lie_on_one_side_and_inside_the_support(normal_fit):
    """The edge is half a standard error below the estimate: a third of the draws end there, the others go on."""
    error = normal_fit.standard_errors["mean"]
    low = float(normal_fit.params["mean"] - 0.5 * error)
    fit = fit_of(lambda n: normal(n, low), points())
    draws = posterior_bootstrap(KEY, fit, num_draws=2000)["mean"]
    assert (draws >= low).all()
    below, middle, above = np.percentile(draws, [5, 50, 95])
    np.testing.assert_allclose(below, low, atol=0.05 * error)
    np.testing.assert_allclose(above - fit.params["mean"], 1.645 * error, rtol=0.15)
    assert above - middle > 2 * (middle - below)


@pytest.mark.slow
def test_an_estimate_at_the_edge_of_its_support_is_said_to_be_one_and_has_no_error_of_zero():
    """All means are allowed but those of the data: the least is taken, and the data say nothing of how far it moves."""
    fit = fit_of(lambda n: normal(n, 1.0), points(), mean=1.2)
    assert fit.at_edge == ("mean",)
    assert np.isinf(fit.standard_errors["mean"])
    np.testing.assert_allclose(fit.params["mean"], 1.0, atol=0.02)
    assert "at the edge of its support: mean" in fit.summary()
    np.testing.assert_allclose(fit.standard_errors["spread"], fit.standard_errors["spread"].clip(0.01, 1.0))
    assert not fit.undetermined
    draws = posterior_bootstrap(KEY, fit, num_draws=50)
    np.testing.assert_allclose(draws["mean"], fit.params["mean"], rtol=1e-4)
    assert draws["spread"].std() > 0


@pytest.mark.slow
def test_a_small_value_that_the_data_tell_is_not_at_an_edge():
    """A spread a thousandth of what the prior expects: near zero, and known as well as any other."""
    fit = fit_of(normal, {"y": 1e-3 * points()["y"]}, mean=5e-4, spread=3e-4)
    assert fit.at_edge == ()
    np.testing.assert_allclose(fit.standard_errors["spread"], 3e-4 * np.sqrt(1 / 800 + 1 / 1600), rtol=0.1)


@pytest.mark.slow
def test_a_reweighted_fit_is_drawn_from_as_well():
    data = measured(laminates, LAMINATE_TRUTH, 500)
    estimator = MinimumDistance(laminates, data, SlicedWasserstein(), chunk_size=500)
    fit = estimator.run(KEY, 1000, num_starts=1, starts=[LAMINATE_TRUTH], progress=False)
    sharper = nh.reweight(estimator, fit, 1000, rng_key=jax.random.key(1), num_pilot=4000, ridge=1e-2)
    draws = posterior_bootstrap(KEY, sharper, num_draws=2000)
    for name, error in sharper.standard_errors.items():
        # The draws weigh the data, the standard error takes simulated specimens in their place.
        np.testing.assert_allclose(draws[name].std(axis=0), error, rtol=0.15)


@pytest.mark.slow
def test_a_fit_without_errors_cannot_be_drawn_from():
    class MeanDistance(AbstractDivergence):
        def __call__(self, x, y, *, rng_key):
            return jnp.sum((jnp.mean(x, axis=0) - jnp.mean(y, axis=0)) ** 2)

    estimator = MinimumDistance(normal, points(), MeanDistance(), optax.adam(0.1), num_steps=2, chunk_size=50)
    fit = estimator.run(KEY, 50, num_starts=1, progress=False)
    with pytest.raises(ValueError, match="no sum of squares"):
        posterior_bootstrap(KEY, fit)
    with pytest.raises(ValueError, match="must be positive"):
        posterior_bootstrap(KEY, fit, num_draws=0)
