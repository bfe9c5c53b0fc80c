"""Unconstrained coordinates of a parameter."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import ComposeTransform, OrderedTransform, Transform

from .._compat import is_masked, unwrap


def bijection(distribution: dist.Distribution) -> Transform:
    """Transform from unconstrained space onto the values of a distribution.

    A `TransformedDistribution` goes through its own transforms: its `support` is that of the last one, which forgets
    what the others guarantee, order above all.
    """
    own = _own_bijection(distribution)
    return biject_to(distribution.support) if own is None else own


def values_from(unconstrained: Mapping[str, Array]) -> Callable[[dict], Array | None]:
    """The `substitute_fn` that gives sites their values, from unconstrained ones by name."""

    def substitute_fn(site):
        if site["type"] == "sample" and site["name"] in unconstrained:
            return bijection(site["fn"])(unconstrained[site["name"]])

    return substitute_fn


def unconstrained_log_density(distribution: dist.Distribution, vector: Array) -> Float[Array, ""]:
    """Log density of an unconstrained value u, log p(x(u)) + log |dx/du| with x the `bijection`; all entries summed."""
    if not is_masked(distribution) and _own_bijection(distribution) is not None:
        # The transforms of the distribution cancel exactly, also where rounding makes their inverse infinite.
        return unconstrained_log_density(unwrap(distribution).base_dist, vector)
    transform = bijection(distribution)
    value = transform(vector)
    return jnp.sum(distribution.log_prob(value)) + jnp.sum(transform.log_abs_det_jacobian(vector, value))


def describe_support(distribution: dist.Distribution) -> str:
    """What the values of a distribution must be, in words: "positive and in ascending order"."""
    inner = unwrap(distribution)
    support = _of_entries(inner.support)
    lower, upper = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    words = ["finite"]
    if support is constraints.simplex:
        words = ["positive, with sum one"]
    elif lower is not None and upper is not None:
        words = [f"between {lower} and {upper}"]
    elif lower is not None:
        words = ["positive" if np.all(np.asarray(lower) == 0) else f"above {lower}"]
    elif upper is not None:
        words = [f"below {upper}"]
    transforms = inner.transforms if isinstance(inner, dist.TransformedDistribution) else []
    if support is constraints.ordered_vector or any(isinstance(t, OrderedTransform) for t in transforms):
        words.append("in ascending order")
    return " and ".join(words)


def is_positive(support: constraints.Constraint) -> bool:
    """Whether every entry of every value is positive, or zero at the boundary."""
    support = _of_entries(support)
    bound = getattr(support, "lower_bound", None)
    return support is constraints.simplex or (bound is not None and bool(np.all(np.asarray(bound) >= 0)))


def _own_bijection(distribution: dist.Distribution) -> Transform | None:
    """The transforms of a `TransformedDistribution` from unconstrained space on, or None if they have no inverse."""
    inner = unwrap(distribution)
    if not isinstance(inner, dist.TransformedDistribution):
        return None
    composed = ComposeTransform([bijection(inner.base_dist), *inner.transforms])
    try:
        jax.eval_shape(composed.inv, jax.ShapeDtypeStruct(distribution.shape(), jnp.result_type(float)))
    except NotImplementedError:
        return None
    return composed


def _of_entries(support: constraints.Constraint) -> constraints.Constraint:
    while isinstance(support, type(constraints.independent(constraints.real, 0))):
        support = support.base_constraint
    return support
