"""Specimens near to others, without a solve."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._chunks import Specimens
from ._parameter_space import ParameterSpace

_MAX_LOG_GROWTH = 2.0


def extrapolate(
    parameters: ParameterSpace, vector: Array, position: Array, base: Specimens
) -> tuple[Float[Array, "M p"], Float[Array, "M p P"]]:
    """Points and tangents at another position, exact to first order; traceable, no solve.

    Power laws: logarithms of what is positive are linear in the logarithms of positive parameters. Effective
    tensors scale with the properties of the phases, and in 2D their inverses do so with the inverse properties;
    of the extrapolations that scale, this one alone treats both alike.

    Args:
        parameters: of the model.
        vector: where they are wanted, unconstrained, shape (P,).
        position: where they are known.
        base: the specimens there.
    """

    def natural(v):
        params = parameters.from_vector(v)
        logs = (jnp.log(x) if name in parameters.positive else x for name, x in params.items())
        return jnp.concatenate([x.reshape(-1) for x in logs])

    slopes = jax.jacfwd(natural)
    inverse = jnp.linalg.pinv(slopes(position))
    move, turn = inverse @ (natural(vector) - natural(position)), inverse @ slopes(vector)
    shift, tangents = base.tangents @ move, base.tangents @ turn
    is_positive = jnp.all(base.points > 0, axis=0)
    relative = shift / jnp.where(is_positive, base.points, 1)
    # What is small by chance is no power law: beyond this growth a straight line goes on.
    slope = jnp.exp(jnp.minimum(relative, _MAX_LOG_GROWTH))
    growth = slope * (1 + jnp.maximum(relative - _MAX_LOG_GROWTH, 0))
    points = jnp.where(is_positive, base.points * growth, base.points + shift)
    return points, tangents * jnp.where(is_positive, slope, 1)[..., None]
