"""The second stage: what it gains, what it reports, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured, shifted

import numpyro_homog as nh
from numpyro_homog.infer import MinimumDistance, ReweightedFit, reweight

KEY = jax.random.key(8)
OPTIONS = {"num_pilot": 8000, "ridge": 1e-2}


@pytest.fixture(scope="module")
def estimator():
    return MinimumDistance(laminates, measured(laminates, LAMINATE_TRUTH, 1000), nh.SlicedWasserstein(8))


@pytest.fixture(scope="module")
def fit(estimator):
    return estimator.run(KEY, 2000, num_starts=2, progress=False)


@pytest.fixture(scope="module")
def sharper(estimator, fit) -> ReweightedFit:
    return reweight(estimator, fit, 2000, rng_key=KEY, **OPTIONS)


def test_the_lower_conductivity_is_known_better_and_the_truth_is_near(fit, sharper):
    """The bulk of the specimens tells the lower conductivity; plain quantiles look at the tail.

    Three parameters at four standard errors: a false alarm in 5000.
    """
    assert sharper.result == nh.RESULTS.successful
    assert sharper.standard_errors["kappa"][0] < 0.5 * fit.standard_errors["kappa"][0]
    for name, truth in LAMINATE_TRUTH.items():
        assert (np.abs(sharper.params[name] - truth) < 4 * sharper.standard_errors[name]).all()


def test_the_estimate_solves_its_equations(estimator, fit, sharper):
    """More steps lead nowhere else, and the Newton step that is left is a part of a standard error."""
    again = reweight(estimator, fit, 2000, rng_key=KEY, tolerance=1e-3, **OPTIONS)
    for name, errors in sharper.standard_errors.items():
        assert (np.abs(again.params[name] - sharper.params[name]) < 0.05 * errors).all()
    assert again.stats["iterations"] >= sharper.stats["iterations"]


@pytest.mark.slow
def test_a_right_model_passes_the_test_and_a_wrong_one_fails(sharper):
    """J of a right model is chi-square: p < .001 once in 1000 seeds. The wrong one has fatter tails."""
    assert sharper.p_value > 1e-3
    assert sharper.degrees_of_freedom > 3

    def normal(num_specimens):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        spread = numpyro.sample("spread", dist.LogNormal(0.0, 0.5))
        with numpyro.plate("specimens", num_specimens):
            numpyro.deterministic("y", mean + spread * numpyro.sample("z", dist.Normal(0.0, 1.0)))

    data = {"y": np.random.default_rng(0).standard_t(4, 1000)}
    estimator = MinimumDistance(normal, data, nh.SlicedWasserstein())
    fit = estimator.run(KEY, 2000, num_starts=1, progress=False)
    assert reweight(estimator, fit, 2000, rng_key=KEY, **OPTIONS).p_value < 1e-3


@pytest.mark.slow
def test_the_divergence_serves_the_ordinary_estimator(estimator, fit, sharper):
    """Its own minimum is near the solution of the held equations, and its standard errors are those."""
    plain = MinimumDistance(laminates, estimator._data, sharper.weighted).run(KEY, 2000, num_starts=2, progress=False)
    for name, errors in sharper.standard_errors.items():
        assert (np.abs(plain.params[name] - sharper.params[name]) < 4 * errors).all()
        np.testing.assert_allclose(plain.standard_errors[name], errors, rtol=0.5)


def test_coordinates_are_used(estimator, fit, sharper):
    coordinates = nh.LogEuclidean(estimator.scale.scales)
    found = reweight(estimator, fit, 2000, rng_key=KEY, coordinates=coordinates, **OPTIONS)
    assert not np.array_equal(found.params["kappa"], sharper.params["kappa"])
    for name, errors in sharper.standard_errors.items():
        assert (np.abs(found.params[name] - sharper.params[name]) < 4 * errors).all()


def test_the_table_shows_both_stages(fit, sharper):
    text = repr(sharper)
    assert text.startswith("ReweightedFit")
    (line,) = [line for line in text.splitlines() if line.startswith("shift")]
    numbers = [sharper.params, sharper.standard_errors, fit.params, fit.standard_errors]
    np.testing.assert_allclose([float(x) for x in line.split()[1:]], [x["shift"] for x in numbers], rtol=0.06)
    assert f"on {sharper.degrees_of_freedom} degrees of freedom" in text
    assert sharper.stats["num_pilot"] == 8000
    assert sharper.stats["solves"] == 8000 + 2000 * sharper.stats["iterations"]


def test_an_iteration_that_has_not_converged_says_so(estimator, fit):
    found = reweight(estimator, fit, 2000, rng_key=KEY, tolerance=1e-12, max_steps=1, **OPTIONS)
    assert found.result == nh.RESULTS.fit_not_converged
    assert "Beware" in repr(found)


def test_bad_input_is_refused(estimator, fit):
    other = estimator.with_data({"K_eff": 1.1 * estimator._data["K_eff"]})
    with pytest.raises(ValueError, match="other data"):
        reweight(other, fit, 2000, rng_key=KEY)
    for options in ({"num_pilot": 0}, {"tolerance": 0.0}, {"max_steps": 0}):
        with pytest.raises(ValueError, match="positive"):
            reweight(estimator, fit, 2000, rng_key=KEY, **options)
    with pytest.raises(ValueError, match="ridge"):
        reweight(estimator, fit, 2000, rng_key=KEY, num_pilot=2000, ridge=-1.0)


@pytest.mark.slow
def test_weights_cannot_find_what_the_data_leave_open():
    truth = {"a": jnp.array(0.1), "b": jnp.array(0.2), "spread": jnp.array(0.3)}
    data = {"y": np.asarray(truth["a"] + truth["b"] + truth["spread"] * jax.random.normal(KEY, (400,)))}
    estimator = MinimumDistance(shifted, data, nh.SlicedWasserstein())
    fit = estimator.run(KEY, 400, num_starts=1, progress=False)
    with pytest.raises(ValueError, match="undetermined"):
        reweight(estimator, fit, 400, rng_key=KEY)
