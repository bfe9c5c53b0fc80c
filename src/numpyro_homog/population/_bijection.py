"""Unconstrained coordinates of a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import biject_to, constraints
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


def is_positive(support: constraints.Constraint) -> bool:
    """Whether every entry of every value is positive, or zero at the boundary."""
    while isinstance(support, type(constraints.independent(constraints.real, 0))):
        support = support.base_constraint
    bound = getattr(support, "lower_bound", None)
    return support is constraints.simplex or (bound is not None and bool(np.all(np.asarray(bound) >= 0)))
