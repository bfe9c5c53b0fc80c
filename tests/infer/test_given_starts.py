"""Starts that the user gives."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import KAPPA_PRIOR, LAMINATE_TRUTH, laminates, measured

import numpyro_homog as nh
from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import LevenbergMarquardt, MinimumDistance
from numpyro_homog.population import Simulator

KEY = jax.random.key(0)
GIVEN = [{"kappa": np.array([0.7, 3.0]), "shift": 0.1}, {"kappa": np.array([0.8, 4.0]), "shift": 0.2}]


@pytest.mark.parametrize("num_specimens", [100, pytest.param(1200, marks=pytest.mark.slow)])
def test_a_start_is_where_the_descent_begins(num_specimens):
    """Nothing is too little for this tolerance: each descent ends where it began, scouted or not."""
    data = measured(laminates, LAMINATE_TRUTH, 100)
    patient = LevenbergMarquardt(tolerance=1e9, num_screening=300, max_rounds=1)
    estimator = MinimumDistance(laminates, data, SlicedWasserstein(), patient, chunk_size=100)
    fit = estimator.run(KEY, num_specimens, num_starts=2, starts=GIVEN, progress=False)
    ends = {basin.starts[0]: basin.params for basin in fit.basins}
    assert set(ends) == {0, 1}
    for i, start in enumerate(GIVEN):
        np.testing.assert_allclose(ends[i]["kappa"], start["kappa"], rtol=1e-5)


def test_bad_starts_are_refused():
    estimator = MinimumDistance(laminates, measured(laminates, LAMINATE_TRUTH, 50), SlicedWasserstein())
    with pytest.raises(ValueError, match="number of starts"):
        estimator.run(KEY, 50, num_starts=1, starts=GIVEN, progress=False)
    with pytest.raises(ValueError, match="outside of the support"):
        estimator.run(KEY, 50, starts=[{"kappa": np.array([3.0, 0.7]), "shift": 0.1}], progress=False)


def test_a_start_in_the_wrong_order_is_told_by_its_name_and_not_by_the_model():
    """Its inverse is no number, and the mixing rule spoke first, of conductivities that are not finite and positive."""
    cell = nh.CellProblem(nh.Grid((4, 4)), nh.Conductivity(), nh.Periodic())

    def model(num_specimens):
        kappa = numpyro.sample("kappa", KAPPA_PRIOR)
        share = numpyro.sample("share", dist.Uniform(0.0, 0.9))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Uniform(0.0, 0.1).expand([4, 4]).to_event(2)) + share
            nh.homogenize("K_eff", cell, nh.mix(jnp.stack([z, 1 - z], axis=-1), kappa))

    population = Simulator(model, ["K_eff"], (3,))
    with pytest.raises(ValueError, match=r"'kappa'\] = \[5. 1.\].*it must be positive and in ascending order"):
        population.parameters.position_of({"kappa": np.array([5.0, 1.0]), "share": 0.5})
    with pytest.raises(ValueError, match=r"'share'\] = 1.5.*it must be between 0.0 and 0.9"):
        population.parameters.position_of({"kappa": np.array([1.0, 5.0]), "share": 1.5})
