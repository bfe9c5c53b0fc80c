"""Do the standard errors of MinimumDistance say how far the estimates are from the truth?"""

import jax
import numpy as np
import pytest
from estimator_models import LAMINATE_TRUTH, laminates

from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import MinimumDistance
from numpyro_homog.population import Simulator

NUM_SETS = 60


def standardised_errors(num_data, num_simulated):
    population = Simulator(laminates, ["K_eff"], (num_data,))
    simulate = jax.jit(lambda key: population.simulate(LAMINATE_TRUTH, key))
    estimator = MinimumDistance(laminates, simulate(jax.random.key(999)), SlicedWasserstein(), chunk_size=200)
    z = []
    for i in range(NUM_SETS):
        estimator = estimator.with_data(simulate(jax.random.key(1000 + i)))
        fit = estimator.run(jax.random.key(i), num_simulated, num_starts=4, progress=False)
        z.append(
            np.concatenate([np.ravel((fit.params[k] - LAMINATE_TRUTH[k]) / fit.standard_errors[k]) for k in fit.params])
        )
    return np.array(z)


@pytest.mark.slow
@pytest.mark.parametrize(("num_data", "num_simulated"), [(600, 600), (300, 1200)])
def test_two_standard_errors_cover_as_often_as_they_should(num_data, num_simulated):
    """60 sets, three parameters: coverage of a right +-2 se is .954; .88 and .99 of the mean are what is promised.

    The three errors of a set are correlated, so the standard error of the mean coverage is at most .027: a false alarm
    below in one of 200 seeds. The upper end has no margin at this size, hence 1.
    """
    z = standardised_errors(num_data, num_simulated)
    coverage = np.mean(np.abs(z) < 2, axis=0)
    assert 0.88 <= coverage.mean() <= 1.0, coverage
    # Standard errors are neither too small nor too large: the root mean square of z is one, within 35 %.
    rms = np.sqrt(np.mean(np.clip(z, -4, 4) ** 2, axis=0))
    assert ((rms > 0.65) & (rms < 1.35)).all(), rms
