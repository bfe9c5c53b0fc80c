"""Unconstrained coordinates of a parameter."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import ComposeTransform, Transform

from .._compat import unwrap


def bijection(distribution: dist.Distribution) -> Transform:
    """Transform from unconstrained space onto the values of a distribution.

    A `TransformedDistribution` goes through its own transforms: its `support` is that of the last one, which forgets
    what the others guarantee, order above all.
    """
    inner = unwrap(distribution)
    if not isinstance(inner, dist.TransformedDistribution):
        return biject_to(distribution.support)
    composed = ComposeTransform([bijection(inner.base_dist), *inner.transforms])
    try:
        jax.eval_shape(composed.inv, jax.ShapeDtypeStruct(distribution.shape(), jnp.result_type(float)))
    except NotImplementedError:
        return biject_to(distribution.support)
    return composed
