"""Do predicted errors say how far estimates will be from the truth?"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import LAMINATE_TRUTH, laminates
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from numpyro_homog.infer import MinimumDistance, identifiability
from numpyro_homog.population import Simulator

KEY = jax.random.key(0)
NUM_SETS = 50
NU, KAPPA = jnp.array([0.5, 0.3, 0.2]), jnp.array([1.0, 4.0, 10.0])


@pytest.mark.slow
def test_estimates_scatter_as_predicted():
    """50 fits: their root mean square error is known within 10 %; three times that, and 5 % for the prediction."""
    num_data, num_simulated = 800, 1600
    report = identifiability(
        laminates, LAMINATE_TRUTH, nh.SlicedWasserstein(), keys=["K_eff"], rng_key=KEY, num_specimens=4000
    )
    population = Simulator(laminates, ["K_eff"], (num_data,))
    simulate = jax.jit(lambda key: population.simulate(LAMINATE_TRUTH, key))
    estimator = MinimumDistance(laminates, simulate(KEY), nh.SlicedWasserstein(), chunk_size=200)
    errors = []
    for i in range(NUM_SETS):
        estimator = estimator.with_data(simulate(jax.random.key(5000 + i)))
        fit = estimator.run(jax.random.key(i), num_simulated, num_starts=1, starts=[LAMINATE_TRUTH], progress=False)
        errors.append(np.concatenate([np.ravel(fit.params[k] - LAMINATE_TRUTH[k]) for k in fit.params]))
    found = np.sqrt(np.mean(np.square(errors), axis=0))
    predicted = report.standard_errors(num_data, num_simulated)
    predicted = np.concatenate([np.ravel(predicted[k]) for k in fit.params])
    assert ((found / predicted > 0.65) & (found / predicted < 1.35)).all(), (found, predicted)


def dirichlet_laminates(num_specimens):
    """Laminates of three phases with Dirichlet fractions of concentration gamma and mean nu."""
    log_kappa = dist.Normal(0.5, 1.0).expand([3]).to_event(1)
    gamma = numpyro.sample("gamma", dist.LogNormal(0.0, 1.0))
    nu = numpyro.sample("nu", dist.Dirichlet(jnp.ones(3)))
    kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
    with numpyro.plate("specimens", num_specimens):
        phi = numpyro.sample("phi", dist.Dirichlet(gamma * nu))
        nh.homogenize("K_eff", nh.LaminateCell(), (phi, kappa))


def look(gamma):
    return identifiability(
        dirichlet_laminates,
        {"gamma": jnp.array(gamma), "nu": NU, "kappa": KAPPA},
        nh.SlicedWasserstein(),
        keys=["K_eff"],
        rng_key=KEY,
        num_specimens=40_000,
    )


@pytest.mark.slow
def test_errors_of_laminates_are_those_of_150_linearised_data_sets():
    """gamma = 1, N = 1000: the numbers are root mean squares of linearised estimates, made without influence functions.

    Of 150 data sets: 6 % each; the prediction has 5 %. Three standard errors of both.
    """
    found = look(1.0).relative_errors(1000)
    for name, expected in {"gamma": 0.092, "nu": 0.062, "kappa": 0.0202}.items():
        np.testing.assert_allclose(found[name], expected, rtol=0.25)


@pytest.mark.slow
def test_kappa_fades_as_the_fractions_concentrate():
    """Theory: kappa is known for small gamma and lost in the limit of large gamma, where all specimens are alike.

    Condition numbers of the Jacobian found before, by other means: 17, 21, 40 at gamma = .3, 1, 3.
    """
    reports = [look(gamma) for gamma in (0.3, 1.0, 3.0)]
    errors = np.array([report.relative_errors(1000)["kappa"] for report in reports])
    assert errors[0] < 0.01
    assert (np.diff(np.log(errors)) > 1).all()
    condition = [np.sqrt(report.eigenvalues[-1] / report.eigenvalues[0]) for report in reports]
    np.testing.assert_allclose(condition, [17, 21, 40], rtol=0.2)
    lost = look(30.0)
    assert lost.undetermined or lost.relative_errors(1000)["kappa"] > 1
