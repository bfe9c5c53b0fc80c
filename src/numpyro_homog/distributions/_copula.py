"""Random fields with any marginal distribution."""

import math

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from ._gamma_quantile import log_gamma_quantile
from ._gaussian_field import GaussianField, require_field
from ._pushforward import AbstractPushforward, parameter


def _quantiles(scores: Array, marginal: dist.Distribution, *, num_axes: int) -> Float[Array, "*batch_and_points"]:
    """Normal scores (*batch, *points) -> values (*batch, *points) with the marginal distribution."""
    axes, front = range(-num_axes, 0), range(num_axes)
    scores = jnp.moveaxis(scores, axes, front)  # batch axes last, where the marginal has its own
    return jnp.moveaxis(_quantile_at_score(marginal, scores), front, axes)


def _quantile_at_score(marginal: dist.Distribution, score: Float[Array, "*scores"]) -> Float[Array, "*values"]:
    """The quantile of `marginal` at the probability Phi(score).

    Where it goes through `icdf`, the probability is kept off zero and one, so that the result stays finite. The last
    axes of the scores broadcast against the batch shape of the marginal.
    """
    match marginal:
        case dist.ExpandedDistribution():
            return _quantile_at_score(marginal.base_dist, score)
        case dist.Normal():
            return marginal.loc + marginal.scale * score
        case dist.Uniform():
            width = marginal.high - marginal.low
            return jnp.where(score < 0, marginal.low + width * ndtr(score), marginal.high - width * ndtr(-score))
        case dist.Exponential():
            lower = -jnp.log1p(-ndtr(jnp.minimum(score, 0)))
            return jnp.where(score < 0, lower, -log_ndtr(-score)) / marginal.rate
        case dist.Gamma():
            shape = jnp.asarray(marginal.concentration, score.dtype)
            return jnp.exp(log_gamma_quantile(shape, score)) / marginal.rate
        case dist.TransformedDistribution() if type(marginal).icdf is dist.TransformedDistribution.icdf:
            sign = math.prod(transform.sign for transform in marginal.transforms)
            value = _quantile_at_score(marginal.base_dist, jnp.where(sign < 0, -score, score))
            for transform in marginal.transforms:
                value = transform(value)
            return value
    info = jnp.finfo(score.dtype)
    return marginal.icdf(jnp.clip(ndtr(score), info.tiny, 1 - info.epsneg))


class GaussianCopulaField(AbstractPushforward):
    """A field with a given marginal distribution, correlated by a Gaussian field.

    v(x) = F^-1(Phi(u(x) / sd(x))): u is the Gaussian `field`, sd(x) its exact standard deviation at x, Phi the normal
    distribution function and F that of the `marginal`. The variance of the field does not matter.

    Quantiles are computed from u/sd itself, without rounding Phi to one, for normal, uniform, exponential and gamma
    marginals and what NumPyro makes of them by monotone transforms (`LogNormal`, `InverseGamma`, ...). Other marginals
    go through their `icdf`; their upper tail ends where 1 - Phi is rounded away, near u/sd = 5.4 in 32 bits and 8.2 in
    64.

    It is a pushforward: `log_prob` raises, and `TransformReparam` exposes the noise. Samples are differentiable in the
    parameters of the marginal (as far as its own `icdf` is, for those not named above) and in the field's.

    Args:
        marginal: a continuous NumPyro distribution of numbers with `icdf`. Its batch shape broadcasts against that of
            the field.
        field: the Gaussian field, with its points.
        validate_args: NumPyro's switch; nothing depends on it here.

    Raises:
        ValueError: at construction, if the marginal is not one of numbers, is discrete, or has no usable `icdf`.
        TypeError: at construction, if `field` is no `GaussianField`.

    Costs the field, and one quantile for each value.

    References:
        Nelsen (2006), An Introduction to Copulas, section 2.9; Grigoriu (1998), J. Eng. Mech. 124, 121-127.

    Example:
        >>> field = nh.GaussianField(nh.Grid((64, 64)), nh.PeriodicMatern((1.0, 1.0), 0.1, 1.5))
        >>> kappa = nh.GaussianCopulaField(dist.LogNormal(0.0, 0.5), field).sample(jax.random.key(0))
        >>> kappa.shape
        (64, 64)
    """

    marginal = parameter("marginal", "The distribution of the value at each point.")

    def __init__(self, marginal: dist.Distribution, field: GaussianField, *, validate_args: bool | None = None):
        field = require_field(field)
        if marginal.event_shape:
            raise ValueError(
                f"marginal must be a NumPyro distribution of numbers, with event shape (); got {marginal}. For phase "
                "fractions use DirichletCopulaField."
            )
        if marginal.is_discrete:
            raise ValueError(
                f"marginal must be continuous; {type(marginal).__name__} is discrete. For phases use "
                "ThresholdedGaussianField."
            )
        try:
            jax.eval_shape(lambda score: _quantile_at_score(marginal, score), jnp.zeros(marginal.batch_shape))
        except (NotImplementedError, ImportError, AttributeError):
            raise ValueError(
                f"marginal must have a quantile function `icdf` that works here; {type(marginal).__name__} has none. "
                "Use another family, transform a normal, uniform, exponential or gamma distribution with "
                "`TransformedDistribution`, or, for a beta distribution, take one component of a DirichletCopulaField."
            ) from None
        super().__init__(
            field.normalized(),
            _quantiles,
            {"marginal": marginal},
            options={"num_axes": len(field.event_shape)},
            batch_shape=marginal.batch_shape,
            event_shape=field.event_shape,
            # Bounds that differ within the batch are not told.
            support=constraints.real if marginal.batch_shape else marginal.support,
            paths={"marginal": True, "field": True},
            validate_args=validate_args,
        )
