"""Models with exact cells for the tests of the estimator."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from numpyro_homog.population import Simulator

KAPPA_PRIOR = dist.TransformedDistribution(
    dist.Normal(0.5, 1.0).expand([2]).to_event(1), [OrderedTransform(), ExpTransform()]
)
LAMINATE_TRUTH = {"kappa": jnp.array([1.0, 5.0]), "shift": jnp.array(0.4)}


def laminates(num_specimens):
    """Laminates of two phases with random fractions; the harmonic mean, shape (num_specimens, 1, 1), is measured."""
    kappa = numpyro.sample("kappa", KAPPA_PRIOR)
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        share = jax.nn.sigmoid(1.5 * z + shift)
        nh.homogenize("K_eff", nh.LaminateCell(), (jnp.stack([share, 1 - share], axis=-1), kappa))


BOARD_TRUTH = {"kappa": jnp.array([1.0, 5.0]), "shift": jnp.array(0.4), "noise": jnp.array(0.1)}


def noisy_boards(num_specimens):
    """Checkerboards of random mixtures of two phases, the diagonal of the tensor measured with noise."""
    kappa = numpyro.sample("kappa", KAPPA_PRIOR)
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.LogNormal(-2.0, 0.5))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        share = jax.nn.sigmoid(2 * (z + shift))
        tensor = nh.homogenize("K_true", nh.CheckerboardCell(), kappa[0] * (1 - share) + kappa[1] * share)
        diagonal = jnp.diagonal(tensor, axis1=-2, axis2=-1)
        numpyro.sample("K_eff", dist.Normal(diagonal, noise).to_event(1))


def measured(model, truth, num_specimens, seed=123):
    """Data {"K_eff": ...} that the model simulates at `truth`."""
    population = Simulator(model, ["K_eff"], (num_specimens,))
    return jax.jit(lambda key: population.simulate(truth, key))(jax.random.key(seed))


def shifted(num_specimens):
    """Two parameters that act as their sum, and one that acts."""
    a = numpyro.sample("a", dist.Normal(0.0, 0.5))
    b = numpyro.sample("b", dist.Normal(0.0, 0.5))
    spread = numpyro.sample("spread", dist.LogNormal(-1.0, 0.3))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.deterministic("y", a + b + spread * z)
