"""Specimens simulated at an estimate."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured

import numpyro_homog as nh
from numpyro_homog.infer import MinimumDistance, reweight
from numpyro_homog.population import Simulator

KEY = jax.random.key(8)


@pytest.fixture(scope="module")
def estimator():
    data = measured(laminates, LAMINATE_TRUTH, 500)
    return MinimumDistance(laminates, data, nh.SlicedWasserstein(8), chunk_size=100)


@pytest.fixture(scope="module")
def fit(estimator):
    return estimator.run(KEY, 1000, num_starts=1, progress=False)


@pytest.mark.parametrize("num_specimens", [3, 250, 1300])
def test_a_fit_predicts_any_number_of_specimens(fit, num_specimens):
    found = fit.predict(KEY, num_specimens)
    assert set(found) == {"K_eff"}
    assert found["K_eff"].shape == (num_specimens, 1, 1)
    assert len(np.unique(found["K_eff"])) == num_specimens  # none is a copy of another
    expected = fit.simulator.resize(num_specimens).simulate(fit.params, KEY)["K_eff"]
    np.testing.assert_allclose(found["K_eff"], expected, rtol=1e-5)


def test_predictions_have_the_law_of_the_data(fit):
    """Means at four standard errors, of data and simulation: one false alarm in 15,000."""
    data, found = (np.log(x.ravel()) for x in (fit.data["K_eff"], fit.predict(KEY, 4000)["K_eff"]))
    assert abs(data.mean() - found.mean()) < 4 * np.sqrt(data.var() / data.size + found.var() / found.size)


@pytest.mark.slow
def test_a_reweighted_fit_predicts_at_its_own_estimate(estimator, fit):
    sharper = reweight(estimator, fit, 1000, rng_key=KEY, num_pilot=4000, ridge=1e-2)
    expected = fit.simulator.resize(7).simulate(sharper.params, KEY)["K_eff"]
    np.testing.assert_allclose(sharper.predict(KEY, 7)["K_eff"], expected, rtol=1e-5)


def test_data_of_single_specimens_come_round_again():
    temperature = np.array([1.0, 2.0, 3.0])

    def model():
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 3) as index:
            numpyro.deterministic("y", level + jax.numpy.asarray(temperature)[index])

    grown = Simulator(model, ["y"]).resize(7)
    np.testing.assert_allclose(grown.simulate({"level": 0.0}, KEY)["y"], [1, 2, 3, 1, 2, 3, 1])


@pytest.mark.parametrize("number", [0, -3, True])
def test_a_number_of_specimens_that_is_none_is_refused(fit, number):
    with pytest.raises(ValueError, match="num_specimens must be a positive integer"):
        fit.predict(KEY, number)
