"""Quantiles of NumPyro distributions as functions of a normal score, precise in both tails."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import log_ndtr, ndtr
from jaxtyping import Array, Float

from ._gamma_quantile import log_gamma_quantile


def has_quantile(marginal: dist.Distribution) -> bool:
    """Whether `quantile_at_score` can be called."""
    try:
        jax.eval_shape(lambda score: quantile_at_score(marginal, score), jnp.zeros(marginal.batch_shape))
    except (NotImplementedError, ImportError, AttributeError):
        return False
    return True


def quantile_at_score(marginal: dist.Distribution, score: Float[Array, "..."]) -> Float[Array, "..."]:
    """The quantile of `marginal` at the probability Phi(score).

    Closed in the score, and so without loss in the tails, for the normal, uniform, exponential and gamma distributions
    and for monotone transforms of them (`LogNormal`, `InverseGamma`, ...). Other distributions are asked for
    `icdf(Phi(score))`, which knows the upper tail only up to the rounding of numbers near one; there the probability
    is kept off zero and one, so that the result stays finite.

    Args:
        marginal: a distribution of numbers.
        score: normal scores; the last axes broadcast against the batch shape of `marginal`.
    """
    match marginal:
        case dist.ExpandedDistribution():
            return quantile_at_score(marginal.base_dist, score)
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
            sign = 1
            for transform in marginal.transforms:
                sign = sign * transform.sign
            value = quantile_at_score(marginal.base_dist, jnp.where(sign < 0, -score, score))
            for transform in marginal.transforms:
                value = transform(value)
            return value
    info = jnp.finfo(score.dtype)
    return marginal.icdf(jnp.clip(ndtr(score), info.tiny, 1 - info.epsneg))
