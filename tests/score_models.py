"""Models whose parameters act by path, by score, by both or by neither."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh

KAPPA_PRIOR = dist.TransformedDistribution(
    dist.Normal(0.2, 0.3).expand([3]).to_event(1), [OrderedTransform(), ExpTransform()]
)
ALPHA_PRIOR = dist.LogNormal(-0.5, 0.5).expand([3]).to_event(1)
LAYERED_TRUTH = {"alpha": jnp.array([0.5, 0.3, 0.2]), "kappa": jnp.array([1.0, 4.0, 10.0])}


def layered(num_specimens):
    """Laminates with Dirichlet fractions: `alpha` has a path derivative, and a score."""
    alpha = numpyro.sample("alpha", ALPHA_PRIOR)
    kappa = numpyro.sample("kappa", KAPPA_PRIOR)
    with numpyro.plate("specimens", num_specimens):
        phi = numpyro.sample("phi", dist.Dirichlet(alpha))
        nh.homogenize("K_eff", nh.LaminateCell(), (phi, kappa))


POLYCRYSTAL_TRUTH = {"alpha": jnp.array([2.0, 1.0]), "kappa": jnp.array([1.0, 5.0])}


def polycrystals(num_specimens, size=8, num_seeds=12, temperature=None):
    """Voronoi cells with labels of two phases drawn from Dirichlet fractions: `alpha` has a score only."""
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 0.7).expand([2]).to_event(1))
    log_kappa = dist.TransformedDistribution(dist.Normal(0.0, 0.7).expand([2]).to_event(1), [OrderedTransform()])
    kappa = jnp.exp(numpyro.sample("log_kappa", log_kappa))
    cell = nh.CellProblem(nh.Grid((size, size)), nh.Conductivity(), nh.Periodic())
    with numpyro.plate("specimens", num_specimens):
        phi = numpyro.sample("phi", dist.Dirichlet(alpha))
        law = nh.VoronoiPhases(cell.grid, phi, num_seeds, sharp=True, temperature=temperature)
        phases = numpyro.sample("phases", law)
        nh.homogenize("K_eff", cell, phases @ kappa)


def mixtures(num_specimens):
    """A normal mixture: `share` acts through a discrete label."""
    share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
    apart = numpyro.sample("apart", dist.LogNormal(0.5, 0.3))
    with numpyro.plate("specimens", num_specimens):
        kind = numpyro.sample("kind", dist.Bernoulli(share))
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.deterministic("y", z + apart * kind)


MIXTURE_TRUTH = {"share": 0.3, "apart": 1.5}


def measured_mixtures(num_specimens, seed=0):
    """Data of `mixtures` at the truth."""
    kind_key, z_key = jax.random.split(jax.random.key(seed))
    kind = jax.random.bernoulli(kind_key, MIXTURE_TRUTH["share"], (num_specimens,))
    return {"y": jax.random.normal(z_key, (num_specimens,)) + MIXTURE_TRUTH["apart"] * kind}
