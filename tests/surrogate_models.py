"""A model of cells that see fractions, and an untrained surrogate of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from numpyro_homog.surrogates import FractionSurrogate

CELL = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic(), discretization=nh.PrimalDual())
NUM_GRAINS = 40
TRUTH = {"alpha": jnp.array([1.0, 2.0, 3.0]), "kappa": jnp.array([1.0, 5.0, 10.0])}
drawn_fields = []  # an entry for each field that has been computed, and not only traced


def draw_field(rng_key, fractions, kappa):
    """Sharp grains of phases with these conductivities."""
    phases = nh.VoronoiPhases(CELL.grid, fractions, NUM_GRAINS, sharp=True).sample(rng_key)
    jax.debug.callback(lambda: drawn_fields.append(1))
    return jnp.einsum("...xyj,...j->...xy", phases, kappa)


def model(num_specimens, num_realizations=1):
    """Dirichlet fractions, ordered conductivities."""
    log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
    alpha = numpyro.sample("alpha", dist.LogNormal(0.5, 0.7).expand([3]).to_event(1))
    kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
    with numpyro.plate("specimens", num_specimens):
        fractions = numpyro.sample("fractions", dist.Dirichlet(alpha))
        nh.homogenize("K_eff", CELL, draw_field, inputs=(fractions, kappa), num_realizations=num_realizations)


def shaken(surrogate, size=0.2):
    """A surrogate with weights that are not small, as if it had been trained."""
    arrays, static = eqx.partition(surrogate, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [x + size * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, leaves), static)


def make_surrogate(cell=CELL):
    """One of this model."""
    return shaken(FractionSurrogate(cell, NUM_GRAINS, rng_key=jax.random.key(0), width=8, depth=1), 0.1)
