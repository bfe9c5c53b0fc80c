"""Starts that the user gives."""

import jax
import numpy as np
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured

from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import LevenbergMarquardt, MinimumDistance

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
