"""What is taken for a random key, and what is told of anything else."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from numpyro_homog.population import Simulator

pytestmark = pytest.mark.numpyro_layer


def normal_points():
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", 3):
        numpyro.sample("x", dist.Normal(mu, 1.0))


@pytest.fixture(scope="module")
def simulate():
    simulator = Simulator(normal_points, ["x"])
    return lambda rng_key: simulator.simulate({"mu": 0.0}, rng_key)["x"]


@pytest.mark.x32
def test_typed_raw_and_numpy_keys_are_the_same_key(simulate):
    expected = simulate(jax.random.key(3))
    for given in (jax.random.PRNGKey(3), np.asarray(jax.random.PRNGKey(3))):
        np.testing.assert_array_equal(simulate(given), expected)
    np.testing.assert_allclose(jax.jit(simulate)(jax.random.PRNGKey(3)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (7, TypeError, r"pass jax.random.key\(7\)"),
        (np.int64(7), TypeError, r"pass jax.random.key\(7\)"),
        (0.5, TypeError, r"pass jax.random.key\(0\)"),
        (np.array(7), TypeError, "array of int64"),
        (np.array([0.0, 1.0]), TypeError, "array of float64"),
        (jax.random.split(jax.random.key(0), 3), ValueError, r"shape \(3,\)"),
        (jax.random.split(jax.random.PRNGKey(0), 3), ValueError, r"shape \(3,\)"),
    ],
)
def test_an_integer_is_no_key_and_three_are_not_one(simulate, given, error, message):
    with pytest.raises(error, match=message):
        simulate(given)
